import { exitStatuses } from '../model/errors.js';
import { call } from '../protocol/client.js';
import type { Invocation } from './arguments.js';
import { printJson, type Output } from './output.js';
import { count, printable } from '../model/text.js';

/** Mistakes in the files outrank sockets that could not be held: what berthd did is then not what the files say. */
export async function reload({ control, json }: Invocation, output: Output): Promise<number> {
  const answer = await call(control, 'Reload', {});
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
