import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { inodesOf, reservation, reservations, seeded, statusOf } from './claims.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
import { projectRoot } from './paths.js';
import { labTest } from './requirements.js';
import { chooseSteps, strike } from './step.js';

const program = '/usr/local/bin/on-command';
const port = 7100;
const seed = Number(process.env['STORM_SEED'] ?? Date.now() % 1_000_000);
/** In ms. A berthd that was killed serves again in a second; the machine may be busy. */
const bound = 20_000;

const options: LabOptions = {
  name: 'supervised-steps',
  programs: { [program]: `${projectRoot}build/bin/on-command` },
  files: reservations({
    app: reservation([`ListenStream=${port}`, `ListenDatagram=${port}`], ['Handoff=bind']),
  }),
};

/** berthd's number outside the lab; 0 while there is none. */
function berthdOf(lab: Lab): number {
  const cgroup = `/proc/${lab.init}/root/sys/fs/cgroup/system.slice/berth.service/cgroup.procs`;
  return Number(readFileSync(cgroup, 'utf8').split('\n', 1)[0]);
}

async function settled(lab: Lab): Promise<void> {
  await lab.until(
    'berthd to serve',
    async () => ((await lab.property('berth.service', 'SubState')) === 'running' ? true : undefined),
    60_000,
  );
}

/** A program of the reservation that makes calls when it is told to. */
class Program {
  readonly #child;
  readonly #lines;

  constructor(lab: Lab) {
    this.#child = lab.spawn(['berth-claim', '--bind', 'app', '--', program, String(port)]);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async does(...commands: readonly string[]): Promise<void> {
    for (const command of commands) {
      const start = performance.now();
      this.#child.stdin.write(`${command}\n`);
      const answer: IteratorResult<string, unknown> = await this.#lines.next();
      assert.equal(answer.value, `${command} 0`);
      assert.ok(performance.now() - start < bound, `${command} took too long`);
    }
  }

  end(): void {
    this.#child.stdin.end();
  }
}

const calls = [
  { call: 'bind', before: [] },
  { call: 'listen', before: ['bind'] },
  { call: 'datagram', before: [] },
] as const;

labTest('berthd may be killed at each step of a supervised call', async (t) => {
  await withLab(t, options, async (lab) => {
    const random = seeded(seed);
    const running = new Program(lab);
    for (const { call, before } of calls) await running.does(...before, call, 'close');
    const inodes = await inodesOf(lab, 'app');
    const descriptors = (): number => readdirSync(`/proc/${berthdOf(lab)}/fd`).length;
    const most = descriptors();
    for (const { call, before } of calls) {
      await running.does(...before);
      const { seen, struck } = await strike(berthdOf(lab), 100_000, 'kill', () => running.does(call));
      assert.equal(struck, false);
      await running.does('close');
      const done: string[] = [];
      for (const step of chooseSteps(seen, random)) {
        const what = `${call}, step ${step} (STORM_SEED=${seed})`;
        await settled(lab);
        await running.does(...before);
        const hit = await strike(berthdOf(lab), step, 'kill', () => running.does(call));
        if (hit.struck) done.push(`${step}:${hit.call}`);
        await settled(lab);
        assert.deepEqual(await inodesOf(lab, 'app'), inodes, what);
        await running.does('close');
        await lab.until(
          `the descriptors of before, after ${what}`,
          () => Promise.resolve(descriptors() <= most ? true : undefined),
          5000,
        );
      }
      t.diagnostic(
        `${call}: killed at ${done.length} of ${seen} steps (step:call), seed ${seed}: ${done.join(' ')}`,
      );
      assert.ok(done.length > 0);
    }
    running.end();
    await lab.until('app to be held', async () =>
      (await statusOf(lab, 'app')).state === 'held' ? true : undefined,
    );
    const next = new Program(lab);
    await next.does('bind', 'listen', 'datagram', 'close');
    next.end();
  });
});
