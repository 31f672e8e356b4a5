/** Where a command prints. `columns` is known only when standard output is a terminal. */
export interface Output {
  out(text: string): void;
  err(text: string): void;
  readonly columns?: number;
  paint(colour: Colour, text: string): string;
}

const codes = { red: '31', green: '32', bold: '1' } as const;
export type Colour = keyof typeof codes;

export function processOutput(): Output {
  const { stdout, stderr, env } = process;
  // https://no-color.org: set and not empty.
  const colours = stdout.isTTY && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  return {
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    // A pseudo-terminal whose size nobody has set has 0 columns.
    ...(stdout.isTTY && stdout.columns > 0 ? { columns: stdout.columns } : {}),
    paint: (colour, text) => (colours ? `\u001b[${codes[colour]}m${text}\u001b[0m` : text),
  };
}

/** One JSON document: indented for a person at a terminal, else on one line. */
export function printJson(output: Output, value: unknown): void {
  const json = JSON.stringify(value, null, output.columns === undefined ? 0 : 2);
  // JSON may hold DEL and the C1 controls as they are, and a terminal obeys them.
  output.out(`${json.replace(/[\u007f-\u009f]/g, unicodeEscape)}\n`);
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
