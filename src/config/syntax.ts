import { isUtf8 } from 'node:buffer';
import type { Location, Mistake } from '../model/reservation.js';

/** One `KEY=VALUE` of a systemd.syntax(7) file. `line` is where the assignment starts; an empty value is kept. */
export interface Assignment extends Location {
  readonly section: string;
  readonly key: string;
  readonly value: string;
}

/** A `[NAME]` line. A name that stands twice is listed twice. */
export interface SectionHead extends Location {
  readonly section: string;
}

export interface ParsedFile {
  readonly file: string;
  readonly sections: readonly SectionHead[];
  readonly assignments: readonly Assignment[];
  readonly mistakes: readonly Mistake[];
}

/** systemd's LONG_LINE_MAX: the most that one line, continuation lines included, may have. */
export const lineLimit = 1024 * 1024;
/** A file has no business being larger; systemd itself reads unit files whole, too. */
export const fileLimit = 16 * 1024 * 1024;
/** A binary file named NAME.conf would else give a mistake for each of its lines. */
const mistakeLimit = 100;

/**
 * Reads a file in the syntax of systemd.syntax(7): what it says, in order, and every line that says nothing. Never
 * throws: whatever is wrong is among the mistakes, and all else is still returned.
 */
export function parseSyntax(file: string, bytes: Uint8Array): ParsedFile {
  const reader = new Reader(file);
  if (bytes.length > fileLimit) {
    reader.mistake(1, `the file is larger than ${fileLimit / 1024 / 1024} MiB`);
    return { file, ...reader.result };
  }
  // Only a file that is not clean as a whole pays for looking at each of its lines.
  const clean = isUtf8(bytes);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(
    clean ? 'utf8' : 'latin1',
  );
  const start = text.startsWith(clean ? '\uFEFF' : '\u00EF\u00BB\u00BF') ? (clean ? 1 : 3) : 0;
  let line = 1;
  for (let from = start; from <= text.length && !reader.full; line++) {
    let end = text.indexOf('\n', from);
    if (end === -1) end = text.length;
    const raw = text.slice(from, end > from && text[end - 1] === '\r' ? end - 1 : end);
    reader.physicalLine(line, clean ? raw : decodeLine(raw));
    from = end + 1;
  }
  reader.end();
  return { file, ...reader.result };
}

/** The text of one line that was read as Latin-1; undefined when its bytes are not UTF-8. */
function decodeLine(raw: string): string | undefined {
  const bytes = Buffer.from(raw, 'latin1');
  return isUtf8(bytes) ? bytes.toString('utf8') : undefined;
}

class Reader {
  readonly result = {
    sections: [] as SectionHead[],
    assignments: [] as Assignment[],
    mistakes: [] as Mistake[],
  };
  full = false;
  /** Undefined before the first header; null below a header that cannot be read, whose lines say nothing either. */
  private section: string | null | undefined;
  private parts: string[] = [];
  private length = 0;
  private firstLine = 0;
  private damaged = false;

  constructor(private readonly file: string) {}

  /** Takes one line without its newline; undefined stands for one that is not UTF-8. */
  physicalLine(line: number, text: string | undefined): void {
    // A comment does not end a continuation (systemd.syntax(7)), wherever it stands.
    if (text !== undefined && isComment(text)) return;
    if (this.parts.length === 0) this.firstLine = line;
    if (text === undefined) {
      this.damaged = true;
      this.mistake(line, 'the line is not UTF-8');
    } else if (text.includes('\0') && !this.damaged) {
      this.damaged = true;
      this.mistake(line, 'the line contains a NUL byte');
    }
    const continues = text !== undefined && endsInBackslash(text);
    this.length += text?.length ?? 0;
    if (this.length > lineLimit) {
      if (!this.damaged)
        this.mistake(this.firstLine, `the line is longer than ${lineLimit / 1024 / 1024} MiB`);
      this.damaged = true;
    }
    // What is damaged is thrown away in the end: only where it ends still matters.
    this.parts.push(this.damaged || text === undefined ? '' : continues ? `${text.slice(0, -1)} ` : text);
    if (!continues) this.end();
  }

  /** Ends the line that the physical lines so far make up. */
  end(): void {
    if (this.parts.length === 0) return;
    const text = this.parts.join('');
    if (!this.damaged) this.logicalLine(this.firstLine, strip(text));
    this.parts = [];
    this.length = 0;
    this.damaged = false;
  }

  private logicalLine(line: number, text: string): void {
    if (text === '') return;
    if (text.startsWith('[')) {
      this.header(line, text);
      return;
    }
    if (this.section === null) return;
    if (this.section === undefined) {
      this.mistake(line, 'this stands before the first [section]');
      return;
    }
    const equals = text.indexOf('=');
    if (equals === -1) {
      this.mistake(line, `'${excerpt(text)}' has no '=': neither KEY=VALUE nor a [section] nor a comment`);
      return;
    }
    const key = strip(text.slice(0, equals));
    if (key === '') {
      this.mistake(line, "there is no key before the '='");
      return;
    }
    const { file, section } = this;
    this.result.assignments.push({ file, line, section, key, value: strip(text.slice(equals + 1)) });
  }

  private header(line: number, text: string): void {
    if (!text.endsWith(']') || text.length < 3) {
      this.section = null;
      this.mistake(line, `'${excerpt(text)}' is not a section header, and the lines below it are skipped`);
      return;
    }
    this.section = text.slice(1, -1);
    this.result.sections.push({ file: this.file, line, section: this.section });
  }

  mistake(line: number, message: string): void {
    if (this.full) return;
    this.full = this.result.mistakes.length >= mistakeLimit;
    this.result.mistakes.push({
      file: this.file,
      line,
      key: '',
      message: this.full ? 'too many mistakes: the rest of the file is not read' : message,
    });
  }
}

const whitespace = ' \t\n\r';

/** Without systemd's whitespace at both ends; String.trim() would take no-break spaces, too. */
export function strip(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && whitespace.includes(text.charAt(from))) from++;
  while (to > from && whitespace.includes(text.charAt(to - 1))) to--;
  return text.slice(from, to);
}

/** Input as it may stand in a message: short, and without characters that a terminal would obey. */
export function excerpt(text: string): string {
  return withoutControls(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}

export function withoutControls(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what this is about
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
}

function isComment(text: string): boolean {
  let at = 0;
  while (at < text.length && whitespace.includes(text.charAt(at))) at++;
  return text[at] === '#' || text[at] === ';';
}

/** An even run of backslashes at the end is escaped backslashes, and no continuation. */
function endsInBackslash(text: string): boolean {
  let run = 0;
  while (run < text.length && text[text.length - 1 - run] === '\\') run++;
  return run % 2 === 1;
}
