import { ValueError } from './values.js';

/** A word with its quotes and escapes resolved; `start` and `end` delimit what it was written as. */
export interface Word {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

export interface WordOptions {
  /**
   * What a backslash does: `c` takes the escapes of C as ExecStart= does and refuses unknown ones; `relaxed` leaves
   * unknown ones as they are; `plain` only takes away the meaning of the next character, as Symlinks= does.
   */
  readonly escapes: 'c' | 'relaxed' | 'plain';
}

const separators = ' \t\n\r';

/** Splits by the quoting rules of systemd.syntax(7) and systemd.service(5). Throws ValueError at uneven quoting. */
export function splitWords(text: string, { escapes }: WordOptions): Word[] {
  const words: Word[] = [];
  for (let at = 0; ;) {
    while (at < text.length && separators.includes(text.charAt(at))) at++;
    if (at === text.length) return words;
    const word = readWord(text, at, escapes);
    words.push(word);
    at = word.end;
  }
}

function readWord(text: string, start: number, escapes: WordOptions['escapes']): Word {
  const out = new ByteText();
  let quote = '';
  let at = start;
  while (at < text.length) {
    const char = text.charAt(at);
    if (quote === '' && separators.includes(char)) break;
    if (char === quote) {
      quote = '';
      at++;
    } else if (quote === '' && (char === '"' || char === "'")) {
      quote = char;
      at++;
    } else if (char === '\\') {
      at = readEscape(text, at, escapes, out);
    } else {
      out.text(char);
      at++;
    }
  }
  if (quote !== '') throw new ValueError(`the quote ${quote} is never closed`);
  return { text: out.finish(), start, end: at };
}

const simpleEscapes: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  '"': '"',
  "'": "'",
  s: ' ',
};

/** Reads the escape at `at` into `out`; the result is where the text goes on. */
function readEscape(text: string, at: number, escapes: WordOptions['escapes'], out: ByteText): number {
  const next = text.charAt(at + 1);
  if (next === '') {
    if (escapes !== 'relaxed') throw new ValueError('a backslash stands at the end');
    out.text('\\');
    return at + 1;
  }
  if (escapes === 'plain') {
    out.text(next);
    return at + 2;
  }
  const simple = Object.hasOwn(simpleEscapes, next) ? simpleEscapes[next] : undefined;
  if (simple !== undefined) {
    out.text(simple);
    return at + 2;
  }
  const numeric = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2}))/y;
  numeric.lastIndex = at;
  const [all, hex, short, long, octal] = numeric.exec(text) ?? [];
  const byte = hex !== undefined ? parseInt(hex, 16) : octal !== undefined ? parseInt(octal, 8) : undefined;
  const point = parseInt(short ?? long ?? '', 16);
  if (all !== undefined && byte !== undefined && byte !== 0) {
    out.byte(byte);
    return at + all.length;
  }
  if (all !== undefined && byte === undefined && isCharacter(point)) {
    out.text(String.fromCodePoint(point));
    return at + all.length;
  }
  if (escapes === 'c') throw new ValueError(`'\\${next}' is not an escape sequence that systemd knows`);
  out.text(`\\${next}`);
  return at + 2;
}

function isCharacter(point: number): boolean {
  return point > 0 && point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff);
}

/** Text in which single bytes, from \xHH and \OOO, may add up to UTF-8 characters. */
class ByteText {
  private done = '';
  private pending: number[] = [];

  text(text: string): void {
    this.flush();
    this.done += text;
  }

  byte(byte: number): void {
    this.pending.push(byte);
  }

  finish(): string {
    this.flush();
    return this.done;
  }

  private flush(): void {
    if (this.pending.length === 0) return;
    try {
      this.done += new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
        Uint8Array.from(this.pending),
      );
    } catch {
      throw new ValueError('the escape sequences do not make up UTF-8');
    }
    this.pending = [];
  }
}
