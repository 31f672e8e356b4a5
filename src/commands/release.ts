import { call } from '../protocol/client.js';
import { count } from '../model/text.js';
import type { Invocation } from './arguments.js';
import { printJson, type Output } from './output.js';

/** Does what portrelease does, and says what came of it in the exit status. */
export async function release({ operands, control, json }: Invocation, output: Output): Promise<number> {
  const answer = await call(control, 'Release', { names: operands });
  if (json) printJson(output, answer);
  else output.out(`released ${count(answer.released, 'reservation')}\n`);
  return 0;
}
