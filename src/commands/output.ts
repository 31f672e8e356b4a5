import { once } from 'node:events';

/** Where a command prints. `columns` is known only when standard output is a terminal. */
export interface Output {
  out(text: string): void;
  err(text: string): void;
  readonly columns?: number;
  readonly jsonForm?: JsonForm;
  /** Waits while whoever reads is behind; returns at once when nobody does any more. */
  drained?(): Promise<void>;
  /** Aborted when nobody reads any more. */
  readonly gone?: AbortSignal;
  /** Shows a text that may be longer than the terminal; absent when standard output is none. */
  page?(text: string): Promise<void>;
  paint(colour: Colour, text: string): string;
}

/** `short` is one line, `pretty` indented, `auto` what suits. */
export type JsonForm = 'auto' | 'short' | 'pretty';

const codes = { red: '31', green: '32', bold: '1' } as const;
export type Colour = keyof typeof codes;

export function processOutput(): Output {
  const { stdout, stderr, env } = process;
  const gone = new AbortController();
  stdout.on('error', () => {
    gone.abort();
  });
  // https://no-color.org: set and not empty.
  const colours = stdout.isTTY && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  return {
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    gone: gone.signal,
    drained: async () => {
      if (stdout.writableNeedDrain)
        await once(stdout, 'drain', { signal: gone.signal }).catch(() => undefined);
    },
    // A pseudo-terminal whose size nobody has set has 0 columns.
    ...(stdout.isTTY && stdout.columns > 0 ? { columns: stdout.columns } : {}),
    ...(stdout.isTTY
      ? { page: async (text: string) => (await import('./pager.js')).page(text, stdout, env) }
      : {}),
    paint: (colour, text) => (colours ? `\u001b[${codes[colour]}m${text}\u001b[0m` : text),
  };
}

/** One JSON document: as --json= says, else indented for a person at a terminal, and on one line for a program. */
export function printJson(output: Output, value: unknown): void {
  const { jsonForm = 'auto', columns } = output;
  const pretty = jsonForm === 'auto' ? columns !== undefined : jsonForm === 'pretty';
  output.out(`${safeJson(value, pretty ? 2 : 0)}\n`);
}

/** JSON may hold DEL, the C1 controls and what turns the direction of writing as they are, and a terminal obeys them. */
export function safeJson(value: unknown, indent: number): string {
  return JSON.stringify(value, null, indent).replace(/[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu, unicodeEscape);
}

function unicodeEscape(character: string): string {
  return Array.from({ length: character.length }, (_, unit) => {
    return `\\u${character.charCodeAt(unit).toString(16).padStart(4, '0')}`;
  }).join('');
}
