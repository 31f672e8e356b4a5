import * as path from 'node:path';
import type { Mistake, Reservation } from '../model/reservation.js';
import { sharedSockets } from './conflicts.js';
import { settingsName } from './names.js';
import { isPortreserveFile, loadPortreserve, loadPortreserveFiles, type LegacyFiles } from './portreserve.js';
import { buildReservation } from './reservation.js';
import { collect, firstFile, search, type Found, type FoundFile } from './search.js';
import type { Services } from './services.js';
import { defaultSettings, parseSettings, type Settings } from './settings.js';
import type { FileSource } from './source.js';
import { parseSyntax } from './syntax.js';

export interface Configuration {
  /** What can be held, by name. Nothing that has a mistake in any of its files. */
  readonly reservations: readonly Reservation[];
  /** Every mistake in every file, the reservations' in the order of their names. */
  readonly mistakes: readonly Mistake[];
  /** The names of the reservations that are configured but not among `reservations`, for their mistakes. */
  readonly broken: readonly string[];
  /** The names that a mask takes away. */
  readonly masked: ReadonlySet<string>;
  /** False when a directory could not be read: then what else is configured is not known. */
  readonly complete: boolean;
  readonly settings: Settings;
}

/**
 * Reads everything on a search path (see search.ts), and in a directory of portreserve's files, of which those count
 * whose name has no file of berth's own. Never throws for what stands in the files, or cannot be read.
 */
export function loadConfiguration(
  source: FileSource,
  directories: readonly string[],
  services: Services,
  portreserve?: string,
): Configuration {
  const { found, masked, mistakes } = search(source, directories);
  const all = [...mistakes];
  const settingsFile = firstFile(source, directories, settingsName, all);
  const settings = readSettings(settingsFile, all);
  const files = found.filter(({ name }) => name !== settingsName);
  const own = new Set([...masked, ...found.map(({ name }) => name)]);
  const legacy =
    portreserve === undefined
      ? noLegacy
      : loadPortreserve(source, portreserve, services, (name) => own.has(name));
  const complete = mistakes.length === 0 && legacy.complete;
  return { ...assemble(files, services, all, legacy), masked, complete, settings };
}

/**
 * Reads single files, as `berth check FILE…` does: each with the drop-ins in the `NAME.conf.d` beside it, and without
 * a search path. A file named berthd.conf is read as settings, and one in a directory named portreserve as portreserve's.
 */
export function loadFiles(source: FileSource, files: readonly string[], services: Services): Configuration {
  const mistakes: Mistake[] = [];
  const found: Found[] = [];
  let settings = defaultSettings;
  const legacy = loadPortreserveFiles(source, [...new Set(files)].filter(isPortreserveFile), services);
  for (const file of new Set(files)) {
    if (isPortreserveFile(file)) continue;
    const name = path.basename(file).replace(/\.conf$/, '');
    if (!file.endsWith('.conf')) {
      mistakes.push({ file, line: 1, key: '', message: "the file's name does not end in .conf" });
      continue;
    }
    const isSettings = name === settingsName;
    const files = collect(source, name, file, isSettings ? [] : [`${file}.d`]);
    if (files === undefined) continue;
    if (!isSettings) found.push(files);
    else {
      mistakes.push(...files.mistakes);
      settings = readSettings(files.main, mistakes);
    }
  }
  return { ...assemble(found, services, mistakes, legacy), masked: new Set(), complete: true, settings };
}

const noLegacy: LegacyFiles = { reservations: [], mistakes: [], broken: [], complete: true };

function readSettings(file: FoundFile | undefined, mistakes: Mistake[]): Settings {
  if (file?.bytes === undefined) return defaultSettings;
  const parsed = parseSettings(file.file, file.bytes);
  mistakes.push(...parsed.mistakes);
  return parsed.settings;
}

function assemble(
  found: readonly Found[],
  services: Services,
  before: readonly Mistake[],
  legacy: LegacyFiles = noLegacy,
): Omit<Configuration, 'settings' | 'masked' | 'complete'> {
  const mistakes = [...before];
  const broken = new Set<string>();
  const built: Reservation[] = [];
  for (const files of found) {
    const made = build(files, services);
    for (const mistake of made.mistakes) mistakes.push(mistake);
    if (made.reservation === undefined) broken.add(files.name);
    else built.push(made.reservation);
  }
  mistakes.push(...legacy.mistakes);
  for (const name of legacy.broken) broken.add(name);
  built.push(...legacy.reservations);
  for (const { name, mistake } of sharedSockets(built)) {
    mistakes.push(mistake);
    broken.add(name);
  }
  return { reservations: built.filter(({ name }) => !broken.has(name)), mistakes, broken: [...broken] };
}

function build(
  files: Found,
  services: Services,
): { reservation?: Reservation; mistakes: readonly Mistake[] } {
  const parsed = [files.main, ...files.dropIns].flatMap(({ file, bytes }) =>
    bytes === undefined ? [] : [parseSyntax(file, bytes)],
  );
  // What a file says that cannot be read is not known, so nothing more can be said about the whole.
  if (files.main.bytes === undefined) return { mistakes: files.mistakes };
  const { reservation, mistakes } = buildReservation(
    files.name,
    { file: files.main.file, line: 1 },
    parsed,
    services,
  );
  if (files.mistakes.length > 0 || reservation === undefined)
    return { mistakes: [...files.mistakes, ...mistakes] };
  return { reservation, mistakes };
}
