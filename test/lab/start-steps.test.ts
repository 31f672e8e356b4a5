import assert from 'node:assert/strict';
import { seeded } from './claims.js';
import { withLab } from './lab.js';
import { labTest } from './requirements.js';
import { chooseSteps } from './step.js';
import { names, Storm, stormLab } from './storm.js';

const seed = Number(process.env['STORM_SEED'] ?? Date.now() % 1_000_000);
const shortages = ['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS'];

/** By the clock of the machine: by that of the storm, each look at it is another call. */
const options = {
  ...stormLab,
  name: 'start-steps',
  units: { ...stormLab.units, 'berth.service.d/clock.conf': '' },
};

/** What an earlier berthd held is in the vault until the next one has all of it: nothing on that way may lose it. */
labTest(
  `berthd may be killed, or short of something, at each step of its start (STORM_SEED=${seed})`,
  async (t) => {
    await withLab(t, options, async (lab) => {
      const random = seeded(seed);
      const storm = await Storm.begin(lab);
      for (const hows of [['kill'], shortages]) {
        const { seen } = await storm.strikeStart(100_000, hows[0] ?? '');
        const done: string[] = [];
        for (const step of chooseSteps(seen, random)) {
          const how = hows[step % hows.length] ?? '';
          try {
            const { struck, call } = await storm.strikeStart(step, how);
            if (how !== 'kill') await storm.restartAll();
            await storm.check(names[step % names.length] ?? 'store');
            if (struck) done.push(`${step}:${call}`);
          } catch (error) {
            throw new Error(`${how} at step ${step} of ${seen}`, { cause: error });
          }
        }
        t.diagnostic(`${hows.join(', ')}: ${done.length} of ${seen} steps (step:call): ${done.join(' ')}`);
        assert.ok(done.length > 0, hows.join());
      }
      await storm.checkAll();
    });
  },
);
