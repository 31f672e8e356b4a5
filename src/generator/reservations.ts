import type { Mistake, Reservation } from '../model/reservation.js';
import { sharedSockets } from '../config/conflicts.js';
import { loadConfiguration, type Configuration } from '../config/load.js';
import type { Services } from '../config/services.js';
import { ReadError } from '../config/source.js';
import type { UnitSearch } from '../systemd/unit-search.js';
import { reservationsInUnits, type UnitReservations } from './unit-reservations.js';

export interface AllReservations extends Configuration {
  /** What is worth a line in the log once, and no mistake: reservations of units that a file of berth's replaces. */
  readonly notes: readonly Mistake[];
}

/** Everything that is reserved: in berth's own files and in unit files. Never throws for what stands in them. */
export function loadReservations(
  search: UnitSearch,
  directories: readonly string[],
  services: Services,
): AllReservations {
  const configuration = loadConfiguration(search.source, directories, services);
  const inUnits = reservationsInUnits(search, services);
  const all = addUnits(configuration, inUnits, (name) => isMasked(search, directories, name));
  // An alias would never be what a claimant's cgroup says.
  return {
    ...all,
    reservations: all.reservations.map((each) => ({ ...each, unit: search.idOf(each.unit) })),
  };
}

/** Of one name, the file of berth's counts and not the unit: it is where an administrator overrides a package. */
export function addUnits(
  configuration: Configuration,
  inUnits: UnitReservations,
  isMasked: (name: string) => boolean,
): AllReservations {
  const notes: Mistake[] = [];
  const own = new Map(configuration.reservations.map((each) => [each.name, each.at.file]));
  for (const name of configuration.broken) if (!own.has(name)) own.set(name, `${name}.conf`);
  const kept = inUnits.reservations.filter(({ name, at }) => {
    const file = own.get(name) ?? (isMasked(name) ? `the mask ${name}.conf` : undefined);
    if (file !== undefined)
      notes.push({
        ...at,
        key: '',
        message: `what is reserved here as '${name}' does not count: ${file} does`,
      });
    return file === undefined;
  });
  const all: Reservation[] = [...configuration.reservations, ...kept];
  const broken = new Set([...configuration.broken, ...inUnits.broken.filter((name) => !own.has(name))]);
  const mistakes = [...configuration.mistakes, ...inUnits.mistakes];
  for (const { name, mistake } of sharedSockets(all)) {
    broken.add(name);
    mistakes.push(mistake);
  }
  return {
    ...configuration,
    reservations: all.filter(({ name }) => !broken.has(name)),
    mistakes,
    broken: [...broken],
    notes,
  };
}

/** Whether a link to /dev/null or an empty file stands for that name in the first directory that has one. */
function isMasked({ source }: UnitSearch, directories: readonly string[], name: string): boolean {
  for (const directory of directories) {
    try {
      const bytes = source.read(`${directory}/${name}.conf`);
      if (bytes !== undefined) return bytes.length === 0;
    } catch (error) {
      // loadConfiguration has said why it cannot be read.
      if (error instanceof ReadError) return false;
      throw error;
    }
  }
  return false;
}
