import { formatMistake, type Location, type Mistake, type Reservation } from '../model/reservation.js';
import { socketKeys, reservationKeys } from '../config/keys.js';
import { buildReservation } from '../config/reservation.js';
import type { Services } from '../config/services.js';
import { ReadError } from '../config/source.js';
import type { Assignment, ParsedFile } from '../config/syntax.js';
import { readUnit, type Unit } from '../systemd/unit-file.js';
import { dropInDirectories, parseUnitName } from '../systemd/unit-name.js';
import type { UnitSearch } from '../systemd/unit-search.js';

export interface UnitReservations {
  readonly reservations: readonly Reservation[];
  readonly mistakes: readonly Mistake[];
  /** The names of those that have a mistake. */
  readonly broken: readonly string[];
  /** Templates that would reserve something, if there were an instance. */
  readonly notes: readonly Mistake[];
}

const section = 'X-Berth';
const directive = /^(?:X-)?(ListenStream|ListenDatagram|ListenSequentialPacket)NoActivate$/;
/** What only files with something for berth contain: a byte search is ten times as fast as parsing them all. */
const marks = ['NoActivate', `[${section}]`];

/**
 * The reservations that unit files make: ListenStreamNoActivate= and its like in .socket units, and [X-Berth] in .service
 * units. Each is named after its unit, without the type. Reads every .socket and .service file of the search path, but
 * parses only those with one of these words in them.
 */
export function reservationsInUnits(search: UnitSearch, services: Services): UnitReservations {
  const reservations = new Map<string, Reservation>();
  const mistakes: Mistake[] = [];
  const broken = new Set<string>();
  const notes: Mistake[] = [];
  for (const id of markedUnits(search)) {
    const found = search.find(id);
    if (found.state !== 'found') continue;
    const made = reservationOf(readUnit(search, found), services);
    if (made === undefined) continue;
    if (isTemplate(id)) {
      const message = `nothing is reserved here: no instance of ${id} is enabled, or has a file or drop-ins of its own`;
      notes.push({ ...made.at, key: '', message });
      continue;
    }
    mistakes.push(...made.mistakes);
    const earlier = reservations.get(made.name);
    if (made.reservation === undefined) broken.add(made.name);
    else if (earlier === undefined) reservations.set(made.name, made.reservation);
    else
      mistakes.push({
        ...made.at,
        key: '',
        message: `'${made.name}' is reserved already in ${earlier.at.file}`,
      });
  }
  return {
    reservations: [...reservations.values()].filter(({ name }) => !broken.has(name)),
    // Instances have the lines of their template in common.
    mistakes: [...new Map(mistakes.map((each) => [formatMistake(each), each])).values()],
    broken: [...broken],
    notes,
  };
}

/**
 * The units one of whose files contains a mark, by the names that systemd calls them by, sorted. A template stands for
 * its instances; one without is left, to be told of.
 */
function markedUnits(search: UnitSearch): string[] {
  const names = search.names();
  const marked = new Set<string>();
  for (const name of names) {
    const file = search.fileOf(name);
    if (file !== undefined && isMarked(search, file)) marked.add(name);
  }
  for (const { directory, file } of search.allDropIns()) {
    if (!isMarked(search, file)) continue;
    const type = directory.slice(0, -'.d'.length);
    marked.add(search.find(type).id);
    for (const name of names)
      if (name.endsWith(`.${type}`) || dropInDirectories(name).includes(directory))
        marked.add(search.find(name).id);
  }
  const units = [...marked].flatMap((id) => {
    const instances = isTemplate(id) ? search.instancesOf(id) : [];
    return instances.length === 0 ? [id] : instances;
  });
  return [...new Set(units)].sort();
}

function isTemplate(id: string): boolean {
  return parseUnitName(id)?.instance === '';
}

function isMarked(search: UnitSearch, file: string): boolean {
  try {
    const bytes = search.source.read(file);
    if (bytes === undefined) return false;
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return marks.some((mark) => buffer.includes(mark));
  } catch (error) {
    // What cannot be read is nothing to systemd either, which says so.
    if (error instanceof ReadError) return false;
    throw error;
  }
}

interface Made {
  readonly name: string;
  /** The first line that is about it. */
  readonly at: Location;
  readonly reservation?: Reservation;
  readonly mistakes: readonly Mistake[];
}

function reservationOf(unit: Unit, services: Services): Made | undefined {
  const type = parseUnitName(unit.found.id)?.type;
  const name = unit.found.id.replace(/\.[a-z]+$/, '');
  const made = type === 'socket' ? ofSocket(unit, name) : ofService(unit);
  if (made === undefined) return undefined;
  // Lines that say nothing are systemd's to complain of, unless they could be berth's own.
  const files = made.map((assignments, index): ParsedFile => {
    const { file = '' } = unit.files[index] ?? {};
    return { file, sections: [], assignments, mistakes: [] };
  });
  const at: Location = made.flat()[0] ?? { file: unit.found.file ?? '', line: 1 };
  const built = buildReservation(name, at, files, services);
  const mistakes = built.mistakes.map((each) => asWritten(unit, each));
  const clash = type === 'socket' ? [...doubled(unit), ...accepting(unit)] : [];
  if (built.reservation === undefined || clash.length > 0)
    return { name, at, mistakes: [...mistakes, ...clash] };
  return { name, at, reservation: built.reservation, mistakes };
}

/** A mistake under the key and section that stand in the unit. */
function asWritten(unit: Unit, mistake: Mistake): Mistake {
  const parsed = unit.files.find(({ file }) => file === mistake.file);
  const key = parsed?.assignments.find(({ line }) => line === mistake.line)?.key;
  const message = mistake.message.replace(
    '[Socket]',
    unit.found.id.endsWith('.service') ? `[${section}]` : '[Socket]',
  );
  return { ...mistake, key: mistake.key === '' ? '' : (key ?? mistake.key), message };
}

/** The assignments of a reservation, file by file; undefined when the unit makes none. */
function ofSocket(unit: Unit, name: string): Assignment[][] | undefined {
  const files = unit.files.map(({ assignments }) =>
    assignments.flatMap((each): Assignment[] => {
      if (each.section !== 'Socket') return [];
      const [, listen] = directive.exec(each.key) ?? [];
      if (listen !== undefined) return [{ ...each, key: listen }];
      if (each.key === 'Service') return [{ ...each, section: 'Reservation' }];
      return describes(each.key) ? [each] : [];
    }),
  );
  const first = files.flat().find(({ key }) => key.startsWith('Listen'));
  if (first === undefined) return undefined;
  const { file, line } = first;
  // systemd's own default, so that the service finds all sockets of the unit under one name, whoever hands them over.
  const fdName: Assignment = {
    file,
    line,
    section: 'Socket',
    key: 'FileDescriptorName',
    value: `${name}.socket`,
  };
  return files.map((assignments, index) => (index === 0 ? [fdName, ...assignments] : assignments));
}

/**
 * Keys that say what a socket is like. Those of the unit's own, activating sockets are no business of the reservation;
 * nor are links, which point to a path of the unit.
 */
function describes(key: string): boolean {
  return socketKeys.has(key) && !key.startsWith('Listen') && key !== 'Symlinks';
}

function ofService(unit: Unit): Assignment[][] | undefined {
  if (!unit.files.some(({ sections }) => sections.some((head) => head.section === section))) return undefined;
  return unit.files.map(({ assignments }) =>
    assignments
      .filter((each) => each.section === section)
      .map((each) => ({ ...each, section: reservationKeys.has(each.key) ? 'Reservation' : 'Socket' })),
  );
}

/** Accept=yes has systemd start an instance for each connection: there is no one service that could get what is reserved. */
function accepting(unit: Unit): Mistake[] {
  if (!unit.isOn('Socket', 'Accept')) return [];
  const message =
    'with Accept=yes there is a service for each connection, and none that could get this socket: reserve it in a unit of its own';
  const at = unit.files.flatMap(({ assignments }) => assignments).find(isDirective);
  return at === undefined ? [] : [{ file: at.file, line: at.line, key: at.key, message }];
}

function isDirective({ section, key, value }: Assignment): boolean {
  return section === 'Socket' && directive.test(key) && value !== '';
}

/** The addresses that a .socket unit both activates on and reserves: systemd could not bind them any more. */
function doubled(unit: Unit): Mistake[] {
  return ['ListenStream', 'ListenDatagram', 'ListenSequentialPacket'].flatMap((key) => {
    const activating = new Set(unit.list('Socket', key).map(({ value }) => value));
    return ['', 'X-'].flatMap((x) =>
      unit
        .list('Socket', `${x}${key}NoActivate`)
        .filter(({ value }) => value !== '' && activating.has(value))
        .map((each) => ({
          file: each.file,
          line: each.line,
          key: each.key,
          message: `${key}=${each.value} of the same unit is that socket already, and activates`,
        })),
    );
  });
}
