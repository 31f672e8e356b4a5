import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { askPeer, inodesOf, peer, peerAt, reservation, reservations, seeded, whileKilled } from './claims.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
import { labTest } from './requirements.js';
import { askThief, everyKind, thiefAtBoot, type ThiefReport } from './thief.js';

const restarts = Number(process.env['LAB_RESTARTS'] ?? 1000);
/** How many restarts go between two looks at the sockets. */
const batch = 50;

/** A server in store mode, with every kind of thief on its port since before it first started. */
function labWithThieves(root: 'host' | 'trixie' = 'host'): LabOptions {
  const thief = thiefAtBoot(`--port 7001 ${everyKind}`, ['web.service']);
  return {
    ...thief,
    root,
    units: {
      ...thief.units,
      'web.service': `[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=${peer} serve
[Install]
WantedBy=multi-user.target
`,
      // They take every moment that is left, but not the service's own: its starts are to be as quick as they can be.
      'thief.service.d/nice.conf': '[Service]\nNice=19\n',
    },
    enable: ['thief.service', 'web.service'],
    programs: { ...thief.programs, ...peerAt() },
    files: reservations({ web: reservation(['ListenStream=7001', 'ListenDatagram=7001']) }),
  };
}

async function restart(lab: Lab, times: number): Promise<void> {
  await lab.run(`for n in $(seq ${times}); do systemctl restart web.service || exit; done`);
}

/** The server has what is held, and all of it. */
async function assertServed(lab: Lab, inodes: readonly (number | undefined)[]): Promise<void> {
  assert.deepEqual(await inodesOf(lab, 'web'), inodes);
  for (const protocol of ['tcp', 'udp'] as const) {
    const { sockets } = await askPeer(lab, protocol, '127.0.0.1', 7001);
    assert.deepEqual(new Set(sockets.map(({ inode }) => inode)), new Set(inodes));
  }
}

function assertNoTheft(thief: ThiefReport, before: ThiefReport): void {
  assert.equal(thief.thefts, 0, JSON.stringify(thief));
  for (const [kind, { attempts, otherErrors }] of Object.entries(thief.kinds)) {
    assert.equal(otherErrors, 0, kind);
    assert.ok(attempts > (before.kinds[kind]?.attempts ?? 0), `${kind} kept trying`);
  }
}

/** While the service is stopped, too, every thief has gone on for a while. */
async function assertHeldWhileStopped(lab: Lab, inodes: readonly (number | undefined)[]): Promise<void> {
  await lab.systemctl('stop', 'web.service');
  const stopped = await askThief(lab);
  const tried = async () => {
    const { kinds } = await askThief(lab);
    const enough = Object.entries(kinds).every(
      ([kind, { attempts }]) => attempts > 100 + (stopped.kinds[kind]?.attempts ?? 0),
    );
    return enough || undefined;
  };
  await lab.until('every thief to have tried while the service is stopped', tried, 30_000);
  await lab.systemctl('start', 'web.service');
  await assertServed(lab, inodes);
}

const seed = Number(process.env['LAB_SEED'] ?? Date.now() % 1e6);

/** Restarts the service while berthd is killed, and looks that nothing is stolen and none fails. */
async function assertNobodyTakesIt(t: TestContext, root: 'host' | 'trixie', times: number): Promise<void> {
  await withLab(t, labWithThieves(root), async (lab) => {
    const atBoot = await askThief(lab);
    const inodes = await inodesOf(lab, 'web');
    const begun = performance.now();
    const series = async () => {
      for (let done = 0; done < times; done += batch) {
        await restart(lab, Math.min(batch, times - done));
        await assertServed(lab, inodes);
      }
    };
    const kills = await whileKilled(lab, series, seeded(seed), 2000);
    const each = (performance.now() - begun) / times;
    await assertHeldWhileStopped(lab, inodes);
    const thief = await askThief(lab);
    assertNoTheft(thief, atBoot);
    assert.ok(kills >= times / 50, `killed ${kills} times`);
    t.diagnostic(
      `${times} restarts of ${each.toFixed(0)} ms, berthd killed ${kills} times, ${thief.attempts} attempts of ${Object.keys(thief.kinds).length} thieves, ${thief.thefts} thefts`,
    );
  });
}

labTest(
  `nobody takes the port of a service in ${restarts} restarts, and none fails, with berthd killed among them (LAB_SEED=${seed})`,
  (t) => assertNobodyTakesIt(t, 'host', restarts),
);

labTest(
  `nor in ${Math.ceil(restarts / 10)} with systemd 257 (LAB_SEED=${seed})`,
  (t) => assertNobodyTakesIt(t, 'trixie', Math.ceil(restarts / 10)),
  { programs: { debootstrap: 'debootstrap' } },
);

labTest(`nobody takes it in ${Math.ceil(restarts / 5)} restarts at full speed`, async (t) => {
  await withLab(t, labWithThieves(), async (lab) => {
    const atBoot = await askThief(lab);
    const inodes = await inodesOf(lab, 'web');
    const count = Math.ceil(restarts / 5);
    const begun = performance.now();
    for (let done = 0; done < count; done += batch) {
      await restart(lab, Math.min(batch, count - done));
      await assertServed(lab, inodes);
    }
    const each = (performance.now() - begun) / count;
    await assertHeldWhileStopped(lab, inodes);
    const thief = await askThief(lab);
    assertNoTheft(thief, atBoot);
    t.diagnostic(
      `${count} restarts of ${each.toFixed(0)} ms, ${thief.attempts} attempts, ${thief.thefts} thefts`,
    );
  });
});
