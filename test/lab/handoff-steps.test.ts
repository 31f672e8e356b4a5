import assert from 'node:assert/strict';
import { askPeer, peer, reservation, reservations, seeded, statusOf } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';
import { chooseSteps } from './step.js';
import { names, Storm, stormLab } from './storm.js';

const seed = Number(process.env['STORM_SEED'] ?? Date.now() % 1_000_000);
const released = 7006;

const lab = {
  ...stormLab,
  name: 'handoff-steps',
  units: {
    ...stormLab.units,
    'release.service': `[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart=${peer} serve --bind :: ${released} --notify
`,
  },
  files: {
    ...stormLab.files,
    ...reservations({
      release: reservation([`ListenStream=${released}`, `ListenDatagram=${released}`], ['Handoff=release']),
    }),
  },
};

/** Its socket is another one after each run, but the port is the service's while it runs, and berth's else. */
async function checkRelease(of: Lab, storm: Storm): Promise<void> {
  await storm.settled();
  await of.systemctl('restart', 'release.service');
  for (const protocol of ['tcp', 'udp'] as const) await askPeer(of, protocol, '127.0.0.1', released);
  await of.systemctl('stop', 'release.service');
  await of.until('the port to be held again', async () =>
    (await statusOf(of, 'release')).state === 'held' ? true : undefined,
  );
}

labTest(`berthd may be killed at each step of each handoff (STORM_SEED=${seed})`, async (t) => {
  await withLab(t, lab, async (machine) => {
    const random = seeded(seed);
    const storm = await Storm.begin(machine);
    for (const name of [...names, 'release']) {
      const restart = (): Promise<unknown> => machine.systemctl('restart', `${name}.service`);
      const check = async (): Promise<void> => {
        for (const each of names) if (each === name) await storm.check(each);
        if (name === 'release') await checkRelease(machine, storm);
      };
      // As before each of the others: a berthd that has just begun makes more calls at the first look at a reservation.
      await check();
      if (name === 'release') await restart();
      const { seen } = await storm.strike(100_000, 'kill', restart);
      const done: string[] = [];
      for (const step of chooseSteps(seen, random)) {
        try {
          if (name === 'release') await restart();
          const { struck, call } = await storm.strike(step, 'kill', restart);
          await check();
          if (struck) done.push(`${step}:${call}`);
        } catch (error) {
          throw new Error(`${name}, step ${step} of ${seen}`, { cause: error });
        }
      }
      t.diagnostic(`${name}: killed at ${done.length} of ${seen} steps (step:call): ${done.join(' ')}`);
      assert.ok(done.length > 0, name);
    }
    await storm.checkAll();
  });
});
