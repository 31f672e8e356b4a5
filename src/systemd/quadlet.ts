import { ReadError, type LinkedSource } from '../config/source.js';
import { parseSyntax, type ParsedFile } from '../config/syntax.js';
import { readUnit, Unit } from './unit-file.js';
import { templateOf } from './unit-name.js';
import type { UnitSearch } from './unit-search.js';

/** Where podman-systemd.unit(5) has the files of the system's units, the first that counts in front. */
const directories = ['/run/containers/systemd', '/etc/containers/systemd', '/usr/share/containers/systemd'];
/** The kinds of file that become a service which may take sockets, with the section that is podman's own. */
const kinds = new Map([
  ['container', 'Container'],
  ['kube', 'Kube'],
]);

/**
 * The units that podman's generator makes, by their names, each with the file that it makes it of. What it writes cannot
 * be read: generators run at the same time (systemd.generator(7)).
 */
export class Quadlets {
  #files: Map<string, ParsedFile> | undefined;

  constructor(private readonly search: UnitSearch) {}

  /** A unit as podman will make it, as far as its file tells; undefined when there is no file for it. */
  read(id: string): Unit | undefined {
    // Only who asks for a unit that is in no unit file pays for the look.
    this.#files ??= find(this.search.source);
    const made = this.#files.get(id) ?? this.#files.get(templateOf(id) ?? '');
    if (made === undefined) return undefined;
    const found = this.search.find(id);
    const { files, mistakes } = readUnit(this.search, found);
    return new Unit({ ...found, state: 'generated', file: made.file }, [made, ...files], mistakes);
  }
}

function find(source: LinkedSource): Map<string, ParsedFile> {
  const units = new Map<string, ParsedFile>();
  const seen = new Set<string>();
  for (const directory of directories) {
    for (const entry of [...orNone(() => source.list(directory))].sort()) {
      const [, name = '', kind = ''] = /^([^.].*)\.(\w+)$/.exec(entry) ?? [];
      const section = kinds.get(kind);
      if (section === undefined || seen.has(entry)) continue;
      seen.add(entry);
      const file = `${directory}/${entry}`;
      const bytes = orNone(() => source.read(file) ?? []);
      const parsed = parseSyntax(file, Uint8Array.from(bytes));
      const own = parsed.assignments.findLast(
        (each) => each.section === section && each.key === 'ServiceName',
      );
      units.set(`${own?.value ?? name}.service`, withDefaults(parsed));
    }
  }
  return units;
}

/** podman sets these itself, after what the file's own [Service] section says. One that is oneshot tells nothing. */
function withDefaults(parsed: ParsedFile): ParsedFile {
  const type = parsed.assignments.findLast(({ section, key }) => section === 'Service' && key === 'Type');
  if (type?.value === 'oneshot') return parsed;
  const at = { file: parsed.file, line: 1, section: 'Service' };
  const assignments = [
    ...parsed.assignments,
    { ...at, key: 'Type', value: 'notify' },
    { ...at, key: 'NotifyAccess', value: 'all' },
  ];
  return { ...parsed, assignments };
}

function orNone<T>(action: () => Iterable<T>): Iterable<T> {
  try {
    return action();
  } catch (error) {
    if (error instanceof ReadError) return [];
    throw error;
  }
}
