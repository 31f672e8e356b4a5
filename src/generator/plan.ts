import * as path from 'node:path';
import { resolveLinks } from '../config/disk.js';
import { defaultSettings, type Settings } from '../config/settings.js';
import { ReadError } from '../config/source.js';
import type { Mistake, Reservation } from '../model/reservation.js';
import { Quadlets } from '../systemd/quadlet.js';
import { readUnit, type Unit } from '../systemd/unit-file.js';
import type { UnitSearch } from '../systemd/unit-search.js';
import { daemonSettings } from './daemon-settings.js';
import { dropInText, type Setting } from './drop-in.js';
import { dropInName, lateDropInName } from './paths.js';
import { storeWarnings } from './refusals.js';
import { settingsFor } from './settings.js';
import { words } from './unit-settings.js';

/** What the generator does about one unit. */
export interface UnitPlan {
  /** The name that systemd calls the unit by. */
  readonly unit: string;
  readonly reservations: readonly string[];
  /** The drop-in below the generator's directory; undefined when there is none. */
  readonly file: { readonly path: string; readonly text: string } | undefined;
  /** What an administrator should know, and no mistake. */
  readonly notes: readonly string[];
}

export interface Plan {
  /** In the order of their names. */
  readonly units: readonly UnitPlan[];
  readonly mistakes: readonly Mistake[];
  /** What is known not to work, and is done all the same: a program may be newer than what is known of it. */
  readonly warnings: readonly Mistake[];
}

/** Decides which drop-ins the units of the reservations get. Reads, and changes nothing. */
export function makePlan(
  search: UnitSearch,
  reservations: readonly Reservation[],
  settings: Settings = defaultSettings,
): Plan {
  const byUnit = new Map<string, Reservation[]>();
  for (const reservation of reservations) {
    if (reservation.handoff === 'none') continue;
    const id = search.idOf(reservation.unit);
    const known = byUnit.get(id);
    if (known === undefined) byUnit.set(id, [reservation]);
    else known.push(reservation);
  }
  const mistakes: Mistake[] = [];
  const warnings: Mistake[] = [];
  const quadlets = new Quadlets(search);
  const units = [...byUnit.keys()]
    .sort()
    .map((id) => planUnit(search, quadlets, id, byUnit.get(id) ?? [], mistakes, warnings));
  return {
    units: [...units, ...planBerth(search, reservations, settings)],
    mistakes,
    warnings: warnings.map((each) => ({ ...each, message: `warning: ${each.message}` })),
  };
}

/** berthd itself may write nowhere, which is too little for AF_UNIX sockets in the file system, and for its guards. */
function planBerth(search: UnitSearch, reservations: readonly Reservation[], own: Settings): UnitPlan[] {
  const owners = reservations.filter(({ sockets }) =>
    sockets.some(({ address }) => address.family === 'unix'),
  );
  const places = owners.flatMap(({ sockets }) =>
    sockets.flatMap(({ address }) => (address.family === 'unix' ? [placeOf(address.path)] : [])),
  );
  const settings = [...new Set(places)].sort().map((place) => writable(place));
  if (owners.length > 0) settings.push(...chrootSettings);
  // Of one path in both lists, systemd makes a read-only one: berth.service has /run in this one, and nothing else.
  if (places.includes('/run')) settings.unshift({ section: 'Service', key: 'ReadOnlyPaths', value: '' });
  settings.push(...guardSettings(search, own));
  if (settings.length === 0) return [];
  return [
    {
      unit: 'berth.service',
      reservations: owners.map(({ name }) => name),
      file: { path: `berth.service.d/${dropInName}`, text: dropInText(owners, settings) },
      notes: [],
    },
  ];
}

/** For src/native/addon/paths.c, and to look a path up as a program does. */
const chrootSettings: readonly Setting[] = [
  {
    section: 'Service',
    key: 'CapabilityBoundingSet',
    value: 'CAP_SYS_CHROOT',
    reason: 'A socket that takes the place of another one is made elsewhere by the same name.',
  },
  { section: 'Service', key: 'SystemCallFilter', value: 'chroot' },
];

/** What src/daemon/guards.ts writes. */
function guardSettings(search: UnitSearch, { reserveEphemeral, bindresvportBlacklist }: Settings): Setting[] {
  if (!reserveEphemeral && bindresvportBlacklist === undefined) return [];
  const settings = [writable('/run/berth', 'Where berthd remembers what its guards have changed.')];
  if (reserveEphemeral)
    settings.push(
      writable('/proc/sys/net/ipv4/ip_local_reserved_ports', 'ReserveEphemeral=yes.'),
      // It writes the whole list, and would take out what berthd has put there.
      { section: 'Unit', key: 'After', value: 'systemd-sysctl.service' },
    );
  if (bindresvportBlacklist !== undefined) {
    // The new file is made beside the old one.
    const file = resolvedOrSelf(search, bindresvportBlacklist);
    settings.push(writable(path.dirname(file), 'BindresvportBlacklist=, which is replaced by a new file.'));
  }
  return settings;
}

function writable(place: string, reason?: string): Setting {
  const setting = { section: 'Service', key: 'ReadWritePaths', value: quoteWord(`-${place}`) } as const;
  return reason === undefined ? setting : { ...setting, reason };
}

function resolvedOrSelf(search: UnitSearch, file: string): string {
  try {
    return resolveLinks(search.source, file);
  } catch (error) {
    if (error instanceof ReadError) return file;
    throw error;
  }
}

/** Below /run directories are made as they are needed; elsewhere a path of ReadWritePaths= has to be there before. */
function placeOf(socket: string): string {
  return socket.startsWith('/run/') ? '/run' : path.dirname(socket);
}

/** A word of systemd.syntax(7) that no specifier is expanded in. */
function quoteWord(text: string): string {
  return `"${text.replaceAll(/["\\]/g, '\\$&').replaceAll('%', '%%')}"`;
}

function planUnit(
  search: UnitSearch,
  quadlets: Quadlets,
  id: string,
  reservations: readonly Reservation[],
  mistakes: Mistake[],
  warnings: Mistake[],
): UnitPlan {
  const found = search.find(id);
  const plan = { unit: id, reservations: reservations.map(({ name }) => name), file: undefined };
  if (found.state === 'masked')
    return {
      ...plan,
      notes: [`${id} is masked (${found.file ?? ''}): the sockets are held, and nobody gets them`],
    };
  // Its units are what the sockets are for, and not the manager itself, which a wrapped command would hand them to.
  if (id.startsWith('user@'))
    return {
      ...plan,
      notes: [
        `${id} is a user's own manager, whose units claim ${plan.reservations.join(', ')} by a command of their own`,
      ],
    };
  const made = found.state === 'missing' ? quadlets.read(id) : undefined;
  const unit = made ?? readUnit(search, found);
  const notes: string[] = [];
  const { handed, settings: general } = settingsFor(unit, reservations, mistakes, notes);
  if (general.length === 0) return { ...plan, notes };
  warnings.push(...storeWarnings(unit, handed));
  const settings = [...general, ...daemonSettings(unit, handed, socketUnitOf(search, unit), warnings)];
  const name = chooseName(unit, settings, mistakes, notes);
  const file = { path: `${id}.d/${name}`, text: dropInText(handed, settings) };
  return { ...plan, file, notes };
}

/** A `.socket` unit whose descriptors the unit gets; undefined when there is none. */
function socketUnitOf(search: UnitSearch, unit: Unit): string | undefined {
  const named = words(unit, 'Service', 'Sockets').map(({ text }) => text);
  const own = unit.found.names.map((name) => name.replace(/\.service$/, '.socket'));
  return [...named, ...own].find((name) => search.find(name).state === 'found');
}

/** A name after which no other drop-in changes what berth sets. */
function chooseName(unit: Unit, settings: readonly Setting[], mistakes: Mistake[], notes: string[]): string {
  const keys = new Set(settings.map(({ key }) => key));
  const undoing = unit.files
    .filter(({ file }) => unit.found.dropIns.includes(file))
    .flatMap(({ file, assignments }) => {
      const found = assignments.findLast(
        ({ section, key, value }) => section === 'Service' && keys.has(key) && (!adds(key) || value === ''),
      );
      return found === undefined ? [] : [{ base: path.basename(file), found }];
    });
  const after = (name: string) =>
    undoing.filter(({ base }) => Buffer.compare(Buffer.from(base), Buffer.from(name)) > 0);
  const same = unit.found.dropIns.find((file) => path.basename(file) === dropInName);
  if (same !== undefined) notes.push(`${same} takes the place of what the generator writes`);
  const [first] = after(dropInName);
  if (first === undefined) return dropInName;
  notes.push(`named ${lateDropInName}, because ${first.found.file} sets ${first.found.key}=, too`);
  for (const { found } of after(lateDropInName)) {
    const message = `this comes after ${lateDropInName} and undoes it: give the file a name that comes before`;
    mistakes.push({ file: found.file, line: found.line, key: found.key, message });
  }
  return lateDropInName;
}

/** Keys to which a later assignment adds, unless it is empty. */
function adds(key: string): boolean {
  return [
    'ExecStartPre',
    'ExecStartPost',
    'ExecStopPost',
    'BindReadOnlyPaths',
    'ExecPaths',
    'SystemCallFilter',
    'Environment',
  ].includes(key);
}
