import { diskBelow } from '../config/disk.js';
import { portreserveDirectory } from '../config/portreserve.js';
import { defaultDirectories } from '../config/search.js';
import { parseServices } from '../config/services.js';
import { ReadError } from '../config/source.js';
import { formatMistake } from '../model/reservation.js';
import { UnitSearch } from '../systemd/unit-search.js';
import { recording, type Inputs } from './inputs.js';
import { manifest } from './manifest.js';
import { makePlan, type Plan } from './plan.js';
import { loadReservations, type AllReservations } from './reservations.js';
import { stamps } from './stamps.js';

export interface Generated {
  readonly configuration: AllReservations;
  readonly plan: Plan;
  readonly inputs: Inputs;
  /** When the first input was read, in milliseconds. */
  readonly since: number;
}

/** Reads the configuration and the units below `root` ('' for the machine itself) and plans the drop-ins. */
export function generate(configDirectories: readonly string[], root = ''): Generated {
  const since = Date.now();
  const { source, inputs } = recording(diskBelow(root));
  const search = new UnitSearch(source);
  // portreserve's files are the machine's, as unit files are, and not of a directory that is looked at by itself.
  const portreserve = configDirectories === defaultDirectories ? portreserveDirectory : undefined;
  const services = parseServices(servicesText());
  const configuration = loadReservations(search, configDirectories, services, portreserve);
  return {
    configuration,
    plan: makePlan(search, configuration.reservations, configuration.settings),
    inputs,
    since,
  };

  function servicesText(): string {
    try {
      return Buffer.from(source.read('/etc/services') ?? []).toString('utf8');
    } catch (error) {
      if (error instanceof ReadError) return '';
      throw error;
    }
  }
}

/** Everything that is wrong, one a line: in the reservations, and in what they want of their units. */
export function complaints({ configuration, plan }: Generated): string[] {
  return [...configuration.mistakes, ...plan.mistakes, ...plan.warnings].map(formatMistake);
}

/** The manifest for the guard. `programs` are files without which its drop-ins would be of no use. */
export function makeManifest(
  generated: Generated,
  version: string,
  programs: readonly string[],
  root = '',
): string {
  const { directories, files } = generated.inputs;
  const inputs = { directories, files: new Set([...files, ...programs]) };
  return manifest(version, stamps(inputs, root, generated.since), generated.plan, complaints(generated));
}
