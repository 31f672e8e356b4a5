import { excerpt, withoutControls } from './syntax.js';

/**
 * What is wrong with a value, in words that complete `KEY: …`. Caught where the value's place is known. The words may hold
 * what the file says: no character of it moves a cursor or begins a line.
 */
export class ValueError extends Error {
  override readonly name = 'ValueError';

  constructor(message: string) {
    super(withoutControls(message));
  }
}

const truths = new Set(['1', 'yes', 'y', 'true', 't', 'on']);
const falsehoods = new Set(['0', 'no', 'n', 'false', 'f', 'off']);

export function parseBoolean(text: string): boolean {
  const word = text.toLowerCase();
  if (truths.has(word)) return true;
  if (falsehoods.has(word)) return false;
  throw new ValueError(`${quote(text)} is not a boolean (yes or no)`);
}

/**
 * An integer as systemd reads them: decimal, 0x hexadecimal, 0o or a leading 0 octal, 0b binary, with an optional
 * sign. Both limits are included.
 */
export function parseInteger(text: string, minimum: number, maximum: number): number {
  const match =
    /^([+-]?)(?:0[xX]([0-9a-fA-F]{1,32})|0[bB]([01]{1,64})|(0[oO]?[0-7]{1,32})|([1-9][0-9]{0,31}|0))$/.exec(
      text,
    );
  if (match === null) throw new ValueError(`${quote(text)} is not a number`);
  const [, sign, hex, binary, octal, decimal] = match;
  const magnitude =
    hex !== undefined
      ? parseInt(hex, 16)
      : binary !== undefined
        ? parseInt(binary, 2)
        : octal !== undefined
          ? parseInt(octal.replace(/^0[oO]?/, ''), 8)
          : Number(decimal);
  const value = sign === '-' && magnitude !== 0 ? -magnitude : magnitude;
  if (value < minimum || value > maximum) {
    throw new ValueError(`${excerpt(text)} is out of range (${minimum} to ${maximum})`);
  }
  return value;
}

const sizeUnits = ['E', 'P', 'T', 'G', 'M', 'K', 'B', ''] as const;

/** Bytes, with the suffixes K, M, G, T, P, E to the base of 1024, largest first when several stand (`1G 512M`). */
export function parseSize(text: string, maximum: number): number {
  const term = /[ \t]*(\d{1,20})(?:\.(\d{0,20}))?[ \t]*([A-Za-z]?)/y;
  let total = 0;
  let nextUnit = 0;
  if (text === '') throw new ValueError('a size is missing');
  while (term.lastIndex < text.length) {
    const match = term.exec(text);
    const unit =
      match === null ? -1 : sizeUnits.indexOf((match[3] ?? '') as (typeof sizeUnits)[number], nextUnit);
    if (match === null || unit === -1) {
      throw new ValueError(`${quote(text)} is not a size (a number with K, M or G to the base of 1024)`);
    }
    const factor = 1024 ** Math.max(0, sizeUnits.indexOf('B') - unit);
    total += Number(match[1]) * factor + Math.floor(Number(`0.${match[2] ?? ''}`) * factor);
    nextUnit = unit + 1;
  }
  if (total > maximum) throw new ValueError(`${excerpt(text)} is too large (at most ${maximum} bytes)`);
  return total;
}

/** The units of systemd.time(7), in microseconds. */
const timeUnits = new Map<string, number>(
  [
    { names: 'us usec \u00b5s \u03bcs', factor: 1 },
    { names: 'ms msec', factor: 1e3 },
    { names: 's sec second seconds', factor: 1e6 },
    { names: 'm min minute minutes', factor: 60e6 },
    { names: 'h hr hour hours', factor: 3600e6 },
    { names: 'd day days', factor: 86400e6 },
    { names: 'w week weeks', factor: 7 * 86400e6 },
    { names: 'M month months', factor: 2629800e6 },
    { names: 'y year years', factor: 31557600e6 },
  ].flatMap(({ names, factor }) => names.split(' ').map((name) => [name, factor] as const)),
);

/** A time span of systemd.time(7) in microseconds: `5`, `1min 30s`, `1.5h`, `infinity`. Without a unit: seconds. */
export function parseTimeSpan(text: string): number {
  if (/^[ \t]*infinity[ \t]*$/.test(text)) return Infinity;
  const term = /[ \t]*([+-]?)(\d{0,20})(?:\.(\d{1,30}))?[ \t]*([A-Za-z\u00b5\u03bc]*)[ \t]*/y;
  let total = 0;
  if (text === '') throw new ValueError('a time span is missing');
  while (term.lastIndex < text.length) {
    const before = term.lastIndex;
    const [all = '', sign, whole = '', fraction, unit = ''] = term.exec(text) ?? [];
    const factor = timeUnits.get(unit === '' ? 's' : unit);
    // '12.34.56' reads as two terms but must not, while '12.34 .56' may.
    const runsOn = unit === '' && text[before + all.length] === '.' && !/[ \t]$/.test(all);
    if ((whole === '' && fraction === undefined) || factor === undefined || runsOn) {
      throw new ValueError(`${quote(text)} is not a time span (such as 30, 500ms or 1min 30s)`);
    }
    if (sign === '-') throw new ValueError('a time span cannot be negative');
    total += Number(whole) * factor + Math.floor(Number(`0.${fraction ?? '0'}`) * factor);
  }
  // systemd counts microseconds in 64 bits.
  if (total >= 2 ** 64) throw new ValueError(`${excerpt(text)} is too long a time`);
  return total;
}

/**
 * A time span that ends up in a socket option of whole seconds. Undefined for 0, which systemd takes as "leave it to
 * the kernel". What remains below a second is cut, as systemd does.
 */
export function parseKernelSeconds(text: string, maximum: number): number | undefined {
  const span = parseTimeSpan(text);
  if (span === 0) return undefined;
  const seconds = Math.floor(span / 1e6);
  if (seconds < 1 || seconds > maximum) {
    throw new ValueError(
      `${excerpt(text)} is out of the kernel's range (1 to ${maximum} seconds, or 0 for its default)`,
    );
  }
  return seconds;
}

/** Permission bits in octal notation. */
export function parseMode(text: string): number {
  if (!/^[0-7]{1,32}$/.test(text))
    throw new ValueError(`${quote(text)} is not an access mode in octal notation`);
  const mode = parseInt(text, 8);
  if (mode > 0o7777) throw new ValueError(`${excerpt(text)} is out of range (0 to 7777)`);
  return mode;
}

/** The names of ip(7) and systemd.socket(5) for IPTOS_*. */
const typesOfService = new Map([
  ['low-delay', 0x10],
  ['throughput', 0x08],
  ['reliability', 0x04],
  ['low-cost', 0x02],
]);

export function parseTypeOfService(text: string): number {
  const named = typesOfService.get(text);
  if (named !== undefined) return named;
  if (/^[a-z]/i.test(text)) {
    throw new ValueError(`${quote(text)} is none of ${[...typesOfService.keys()].join(', ')}, nor a number`);
  }
  return parseInteger(text, 0, 255);
}

/**
 * A user's or group's name or number, by systemd's relaxed rules (user-util.c): anything that fits a field of passwd(5)
 * and is not mistaken for a number. Whether it exists is for the moment of use.
 */
export function parseUserName(text: string): string {
  if (/^[0-9]+$/.test(text)) {
    // (uid_t) -1, in 32 and in 16 bits, means "no change" to chown(2).
    if (text.length > 10 || Number(text) >= 0xffffffff || Number(text) === 0xffff || /^0./.test(text)) {
      throw new ValueError(`${quote(text)} is not a usable user or group number`);
    }
    return text;
  }
  // eslint-disable-next-line no-control-regex -- control characters are what this is about
  if (/[\u0000-\u001f\u007f:/]/.test(text) || text === '.' || text === '..' || /^-?[0-9]+$/.test(text)) {
    throw new ValueError(`${quote(text)} is not a user or group name`);
  }
  if (Buffer.byteLength(text) > 255) throw new ValueError('the name is too long');
  return text;
}

/** An interface name by the kernel's rules (dev_valid_name) and systemd's on top: no number, not `all` or `default`. */
export function parseInterfaceName(text: string): string {
  const badCharacter = /[^\x21-\x7e]|[/:%]/.test(text);
  if (
    badCharacter ||
    text.length > 15 ||
    ['', '.', '..', 'all', 'default'].includes(text) ||
    /^[0-9]+$/.test(text)
  ) {
    throw new ValueError(`${quote(text)} is not a network interface's name`);
  }
  return text;
}

/** systemd's fdname_is_valid(): what may stand in LISTEN_FDNAMES. */
export function parseFdName(text: string): string {
  if (/[^\x20-\x7e]|:/.test(text))
    throw new ValueError(`${quote(text)} may have printable ASCII only, and no ':'`);
  if (text.length > 255) throw new ValueError('the name is longer than 255 characters');
  return text;
}

/** One of several words, by its exact spelling. */
export function parseChoice<T extends string>(text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw new ValueError(`${quote(text)} is none of ${choices.join(', ')}`);
  return found;
}

/** An absolute path without `.` and `..`, with systemd's simplification: no doubled and no trailing slashes. */
export function parseAbsolutePath(text: string): string {
  if (!text.startsWith('/')) throw new ValueError(`${quote(text)} is not an absolute path`);
  const parts = text.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw new ValueError(`${quote(text)} must not contain '..'`);
  if (Buffer.byteLength(text) >= 4096) throw new ValueError('the path is too long');
  return `/${parts.join('/')}`;
}

export function quote(text: string): string {
  return `'${excerpt(text)}'`;
}
