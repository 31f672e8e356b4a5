import type { Mistake, Reservation } from '../model/reservation.js';
import { sharedSockets } from '../config/conflicts.js';
import { loadConfiguration, type Configuration } from '../config/load.js';
import type { Services } from '../config/services.js';
import type { UnitSearch } from '../systemd/unit-search.js';
import { reservationsInUnits, type UnitReservations } from './unit-reservations.js';

export interface AllReservations extends Configuration {
  /** What is worth a line in the log once, and no mistake: of units, what a file of berth's replaces, and templates without instance. */
  readonly notes: readonly Mistake[];
}

/** Everything that is reserved: in berth's own files, portreserve's and unit files. Never throws for what stands in them. */
export function loadReservations(
  search: UnitSearch,
  directories: readonly string[],
  services: Services,
  portreserve?: string,
): AllReservations {
  const configuration = loadConfiguration(search.source, directories, services, portreserve);
  const all = addUnits(configuration, reservationsInUnits(search, services));
  // An alias would never be what a claimant's cgroup says.
  return {
    ...all,
    reservations: all.reservations.map((each) => ({ ...each, unit: search.idOf(each.unit) })),
  };
}

/** Of one name, the file of berth's counts and not the unit: it is where an administrator overrides a package. */
export function addUnits(configuration: Configuration, inUnits: UnitReservations): AllReservations {
  const notes: Mistake[] = [...inUnits.notes];
  const own = new Map(configuration.reservations.map((each) => [each.name, each.at.file]));
  for (const name of configuration.broken) if (!own.has(name)) own.set(name, `${name}.conf`);
  const kept = inUnits.reservations.filter(({ name, at }) => {
    const file = own.get(name) ?? (configuration.masked.has(name) ? `the mask ${name}.conf` : undefined);
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
