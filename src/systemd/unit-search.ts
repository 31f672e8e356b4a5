import * as path from 'node:path';
import { resolveLinks } from '../config/disk.js';
import { ReadError, type LinkedSource } from '../config/source.js';
import { dropInDirectories, formatUnitName, parseUnitName, templateOf } from './unit-name.js';

/**
 * The search path of systemd.unit(5) without the places that are made up at run time: the generators' directories,
 * which hold berth's own output and are being written at this very moment, and /run/systemd/transient. So a unit that
 * another generator makes (of a SysV script) is not found, and is treated like one that is not installed yet.
 */
export const unitDirectories = [
  '/etc/systemd/system.control',
  '/run/systemd/system.control',
  '/etc/systemd/system',
  '/etc/systemd/system.attached',
  '/run/systemd/system',
  '/run/systemd/system.attached',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
] as const;

/** Where generators put what they write. Each daemon-reload makes it anew. */
export const generatorDirectory = '/run/systemd/generator';

/** The types whose files are looked at; units of all others have no sockets to hand over. */
const types = ['service', 'socket'];
/** systemd's FOLLOW_MAX. */
const aliasLimit = 8;

export interface FoundUnit {
  /** `generated`: another generator makes it, of `file` (quadlet.ts), and no unit file has it. */
  readonly state: 'found' | 'generated' | 'masked' | 'missing';
  /** The name that systemd calls it by, whichever of its names was asked for. */
  readonly id: string;
  /** All of its names, `id` first. */
  readonly names: readonly string[];
  /** Its main file; undefined when it is missing. */
  readonly file: string | undefined;
  /** The drop-ins in the order in which they count. */
  readonly dropIns: readonly string[];
}

/** Finds units by the rules of systemd.unit(5). Reads the directories once, when it is made. */
export class UnitSearch {
  readonly source: LinkedSource;
  readonly directories: readonly string[];
  /** A unit file's name → its path, or the unit that it is an alias of. */
  readonly #files = new Map<string, { readonly path: string } | { readonly alias: string }>();
  /** A drop-in directory's name → its places, in the order of the search path. */
  readonly #dropIns = new Map<string, string[]>();
  /** Directories of links by which units are enabled. */
  readonly #wants: string[] = [];
  /** Among thousands of unit files there are few, and each unit is asked for its own. */
  #aliases: { readonly name: string; readonly target: string | undefined }[] | undefined;

  /** Directories that cannot be read count as empty, as for systemd. */
  constructor(source: LinkedSource, directories: readonly string[] = unitDirectories) {
    this.source = source;
    const real = new Map<string, string>();
    for (const directory of directories) {
      const resolved = orUndefined(() => resolveLinks(source, directory)) ?? directory;
      // On a merged /usr, /lib/systemd/system is /usr/lib/systemd/system again.
      if (![...real.values()].includes(resolved)) real.set(directory, resolved);
    }
    this.directories = [...real.keys()];
    const places = new Set(real.values());
    for (const directory of this.directories) {
      for (const entry of orUndefined(() => source.list(directory)) ?? [])
        this.#add(directory, entry, places);
    }
  }

  #add(directory: string, entry: string, places: ReadonlySet<string>): void {
    if (entry.endsWith('.d')) {
      const known = this.#dropIns.get(entry);
      if (known === undefined) this.#dropIns.set(entry, [directory]);
      else known.push(directory);
      return;
    }
    if (/\.(wants|requires|upholds)$/.test(entry)) {
      this.#wants.push(`${directory}/${entry}`);
      return;
    }
    const name = parseUnitName(entry);
    if (name === undefined || !types.includes(name.type) || this.#files.has(entry)) return;
    const file = `${directory}/${entry}`;
    const target = orUndefined(() => this.source.link(file));
    if (target === undefined) {
      this.#files.set(entry, { path: file });
      return;
    }
    const absolute = path.posix.resolve(directory, target);
    const outside = !places.has(orUndefined(() => resolveLinks(this.source, path.dirname(absolute))) ?? '');
    // A link out of the search path is a unit file that lives elsewhere, or a mask.
    const alias = outside ? entry : aliasTarget(entry, path.basename(absolute));
    if (alias === entry) this.#files.set(entry, { path: file });
    else if (alias !== undefined) this.#files.set(entry, { alias });
  }

  /** The names of all unit files, aliases among them. */
  names(): string[] {
    return [...this.#files.keys()];
  }

  /** The path of a unit's main file when that name is not an alias; undefined for all others. */
  fileOf(name: string): string | undefined {
    const entry = this.#files.get(name);
    return entry !== undefined && 'path' in entry ? entry.path : undefined;
  }

  /** The instances of a template that are known: by a file or drop-ins of their own, or because they are enabled. */
  instancesOf(template: string): string[] {
    const dropIns = [...this.#dropIns.keys()].map((directory) => directory.slice(0, -'.d'.length));
    const enabled = this.#wants.flatMap((directory) => orUndefined(() => this.source.list(directory)) ?? []);
    const ids = [...this.#files.keys(), ...dropIns, ...enabled]
      .filter((name) => templateOf(name) !== undefined)
      .map((name) => this.idOf(name))
      .filter((id) => templateOf(id) === template);
    return [...new Set(ids)];
  }

  /** Every drop-in file of every unit, under the name of its directory. */
  *allDropIns(): Generator<{ directory: string; file: string }> {
    for (const [name, places] of this.#dropIns) {
      if (!types.some((type) => name.endsWith(`${type}.d`))) continue;
      for (const place of places) {
        for (const file of this.#configurationFiles(`${place}/${name}`)) yield { directory: name, file };
      }
    }
  }

  /** The name that systemd calls a unit by; the name itself when there is no such unit. */
  idOf(name: string): string {
    return this.#follow(name)?.id ?? name;
  }

  find(name: string): FoundUnit {
    const found = this.#follow(name);
    if (found === undefined)
      return { state: 'missing', id: name, names: [name], file: undefined, dropIns: this.#collect([name]) };
    const { id } = found;
    const names = [...new Set([id, ...this.#aliasesOf(id), name])];
    // What cannot be read now is not masked; whoever reads it says so.
    const masked = orUndefined(() => this.source.read(found.path))?.length === 0;
    return { state: masked ? 'masked' : 'found', id, names, file: found.path, dropIns: this.#collect(names) };
  }

  /** Through aliases to a file, which for an instance may be its template's. */
  #follow(name: string): { id: string; path: string } | undefined {
    for (let id = name, links = 0; links <= aliasLimit; links++) {
      const entry = this.#files.get(id) ?? this.#files.get(templateOf(id) ?? '');
      if (entry === undefined) return undefined;
      if ('path' in entry) return { id, path: entry.path };
      id = this.#files.has(id) ? entry.alias : instantiate(entry.alias, parseUnitName(id)?.instance);
    }
    return undefined;
  }

  #aliasesOf(id: string): string[] {
    const instance = parseUnitName(id)?.instance;
    const template = templateOf(id);
    this.#aliases ??= [...this.#files].flatMap(([name, entry]) =>
      'alias' in entry ? { name, target: this.#follow(name)?.id } : [],
    );
    return this.#aliases.flatMap(({ name, target }) => {
      if (target === id) return [name];
      return template !== undefined && target === template ? [instantiate(name, instance)] : [];
    });
  }

  /** As systemd: of two drop-ins with one file name the one in the earlier directory counts, in byte order of names. */
  #collect(names: readonly string[]): string[] {
    const type = parseUnitName(names[0] ?? '')?.type ?? '';
    const chosen = new Map<string, string>();
    for (const group of [...names.map(dropInDirectories), [`${type}.d`]]) {
      for (const place of this.directories) {
        for (const directory of group) {
          if (!(this.#dropIns.get(directory) ?? []).includes(place)) continue;
          for (const file of this.#configurationFiles(`${place}/${directory}`)) {
            const base = path.basename(file);
            if (!chosen.has(base)) chosen.set(base, file);
          }
        }
      }
    }
    return [...chosen]
      .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      .map(([, file]) => file);
  }

  #configurationFiles(directory: string): string[] {
    return (orUndefined(() => this.source.list(directory)) ?? [])
      .filter((entry) => entry.endsWith('.conf') && !entry.startsWith('.'))
      .map((entry) => `${directory}/${entry}`);
  }
}

/** What a link of that name in the search path makes it an alias of; undefined when systemd refuses it. */
function aliasTarget(name: string, target: string): string | undefined {
  const from = parseUnitName(name);
  const to = parseUnitName(target);
  if (from === undefined || to?.type !== from.type) return undefined;
  if ((from.instance === undefined) !== (to.instance === undefined)) return undefined;
  if (from.instance === to.instance) return target;
  // An instance that links to a template means the instance of that template.
  return to.instance === '' ? instantiate(target, from.instance) : undefined;
}

function instantiate(name: string, instance: string | undefined): string {
  const parts = parseUnitName(name);
  return parts?.instance === undefined ? name : formatUnitName({ ...parts, instance });
}

function orUndefined<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (error instanceof ReadError) return undefined;
    throw error;
  }
}
