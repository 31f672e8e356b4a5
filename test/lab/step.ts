import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { projectRoot } from './paths.js';

/** How a process was struck, and how many calls it had made: what step.c says at its end. */
export interface Struck {
  readonly struck: boolean;
  readonly seen: number;
  readonly call: number;
}

/** How many steps of each thing that has any; `all` takes minutes for each. */
const wanted = process.env['LAB_STEPS'] ?? '10';

/** Which of so many steps, each once and in order. */
export function chooseSteps(steps: number, random: () => number): number[] {
  const all = Array.from({ length: steps }, (_, index) => index + 1);
  if (wanted === 'all') return all;
  while (all.length > Number(wanted)) all.splice(Math.floor(random() * all.length), 1);
  return all;
}

/** Strikes a process, by its number outside the lab, at the nth step of what `action` has it do. */
export async function strike(
  pid: number,
  n: number,
  how: string,
  action: () => Promise<unknown>,
): Promise<Struck> {
  const step = spawn(`${projectRoot}build/bin/step`, [String(pid), String(n), how], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: step.stdout })[Symbol.asyncIterator]();
  const ended = once(step, 'close');
  try {
    const attached = await lines.next();
    if (attached.value !== 'attached') throw new Error(`${pid} could not be watched`);
    await action();
  } finally {
    step.stdin.on('error', () => undefined);
    step.stdin.end();
  }
  const last: IteratorResult<string, unknown> = await lines.next();
  await ended;
  return JSON.parse(String(last.value)) as Struck;
}
