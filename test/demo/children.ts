import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { mortal } from '../bench/cleanup.js';
import { cleanEnvironment } from '../bench/programs.js';

/** A program whose output is read here and whose standard input ends with us. What it says on stderr is kept. */
export interface Child {
  readonly process: ChildProcessByStdio<Writable, Readable, Readable>;
  /** Resolves with the exit status, or -1 when a signal ended it. */
  readonly exit: Promise<number>;
  complaint(): string;
}

export function start(program: string, argv: readonly string[]): Child {
  const child = mortal(spawn(program, argv, { env: cleanEnvironment, stdio: ['pipe', 'pipe', 'pipe'] }));
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-1000);
  });
  const exit = once(child, 'exit').then(([status]: (number | null)[]) => status ?? -1);
  return { process: child, exit, complaint: () => said.trim() };
}

/** Resolves once a program has said `ready`. */
export async function untilReady(child: Child): Promise<void> {
  await Promise.race([
    once(child.process.stdout, 'data'),
    child.exit.then((status) => {
      throw new Error(`${child.process.spawnfile} ended with ${status}: ${child.complaint()}`);
    }),
  ]);
}
