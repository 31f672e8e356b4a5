import { parse } from 'ini';
import type { Mistake } from '../model/reservation.js';
import { closest } from './spelling.js';
import { excerpt } from './syntax.js';
import { parseAbsolutePath, parseBoolean, parseChoice, parseTimeSpan, quote, ValueError } from './values.js';

export const logLevels = ['err', 'warning', 'notice', 'info', 'debug'] as const;
export type LogLevel = (typeof logLevels)[number];

/** The daemon's own settings, of berthd.conf(5). */
export interface Settings {
  readonly logLevel: LogLevel;
  /** Seconds after which a connection that says nothing is closed. */
  readonly peerTimeoutSec: number;
  /** Seconds after which a berthd that nobody needs ends, its sockets kept by PID 1; 0 for never. */
  readonly idleExitSec: number;
  /** Whether the kernel is told to give no reserved port to a program that asks for any. */
  readonly reserveEphemeral: boolean;
  /** A file of ports for bindresvport(3) to pass over. */
  readonly bindresvportBlacklist?: string;
}

export const defaultSettings: Settings = {
  logLevel: 'info',
  peerTimeoutSec: 10,
  idleExitSec: 0,
  reserveEphemeral: false,
};

type Draft = { -readonly [K in keyof Settings]: Settings[K] };

export const settingsKeys: ReadonlyMap<string, (draft: Draft, value: string) => void> = new Map(
  Object.entries({
    LogLevel: (draft: Draft, value: string) => {
      draft.logLevel = parseChoice(value, logLevels);
    },
    PeerTimeoutSec: (draft: Draft, value: string) => {
      draft.peerTimeoutSec = seconds(value, 0.1, '100ms to 1h');
    },
    IdleExitSec: (draft: Draft, value: string) => {
      draft.idleExitSec = value === '0' ? 0 : seconds(value, 1, '1s to 1h, or 0 for never');
    },
    ReserveEphemeral: (draft: Draft, value: string) => {
      draft.reserveEphemeral = parseBoolean(value);
    },
    BindresvportBlacklist: (draft: Draft, value: string) => {
      if (value === '') delete draft.bindresvportBlacklist;
      else draft.bindresvportBlacklist = parseAbsolutePath(value);
    },
  }),
);

function seconds(value: string, least: number, range: string): number {
  const span = parseTimeSpan(value) / 1e6;
  if (span < least || span > 3600) throw new ValueError(`${quote(value)} is out of range (${range})`);
  return span;
}

/** A settings file needs a screenful; the package reads it with regular expressions that are not meant for more. */
const sizeLimit = 64 * 1024;
/** There are fewer keys than this, so that what follows could only be more of the same mistakes. */
const mistakeLimit = 100;

/**
 * Reads berthd.conf, flat `KEY=VALUE` lines. A setting that is wrong is a mistake and keeps its default. Never throws.
 */
export function parseSettings(
  file: string,
  bytes: Uint8Array,
): { readonly settings: Settings; readonly mistakes: readonly Mistake[] } {
  const settings: Draft = { ...defaultSettings };
  const mistakes: Mistake[] = [];
  const text = Buffer.from(bytes.subarray(0, sizeLimit)).toString('utf8');
  const fail = (line: number, key: string, message: string) =>
    mistakes.push({ file, line, key: excerpt(key), message });
  if (bytes.length > sizeLimit) fail(1, '', `the file is larger than ${sizeLimit / 1024} KiB`);
  const { values, problem } = parseIni(text);
  if (problem !== undefined) fail(1, '', problem);
  const lines = linesOf(text);
  for (const [key, value] of Object.entries(values).slice(0, mistakeLimit)) {
    const line = lines.get(key) ?? 1;
    const take = settingsKeys.get(key);
    if (take === undefined) {
      fail(line, typeof value === 'object' && value !== null ? '' : key, unknown(key, value));
      continue;
    }
    // ini turns true, false and null into themselves and repeated KEY[] lines into a list: text stays text here.
    if (typeof value === 'object' && value !== null) fail(line, key, 'the value is not a single word');
    else {
      try {
        take(settings, String(value));
      } catch (error) {
        if (!(error instanceof ValueError)) throw error;
        fail(line, key, error.message);
      }
    }
  }
  return { settings, mistakes };
}

function unknown(key: string, value: unknown): string {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return `the section ${quote(`[${key}]`)} is unknown: berthd.conf has its keys without one`;
  }
  const near = closest(key, settingsKeys.keys());
  return `unknown key${near === undefined ? '' : `: did you mean ${near}=?`}`;
}

/** ini throws on some input (a key that is `'null'`), and what it returns has no prototype. */
function parseIni(text: string): { values: Record<string, unknown>; problem?: string } {
  try {
    return { values: parse(text) };
  } catch {
    return { values: {}, problem: 'this is not a file of KEY=VALUE lines' };
  }
}

/** Where each key stands, which ini does not tell: the last line that assigns it, for that is the one that counts. */
function linesOf(text: string): Map<string, number> {
  const lines = text.split(/\r\n|\n|\r/).map((line) => line.trim());
  return new Map(
    lines.map((line, index) => {
      const name = line.startsWith('[') ? line.slice(1).split(']', 1) : line.split('=', 1);
      return [(name[0] ?? '').trim().replace(/^["']|["']$|\[\]$/g, ''), index + 1];
    }),
  );
}
