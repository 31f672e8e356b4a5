import { closeSync, mkdirSync, openSync, unlinkSync, writeFileSync } from 'node:fs';
import { diskBelow } from '../config/disk.js';
import { defaultDirectories } from '../config/search.js';
import { portreserveDirectory } from '../config/portreserve.js';
import { parseServices, type Services } from '../config/services.js';
import { ReadError } from '../config/source.js';
import { loadReservations } from '../generator/reservations.js';
import { BerthError, exitStatuses, isSystemError } from '../model/errors.js';
import { formatMistake, type Mistake, type Reservation, type SocketSpec } from '../model/reservation.js';
import { printable } from '../model/text.js';
import { UnitSearch } from '../systemd/unit-search.js';
import type { Invocation } from './arguments.js';
import { importListening } from './import-listening.js';
import { importPortreserve } from './import-portreserve.js';
import { importSockets } from './import-socket.js';
import { printJson, type Output } from './output.js';
import { proposalText, type Proposal } from './proposal.js';

/** Something that no file is proposed for. */
export interface Skipped {
  /** `tcp *:631`, or a unit or file. */
  readonly what: string;
  readonly spec?: SocketSpec;
  readonly reason: string;
}

/** What one source gives. */
export interface Imported {
  readonly proposals: readonly Proposal[];
  readonly skipped: readonly Skipped[];
  readonly mistakes: readonly Mistake[];
}

/** A file as it is proposed, and what became of it where it was to be written. */
interface Result {
  readonly name: string;
  readonly path: string;
  readonly text: string;
  readonly written?: boolean;
}

/** Makes reservation files of what another program reserves, what systemd activates, or what listens now. */
export function importReservations(invocation: Invocation, output: Output): Promise<number> {
  const directories = invocation.configDirs.length > 0 ? invocation.configDirs : defaultDirectories;
  const { proposals, skipped, mistakes } = read(invocation, directories);
  const place = `${invocation.root}${directories[0] ?? ''}`;
  const results = proposals.map((proposal): Result => {
    const path = `${place}/${proposal.name}.conf`;
    const text = proposalText(proposal);
    return {
      name: proposal.name,
      path,
      text,
      ...(invocation.write ? { written: create(place, path, text) } : {}),
    };
  });
  if (invocation.json)
    printJson(output, {
      files: results,
      skipped: skipped.map(({ what, reason }) => ({ what, reason })),
      mistakes,
    });
  else {
    show(results, proposals, skipped, invocation, output);
    for (const mistake of mistakes) output.err(`${printable(formatMistake(mistake))}\n`);
  }
  if (mistakes.length > 0) return Promise.resolve(exitStatuses.Configuration);
  return Promise.resolve(results.some(({ written }) => written === false) ? exitStatuses.Failed : 0);
}

function read(invocation: Invocation, directories: readonly string[]): Imported {
  const { operands, listening, root } = invocation;
  const [source, ...names] = operands;
  if (listening && root !== '')
    throw new BerthError('Usage', 'what listens is known of this machine only: --listening takes no --root');
  const search = new UnitSearch(diskBelow(root));
  const services = servicesOf(search);
  const reserved = reservedIn(search, directories, services);
  if (listening) return importListening(operands, reserved, search);
  switch (source) {
    case 'portreserve':
      return importPortreserve(names, reserved, search, services);
    case 'socket':
      if (names.length === 0) throw new BerthError('Usage', 'import socket needs the name of a .socket unit');
      return importSockets(names, reserved, search, services);
    default:
      throw new BerthError(
        'Usage',
        source === undefined
          ? "import needs to know what: 'portreserve', 'socket UNIT', or --listening"
          : `cannot import '${source}': only 'portreserve', 'socket UNIT', or --listening`,
      );
  }
}

/** Everything that is configured, also with mistakes elsewhere: what can be read counts. */
function reservedIn(
  search: UnitSearch,
  directories: readonly string[],
  services: Services,
): readonly Reservation[] {
  return loadReservations(search, directories, services, portreserveDirectory).reservations;
}

function servicesOf({ source }: UnitSearch): Services {
  try {
    return parseServices(Buffer.from(source.read('/etc/services') ?? []).toString('utf8'));
  } catch (error) {
    if (error instanceof ReadError) return parseServices('');
    throw error;
  }
}

/** Writes a file that was not there; false when there is one. Throws BerthError. */
function create(directory: string, path: string, text: string): boolean {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    const fd = openSync(path, 'wx', 0o644);
    try {
      writeFileSync(fd, text);
    } catch (error) {
      // Half a file would be read as a whole one.
      unlinkSync(path);
      throw error;
    } finally {
      closeSync(fd);
    }
    return true;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    if (error.code === 'EEXIST') return false;
    const code = error.code === 'EACCES' || error.code === 'EPERM' ? 'Denied' : 'Failed';
    throw new BerthError(code, `cannot write ${path}: ${error.message}`);
  }
}

function show(
  results: readonly Result[],
  proposals: readonly Proposal[],
  skipped: readonly Skipped[],
  { write, legend }: Invocation,
  output: Output,
): void {
  for (const { what, reason } of skipped) output.err(`skipped ${printable(what)}: ${printable(reason)}\n`);
  if (!write) {
    output.out(results.map(({ path, text }) => `# ${printable(path)}\n${printableLines(text)}`).join('\n'));
    if (results.length === 0) output.err('nothing to import\n');
    return;
  }
  for (const { path, written } of results) {
    if (written === true) output.out(`wrote ${printable(path)}\n`);
    else output.err(`${printable(path)} is there already, and stays as it is\n`);
  }
  const units = [
    ...new Set(proposals.flatMap(({ unit }, index) => (results[index]?.written === true ? [unit] : []))),
  ];
  if (units.length === 0) {
    if (results.length === 0) output.err('nothing to import\n');
    return;
  }
  if (legend)
    output.out(
      `\nRead them, then: berth reload; systemctl daemon-reload; systemctl restart ${units.map(printable).join(' ')}\n`,
    );
}

function printableLines(text: string): string {
  return text
    .split('\n')
    .map((line) => printable(line))
    .join('\n');
}
