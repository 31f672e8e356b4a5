import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { inodesOf, reservation, reservations, statusOf } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { projectRoot } from './paths.js';
import { labTest } from './requirements.js';
import { listenersOn } from './sockets.js';
import { askThief, thiefAtBoot } from './thief.js';

const restarts = Number(process.env['LAB_RESTARTS'] ?? 30);
const kills = Number(process.env['LAB_KILLS'] ?? 15);

const binder = `${projectRoot}build/bin/binder`;
if (!existsSync(binder)) throw new Error(`${binder} is not built`);
const programs = { '/usr/local/bin/binder': binder };

const bothKinds = (port: number) => [`ListenStream=${port}`, `ListenDatagram=${port}`];

function unit(command: string, more = ''): string {
  return `[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/usr/local/bin/binder ${command}\n${more}`;
}

labTest(`a program that binds by itself has its ports over ${restarts} restarts under thieves`, async (t) => {
  const thief = thiefAtBoot(
    '--port 631 --tcp --udp --and --reuseaddr --listen --and --reuseport --listen --and --reuseaddr --reuseport',
    ['app.service'],
  );
  const options = {
    units: { ...thief.units, 'app.service': unit('serve 631', 'Type=notify\nUser=nobody\n') },
    enable: thief.enable,
    programs: { ...thief.programs, ...programs },
    files: reservations({ app: reservation(bothKinds(631), ['Handoff=bind']) }),
  };
  await withLab(t, options, async (lab) => {
    const before = await askThief(lab);
    const [stream] = await inodesOf(lab, 'app');
    for (let restart = 1; restart <= restarts; restart++) {
      await lab.systemctl('restart', 'app.service');
      if (restart % 10 !== 1) continue;
      const { state, claimants } = await statusOf(lab, 'app');
      const pid = await lab.property('app.service', 'MainPID');
      assert.equal(state, 'active');
      assert.deepEqual(
        claimants.map((claimant) => [String(claimant.pid), claimant.unit]),
        [[pid, 'app.service']],
      );
      assert.equal(await lab.text(['sh', '-c', `grep ^Uid: /proc/${pid}/status | cut -f2`]), '65534');
    }
    // Datagrams reach the program, over either family.
    for (const host of ['127.0.0.1', '::1']) {
      await lab.run(['bash', '-c', `echo hello >/dev/udp/${host}/631`]);
    }
    const queued = await lab.until('both datagrams in the queue of the program', async () => {
      const lines = await lab.text(['ss', '-Hlnup', 'sport', '=', '631']);
      const own = lines.split('\n').find((line) => line.includes('binder'));
      return Number(own?.split(/\s+/)[1]) > 0 ? own : undefined;
    });
    assert.match(queued, /binder/);
    const listening = await listenersOn(lab, 631);
    assert.ok(listening.some(({ protocol }) => protocol === 'tcp'));
    await lab.systemctl('stop', 'app.service');
    assert.equal((await statusOf(lab, 'app')).state, 'held');
    assert.equal((await inodesOf(lab, 'app'))[0], stream);
    const after = await askThief(lab);
    assert.equal(after.thefts, 0, JSON.stringify(after));
    assert.ok(after.attempts > before.attempts + 1000);
    t.diagnostic(`${restarts} restarts, ${after.attempts} attempts, ${after.thefts} thefts`);
  });
});

/** The rounds that the loop has got through, or throws with what it could not bind. */
async function roundsOf(lab: Lab): Promise<number> {
  const log = await lab.text(['journalctl', '-u', 'loop.service', '-o', 'cat', '--no-pager']);
  assert.doesNotMatch(log, /^(bind|listen)/m);
  return Number([...log.matchAll(/^round (\d+)$/gm)].at(-1)?.[1] ?? 0);
}

labTest(`a call waits for the next berthd, whatever the last one was about, in ${kills} kills`, async (t) => {
  const options = {
    units: { 'loop.service': unit('loop 700', 'User=nobody\n[Install]\nWantedBy=multi-user.target\n') },
    enable: ['loop.service'],
    programs,
    files: reservations({ loop: reservation(bothKinds(700), ['Handoff=bind']) }),
  };
  await withLab(t, options, async (lab) => {
    for (let kill = 0; kill < kills; kill++) {
      const [rounds, pid] = [await roundsOf(lab), await lab.property('berth.service', 'MainPID')];
      await lab.systemctl('kill', '--kill-whom=main', '--signal=KILL', 'berth.service');
      await lab.until('another berthd', async () => {
        const now = await lab.property('berth.service', 'MainPID');
        return now !== pid && now !== '0' ? true : undefined;
      });
      await lab.until('the program to go on', async () =>
        (await roundsOf(lab)) > rounds ? true : undefined,
      );
      assert.equal((await statusOf(lab, 'loop')).state, 'active');
    }
    await lab.systemctl('restart', 'berth.service');
    const rounds = await roundsOf(lab);
    await lab.until('the program to go on', async () => ((await roundsOf(lab)) > rounds ? true : undefined));
    await lab.systemctl('stop', 'loop.service');
    assert.equal((await statusOf(lab, 'loop')).state, 'held');
  });
});

labTest('what the unit may not bind, berthd does not bind for it', async (t) => {
  const oneshot = (port: number, more: string) => unit(`try ${port}`, `Type=oneshot\n${more}\n`);
  const options = {
    units: {
      'plain.service': oneshot(801, 'SocketBindDeny=tcp:801'),
      'denied.service': oneshot(701, 'SocketBindDeny=tcp:701'),
      'filtered.service': oneshot(702, 'SystemCallFilter=@system-service\nUser=nobody'),
    },
    programs,
    files: reservations(
      Object.fromEntries(
        ['denied', 'filtered'].map((name, index) => [
          name,
          reservation([`ListenStream=${701 + index}`], ['Handoff=bind']),
        ]),
      ),
    ),
  };
  await withLab(t, options, async (lab) => {
    const says = async (name: string) => {
      await lab.systemctl('start', `${name}.service`);
      return lab.waitForJournal(/^(ok|E)/, { unit: `${name}.service` });
    };
    assert.equal(await says('filtered'), 'ok');
    const without = await says('plain');
    if (without === 'ok') t.diagnostic('SocketBindDeny= does nothing in this lab, even without berth');
    assert.equal(await says('denied'), without);
  });
});
