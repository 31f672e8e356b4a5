import assert from 'node:assert/strict';
import {
  askPeer,
  failureToAsk,
  inodesOf,
  peer,
  peerAt,
  reservation,
  reservations,
  statusOf,
  type PeerAnswer,
} from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';
import { askThief, thiefAtBoot } from './thief.js';

const service = `[Service]\nExecStart=${peer} serve\n`;
const debootstrap = { programs: { debootstrap: 'debootstrap' } };
const idleExit = { '/etc/berth/berthd.conf': 'IdleExitSec=1\nLogLevel=debug\n' };

/** Both protocols. */
function both(port: number, ...settings: string[]): string {
  return reservation([`ListenStream=${port}`, `ListenDatagram=${port}`], settings);
}

/** Waits for berthd to end for want of work, and looks how. */
async function waitForIdleExit(lab: Lab): Promise<void> {
  await lab.waitForUnit('berth.service', 'inactive', 60_000);
  const properties = ['Result', 'ExecMainStatus', 'NRestarts', 'NFileDescriptorStore'];
  const shown = await lab.systemctl('show', `--property=${properties.join()}`, 'berth.service');
  assert.deepEqual(shown.split('\n').sort(), [
    'ExecMainStatus=75',
    'NFileDescriptorStore=1',
    'NRestarts=0',
    'Result=success',
  ]);
}

function assertHanded(inodes: readonly (number | undefined)[], { sockets }: PeerAnswer, when: string): void {
  assert.deepEqual(new Set(sockets.map(({ inode }) => inode)), new Set(inodes), when);
}

labTest(
  'with IdleExitSec= berthd ends, its sockets stay, and the next request brings it back (systemd 257)',
  async (t) => {
    const kinds = ['', '--reuseaddr --listen', '--reuseport --listen'];
    const thief = thiefAtBoot(`--port 7701 ${kinds.join(' --and ')}`, ['web.service']);
    const options = {
      ...thief,
      root: 'trixie',
      units: {
        ...thief.units,
        'thief.service.d/nice.conf': '[Service]\nNice=19\n',
        'web.service': `[Unit]\nStartLimitIntervalSec=0\n${service}`,
      },
      programs: { ...thief.programs, ...peerAt() },
      files: { ...idleExit, ...reservations({ web: both(7701) }) },
    } as const;
    await withLab(t, options, async (lab) => {
      const inodes = await inodesOf(lab, 'web');
      const begun = await askThief(lab);
      await waitForIdleExit(lab);
      const before = await askThief(lab);
      const tried = async (): Promise<true | undefined> => {
        const { kinds } = await askThief(lab);
        const enough = Object.entries(kinds).every(
          ([kind, { attempts }]) => attempts > 100 + (before.kinds[kind]?.attempts ?? 0),
        );
        return enough || undefined;
      };
      await lab.until('every thief to have tried while berthd is away', tried, 60_000);
      assert.equal(await lab.property('berth.service', 'ActiveState'), 'inactive');
      assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7701), 'ECONNREFUSED');
      assert.equal(await failureToAsk(lab, 'udp', '::1', 7701), 'EAGAIN');
      assert.deepEqual(await inodesOf(lab, 'web'), inodes);
      assert.equal(await lab.property('berth.service', 'ActiveState'), 'active');

      // What PID 1 does meanwhile is no matter.
      await waitForIdleExit(lab);
      await lab.systemctl('daemon-reload');
      await lab.systemctl('daemon-reexec');
      assert.deepEqual(await inodesOf(lab, 'web'), inodes);

      /** Everything that happens to a service while berthd is away, and must not wait for anything but berthd's start. */
      const actions = [
        { command: ['start', 'web.service'], serves: true },
        { command: ['restart', 'web.service'], serves: true },
        { command: ['stop', 'web.service'], serves: false },
        { command: ['start', 'web.service'], serves: true },
        { command: ['kill', '--signal=KILL', 'web.service'], serves: false },
        { command: ['restart', 'web.service'], serves: true },
      ];
      const took: string[] = [];
      for (const { command, serves } of actions) {
        await waitForIdleExit(lab);
        const when = command.join(' ');
        const start = performance.now();
        await lab.systemctl(...command);
        took.push(`${when} ${(performance.now() - start).toFixed(0)} ms`);
        if (command[0] === 'kill') await lab.waitForUnit('web.service', 'failed');
        if (serves) {
          assertHanded(inodes, await askPeer(lab, 'tcp', '::1', 7701), when);
          await waitForIdleExit(lab);
          // Served by the service alone.
          assertHanded(inodes, await askPeer(lab, 'tcp', '127.0.0.1', 7701), when);
          assertHanded(inodes, await askPeer(lab, 'udp', '127.0.0.1', 7701), when);
          assert.equal(await lab.property('berth.service', 'ActiveState'), 'inactive');
        } else {
          const { state, sockets } = await statusOf(lab, 'web');
          assert.equal(state, 'held', when);
          assert.deepEqual(
            sockets.map(({ inode }) => inode),
            inodes,
            when,
          );
          assert.equal(await failureToAsk(lab, 'tcp', '::1', 7701), 'ECONNREFUSED', when);
          assert.equal(await failureToAsk(lab, 'udp', '127.0.0.1', 7701), 'EAGAIN', when);
        }
      }
      const { thefts, attempts } = await askThief(lab);
      assert.equal(thefts, 0);
      assert.equal(begun.thefts, 0);
      t.diagnostic(`${took.join(', ')}; ${attempts} attempts of the thief, ${thefts} thefts`);
      const complaints = (await lab.journal()).split('\n').filter((line) => line.includes('berth-claim'));
      assert.deepEqual(complaints, []);
    });
  },
  debootstrap,
);

labTest(
  'berthd stays while it has something to wait for, and ends after that (systemd 257)',
  async (t) => {
    const options = {
      root: 'trixie',
      units: {
        'run.service': `[Service]\nType=notify\nExecStart=${peer} serve --notify\n`,
        'occupant.service': service,
        'occupant.socket': `[Unit]
DefaultDependencies=no
Before=berth.service
[Socket]
ListenStream=7712
Service=occupant.service
[Install]
WantedBy=sysinit.target
`,
      },
      enable: ['occupant.socket'],
      programs: peerAt(),
      files: {
        ...idleExit,
        ...reservations({
          run: both(7711, 'Handoff=exec'),
          late: reservation(['ListenStream=7712'], ['Handoff=none']),
        }),
      },
    } as const;
    await withLab(t, options, async (lab) => {
      const berthd = await lab.property('berth.service', 'MainPID');
      /** Twice: one look could have come before. */
      const assertStays = async (reason: RegExp): Promise<void> => {
        for (let look = 0; look < 2; look++) {
          await lab.waitForJournal(reason, {
            unit: 'berth.service',
            after: await lab.journalCursor(),
            timeoutMs: 30_000,
          });
        }
        assert.equal(await lab.property('berth.service', 'MainPID'), berthd);
      };
      await assertStays(/, but there is a socket to be held yet$/);
      await lab.systemctl('start', 'run.service');
      await lab.systemctl('stop', 'occupant.socket');
      await assertStays(/, but the end of a claimant is awaited$/);
      const inodes = await inodesOf(lab, 'run');
      assertHanded(inodes, await askPeer(lab, 'tcp', '127.0.0.1', 7711), 'meanwhile');
      assert.equal((await statusOf(lab, 'late')).state, 'held');

      await lab.systemctl('kill', '--signal=KILL', 'run.service');
      await waitForIdleExit(lab);
      assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7711), 'ECONNREFUSED');
      await lab.systemctl('restart', 'run.service');
      assertHanded(inodes, await askPeer(lab, 'udp', '127.0.0.1', 7711), 'started while berthd was away');
      assert.notEqual(await lab.property('berth.service', 'MainPID'), '0');
    });
  },
  debootstrap,
);

labTest('where the manager is too old for IdleExitSec=, berthd says so once and stays', async (t) => {
  const options = {
    units: { 'web.service': service },
    programs: peerAt(),
    files: { ...idleExit, ...reservations({ web: both(7721) }) },
  };
  await withLab(t, options, async (lab) => {
    assert.match(await lab.systemctl('--version'), /^systemd 252 /);
    const berthd = await lab.property('berth.service', 'MainPID');
    await lab.waitForJournal(/IdleExitSec= needs .*systemd 254/, { unit: 'berth.service' });
    const inodes = await inodesOf(lab, 'web');
    await lab.systemctl('start', 'web.service');
    assertHanded(inodes, await askPeer(lab, 'tcp', '127.0.0.1', 7721), 'started');
    await lab.run(['berth', 'reload']);
    await lab.systemctl('stop', 'web.service');
    assert.deepEqual(await inodesOf(lab, 'web'), inodes);
    assert.equal(await lab.property('berth.service', 'MainPID'), berthd);
    assert.equal([...(await lab.journal('berth.service')).matchAll(/IdleExitSec=/g)].length, 1);
  });
});
