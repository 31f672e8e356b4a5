import type { Output } from '../../../src/commands/output.js';
import { run } from '../../../src/commands/main.js';

export interface Ran {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `berth` in this process. `columns` makes standard output a terminal; colours are marked `<red:…>`. */
export async function berth(argv: readonly string[], columns?: number): Promise<Ran> {
  let out = '';
  let err = '';
  const output: Output = {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    paint: (colour, text) => (columns === undefined ? text : `<${colour}:${text}>`),
    ...(columns === undefined ? {} : { columns }),
  };
  const status = await run(argv, '1.2.3', output);
  return { status, out, err };
}
