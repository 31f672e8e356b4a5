import * as path from 'node:path';
import type { Mistake, Reservation, SocketSpec } from '../model/reservation.js';
import { checkReservationName, parseServiceUnit } from './names.js';
import { defaultOptions } from './reservation.js';
import type { Services } from './services.js';
import { ReadError, type FileSource } from './source.js';
import { excerpt } from './syntax.js';
import { quote, ValueError } from './values.js';

/** Where portreserve(1) has its files. */
export const portreserveDirectory = '/etc/portreserve';

/** The reservations of portreserve's files. */
export interface LegacyFiles {
  readonly reservations: readonly Reservation[];
  readonly mistakes: readonly Mistake[];
  /** The names of the files in which nothing can be held. */
  readonly broken: readonly string[];
  /** False when the directory could not be read. */
  readonly complete: boolean;
}

/** A service configuration file of portreserve names a handful of ports. */
const sizeLimit = 64 * 1024;
const mistakeLimit = 100;

/**
 * Reads a directory as portreserve does: each file is of the service that it is named after, but for those with a `.` or
 * a `~` in the name. `overridden` tells of a name whether a file of berth's own counts instead. Never throws.
 */
export function loadPortreserve(
  source: FileSource,
  directory: string,
  services: Services,
  overridden: (name: string) => boolean,
): LegacyFiles {
  const mistakes: Mistake[] = [];
  const names = list(source, directory, mistakes).filter((name) => !isSkipped(name) && !overridden(name));
  const complete = mistakes.length === 0;
  const files = [...names].sort().map((name) => `${directory}/${name}`);
  const read = readAll(source, files, services);
  return { ...read, mistakes: [...mistakes, ...read.mistakes], complete };
}

/** Whether a file that is named by itself is one of portreserve's: its directory is called as theirs is. */
export function isPortreserveFile(file: string): boolean {
  return path.basename(path.dirname(path.resolve(file))) === path.basename(portreserveDirectory);
}

/** Reads files of portreserve that are named by themselves, where one that does not count is a mistake. Never throws. */
export function loadPortreserveFiles(
  source: FileSource,
  files: readonly string[],
  services: Services,
): LegacyFiles {
  const skipped = files.filter((file) => isSkipped(path.basename(file)));
  const message = "files with a '.' or a '~' in their name do not count";
  const read = readAll(
    mustBeThere(source),
    files.filter((file) => !skipped.includes(file)),
    services,
  );
  const mistakes = [...skipped.map((file) => ({ file, line: 1, key: '', message })), ...read.mistakes];
  return { ...read, mistakes, complete: true };
}

/** What comes and goes in a directory is no mistake; what somebody names is. */
function mustBeThere(source: FileSource): FileSource {
  return {
    list: (directory) => source.list(directory),
    read(file) {
      const bytes = source.read(file);
      if (bytes === undefined) throw new ReadError('there is no such file');
      return bytes;
    },
  };
}

function isSkipped(name: string): boolean {
  return /[.~]/.test(name);
}

function readAll(
  source: FileSource,
  files: readonly string[],
  services: Services,
): Omit<LegacyFiles, 'complete'> {
  const mistakes: Mistake[] = [];
  const reservations: Reservation[] = [];
  const broken: string[] = [];
  for (const file of files) {
    const name = path.basename(file);
    const made = readOne(source, file, name, services);
    mistakes.push(...made.mistakes);
    if (made.reservation !== undefined) reservations.push(made.reservation);
    else if (made.mistakes.length > 0) broken.push(name);
  }
  return { reservations, mistakes, broken };
}

function list(source: FileSource, directory: string, mistakes: Mistake[]): readonly string[] {
  try {
    return source.list(directory);
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    mistakes.push({ file: directory, line: 1, key: '', message: error.message });
    return [];
  }
}

function readOne(
  source: FileSource,
  file: string,
  name: string,
  services: Services,
): { reservation?: Reservation; mistakes: readonly Mistake[] } {
  try {
    checkReservationName(name);
    const unit = parseServiceUnit(`${name}.service`);
    const bytes = source.read(file) ?? new Uint8Array();
    if (bytes.length > sizeLimit) throw new ReadError(`the file is larger than ${sizeLimit / 1024} KiB`);
    const { sockets, mistakes } = parsePortreserve(file, Buffer.from(bytes).toString('utf8'), services);
    if (sockets.length === 0) return { mistakes };
    const at = { file, line: 1 };
    const reservation: Reservation = {
      name,
      sockets,
      options: defaultOptions,
      fdName: name,
      unit,
      handoff: 'release',
      whileStopped: 'refuse',
      legacy: true,
      at,
    };
    return { reservation, mistakes };
  } catch (error) {
    if (!(error instanceof ValueError || error instanceof ReadError)) throw error;
    return { mistakes: [{ file, line: 1, key: '', message: error.message }] };
  }
}

/**
 * The sockets of one file: a line is a name of services(5) or a number, with `/tcp` or `/udp` behind it, or without for
 * both, as far as services(5) knows the name for both. What portreserve skips in silence is a mistake, but for empty
 * lines and those that begin with `#`; the lines without one count. Each socket comes once.
 */
export function parsePortreserve(
  file: string,
  text: string,
  services: Services,
): { sockets: readonly SocketSpec[]; mistakes: readonly Mistake[] } {
  const sockets = new Map<string, SocketSpec>();
  const mistakes: Mistake[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const written = raw.trim();
    if (written === '' || written.startsWith('#')) continue;
    const at = { file, line: index + 1 };
    if (mistakes.length === mistakeLimit) {
      mistakes.push({ ...at, key: '', message: 'too many mistakes: the rest of the file is not read' });
      break;
    }
    try {
      for (const { type, port } of portsOf(written, services)) {
        const key = `${type} ${port}`;
        if (!sockets.has(key))
          sockets.set(key, { type, address: { family: 'any', port }, listen: written, at });
      }
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      mistakes.push({ ...at, key: '', message: error.message });
    }
  }
  return { sockets: [...sockets.values()], mistakes };
}

const types = { tcp: 'stream', udp: 'datagram' } as const;
type Protocol = keyof typeof types;

function portsOf(written: string, services: Services): { type: 'stream' | 'datagram'; port: number }[] {
  const [, service = '', , protocol] = /^([^/]*)(\/(.*))?$/.exec(written) ?? [];
  if (protocol !== undefined && protocol !== 'tcp' && protocol !== 'udp')
    throw new ValueError(`'/${excerpt(protocol)}' is neither /tcp nor /udp`);
  const wanted: readonly Protocol[] = protocol === undefined ? ['tcp', 'udp'] : [protocol];
  const found = wanted.flatMap((each) => {
    const port = services.port(service, each) ?? numberOf(service);
    return port === undefined ? [] : [{ type: types[each], port }];
  });
  if (found.length > 0) return found;
  const others = services.protocols(service);
  throw new ValueError(
    others.length === 0
      ? `services(5) knows no ${quote(service)}`
      : `services(5) knows ${quote(service)} for ${others.join(', ')} only, not for ${wanted.join(' or ')}`,
  );
}

/** Decimal whatever it begins with: portreserve reads numbers by strtol(3) to the base of 10. */
function numberOf(service: string): number | undefined {
  if (!/^[0-9]+$/.test(service)) return undefined;
  const port = Number(service);
  if (port < 1 || port > 65535) throw new ValueError(`${quote(service)} is not a port (1 to 65535)`);
  return port;
}
