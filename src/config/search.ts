import type { Mistake } from '../model/reservation.js';
import { ReadError, type FileSource } from './source.js';

/** systemd's order: what the administrator writes beats what the machine makes up, and that beats what came along. */
export const defaultDirectories = ['/etc/berth', '/run/berth', '/usr/lib/berth'] as const;

const suffix = '.conf';

/** A file of a reservation, as found. `bytes` is undefined when it cannot be read; a mistake says why. */
export interface FoundFile {
  readonly file: string;
  readonly bytes: Uint8Array | undefined;
}

/** The files of one name: the main one, and the drop-ins in the order in which they count. */
export interface Found {
  readonly name: string;
  readonly main: FoundFile;
  readonly dropIns: readonly FoundFile[];
  readonly mistakes: readonly Mistake[];
}

export interface Search {
  /** By name, without the masked ones, whose first directory has a link to /dev/null or an empty file. */
  readonly found: readonly Found[];
  readonly masked: ReadonlySet<string>;
  /** Directories that cannot be read. */
  readonly mistakes: readonly Mistake[];
}

/** Looks through the directories, of which an earlier one beats a later one file by file (systemd.unit(5)). */
export function search(source: FileSource, directories: readonly string[]): Search {
  const mistakes: Mistake[] = [];
  const places = new Map<string, string>();
  const dropInPlaces = new Map<string, string[]>();
  for (const directory of directories.map(bare)) {
    for (const entry of attempt(() => source.list(directory), directory, mistakes) ?? []) {
      // As in systemd, hidden files are an editor's.
      if (entry.startsWith('.')) continue;
      if (entry.endsWith(suffix)) {
        const name = entry.slice(0, -suffix.length);
        if (name !== '' && !isTemplate(name) && !places.has(name)) places.set(name, directory);
      } else if (entry.endsWith(`${suffix}.d`)) {
        const name = entry.slice(0, -`${suffix}.d`.length);
        dropInPlaces.set(name, [...(dropInPlaces.get(name) ?? []), directory]);
      }
    }
  }
  const masked = new Set<string>();
  const found = [...places.keys()].sort(byBytes).flatMap((name) => {
    const file = `${places.get(name) ?? ''}/${name}${suffix}`;
    const dropIns = [name, ...templateOf(name)].flatMap((each) =>
      (dropInPlaces.get(each) ?? []).map((directory) => `${directory}/${each}${suffix}.d`),
    );
    const files = collect(source, name, file, dropIns);
    if (files === undefined) masked.add(name);
    return files === undefined ? [] : [files];
  });
  return { found, masked, mistakes };
}

/** The files of one reservation whose main file and drop-in directories are known; undefined when it is masked. */
export function collect(
  source: FileSource,
  name: string,
  file: string,
  dropInDirectories: readonly string[],
): Found | undefined {
  const mistakes: Mistake[] = [];
  const main = { file, bytes: readPresent(source, file, mistakes) };
  if (main.bytes?.length === 0) return undefined;
  const places = new Map<string, string>();
  for (const directory of dropInDirectories) {
    for (const entry of attempt(() => source.list(directory), directory, mistakes) ?? []) {
      if (entry.endsWith(suffix) && !entry.startsWith('.') && !places.has(entry))
        places.set(entry, directory);
    }
  }
  const dropIns = [...places.keys()].sort(byBytes).map((entry) => {
    const path = `${places.get(entry) ?? ''}/${entry}`;
    return { file: path, bytes: readPresent(source, path, mistakes) };
  });
  return { name, main, dropIns, mistakes };
}

function readPresent(source: FileSource, file: string, mistakes: Mistake[]): Uint8Array | undefined {
  return attempt(
    () => {
      const bytes = source.read(file);
      if (bytes === undefined) throw new ReadError('there is no such file');
      return bytes;
    },
    file,
    mistakes,
  );
}

/** The first `NAME.conf` on the search path; undefined when there is none, or a mask. */
export function firstFile(
  source: FileSource,
  directories: readonly string[],
  name: string,
  mistakes: Mistake[],
): FoundFile | undefined {
  for (const directory of directories.map(bare)) {
    const file = `${directory}/${name}${suffix}`;
    const before = mistakes.length;
    const bytes = attempt(() => source.read(file), file, mistakes);
    if (mistakes.length > before || bytes?.length === 0) return undefined;
    if (bytes !== undefined) return { file, bytes };
  }
  return undefined;
}

/** Runs what may throw a ReadError, and makes it a mistake at the head of the file. */
function attempt<T>(action: () => T, file: string, mistakes: Mistake[]): T | undefined {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    mistakes.push({ file, line: 1, key: '', message: error.message });
    return undefined;
  }
}

/** `getty@.conf` reserves nothing by itself: `getty@tty1.conf`, mostly a link to it, is an instance, and does. */
function isTemplate(name: string): boolean {
  return name.endsWith('@') && name.length > 1;
}

/** An instance has its template's drop-ins, too. */
function templateOf(name: string): string[] {
  const at = name.indexOf('@');
  return at > 0 ? [name.slice(0, at + 1)] : [];
}

/** strcmp(3)'s order, which does not depend on anybody's language. */
function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function bare(directory: string): string {
  return directory.replace(/(?<=[^/])\/+$/, '');
}
