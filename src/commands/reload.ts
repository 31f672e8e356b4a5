import { exitStatuses, isSystemError } from '../model/errors.js';
import { call } from '../protocol/client.js';
import { defaultControlPath } from '../protocol/messages.js';
import type { Invocation } from './arguments.js';
import { printJson, type Output } from './output.js';
import { count, printable } from '../model/text.js';

/** Mistakes in the files outrank sockets that could not be held: what berthd did is then not what the files say. */
export async function reload(
  { control, json }: Invocation,
  output: Output,
  version: string,
): Promise<number> {
  const answer = await call(control, 'Reload', {});
  if (control === defaultControlPath) await precomputeQuietly(version);
  if (json) {
    printJson(output, answer);
  } else {
    for (const line of [...answer.mistakes, ...answer.failures]) {
      output.err(`${printable(line)}\n`);
    }
    output.out(
      `holding ${count(answer.sockets, 'socket')} of ${count(answer.reservations, 'reservation')}\n`,
    );
  }
  if (answer.mistakes.length > 0) {
    return exitStatuses.Configuration;
  }
  return answer.failures.length > 0 ? exitStatuses.Failed : 0;
}

/** Spares the next daemon-reload and the next boot the start of Node. Where that is not possible, they start it. */
async function precomputeQuietly(version: string): Promise<void> {
  const { precompute } = await import('../generator/precompute.js');
  try {
    precompute(version);
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}
