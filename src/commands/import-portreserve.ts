import { basename } from 'node:path';
import { checkReservationName } from '../config/names.js';
import { parsePortreserve, portreserveDirectory } from '../config/portreserve.js';
import type { Services } from '../config/services.js';
import { ReadError, type LinkedSource } from '../config/source.js';
import { ValueError } from '../config/values.js';
import { commandsOf, daemonOfUnit } from '../generator/daemons.js';
import { BerthError } from '../model/errors.js';
import type { Mistake, Reservation, SocketSpec } from '../model/reservation.js';
import { readUnit, type Unit } from '../systemd/unit-file.js';
import type { UnitSearch } from '../systemd/unit-search.js';
import type { Imported, Skipped } from './import.js';
import type { Proposal } from './proposal.js';
import { suggestHandoff } from './suggest.js';

/** Proposals for files of portreserve(1), all of them where none is named. Throws BerthError. */
export function importPortreserve(
  files: readonly string[],
  reserved: readonly Reservation[],
  search: UnitSearch,
  services: Services,
): Imported {
  const { source } = search;
  const proposals: Proposal[] = [];
  const skipped: Skipped[] = [];
  const mistakes: Mistake[] = [];
  for (const file of files.length > 0 ? files : list(source)) {
    const name = basename(file);
    const owner = reserved.find(
      (each) => each.name === name && !each.at.file.startsWith(`${portreserveDirectory}/`),
    );
    if (owner !== undefined) {
      skipped.push({ what: file, reason: `'${name}' is reserved already (${owner.at.file})` });
      continue;
    }
    const { sockets, mistakes: own } = readFile(source, file, name, services);
    mistakes.push(...own);
    if (own.length > 0) continue;
    if (sockets.length === 0) skipped.push({ what: file, reason: 'it names no port' });
    else proposals.push(propose(search, file, name, sockets));
  }
  return { proposals, skipped, mistakes };
}

/** As portreserve does it: what has a dot or a tilde in its name is a package manager's or an editor's. */
function list(source: LinkedSource): string[] {
  try {
    return source
      .list(portreserveDirectory)
      .filter((name) => !/[.~]/.test(name))
      .sort()
      .map((name) => `${portreserveDirectory}/${name}`);
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    throw new BerthError('Failed', `${portreserveDirectory} ${error.message}`);
  }
}

function readFile(
  source: LinkedSource,
  file: string,
  name: string,
  services: Services,
): { sockets: readonly SocketSpec[]; mistakes: readonly Mistake[] } {
  try {
    checkReservationName(name);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    return { sockets: [], mistakes: [{ file, line: 1, key: '', message: error.message }] };
  }
  return parsePortreserve(file, textOf(source, file), services);
}

function textOf(source: LinkedSource, file: string): string {
  try {
    const bytes = source.read(file);
    if (bytes === undefined) throw new BerthError('NotFound', `there is no ${file}`);
    return Buffer.from(bytes).toString('utf8');
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    throw new BerthError('Failed', `${file} ${error.message}`);
  }
}

function propose(search: UnitSearch, file: string, name: string, all: readonly SocketSpec[]): Proposal {
  const unit = readUnit(search, search.find(`${name}.service`));
  const daemon = daemonOfUnit(unit);
  const never = daemon?.never;
  const asks = portreleaseIn(unit);
  const unsafe = all.filter(({ type }) => type === never?.type);
  const { handoff, reasons } =
    daemon === undefined || asks !== undefined || unsafe.length > 0
      ? {
          handoff: 'release',
          reasons: ['Handoff=release, as with portreserve: the service binds by itself.'],
        }
      : suggestHandoff(daemon, all, commandsOf(unit)[0]?.plainPath);
  const hints = [
    ...(asks === undefined
      ? []
      : [
          `${asks} runs portrelease, which goes on to work. For a better Handoff= take that line out, so that the generator writes its own.`,
        ]),
    ...unsafe.map(
      ({ listen }) =>
        `For another Handoff=, move UDP ${serviceOf(listen)} into a file of its own with Handoff=none: ${never?.because ?? ''}.`,
    ),
  ];
  return {
    name,
    unit: `${name}.service`,
    comments: [`Proposed by berth import, from ${file}.`, ...reasons, ...hints],
    socket: all.map(
      ({ type, listen }) =>
        [type === 'stream' ? 'ListenStream' : 'ListenDatagram', serviceOf(listen)] as const,
    ),
    reservation: [['Handoff', handoff]],
  };
}

/** Without the protocol, which the key says. */
function serviceOf(listen: string): string {
  return listen.split('/', 1)[0] ?? '';
}

/** Where a unit asks for a release itself, as `FILE:LINE`. */
function portreleaseIn(unit: Unit): string | undefined {
  const at = ['ExecStartPre', 'ExecStart']
    .flatMap((key) => unit.list('Service', key))
    .find(({ value }) => /(^|[\s/])portrelease(\s|$)/.test(value));
  return at === undefined ? undefined : `${at.file}:${at.line}`;
}
