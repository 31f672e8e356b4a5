import type { Mistake } from '../model/reservation.js';
import { ReadError } from '../config/source.js';
import { parseSyntax, type Assignment, type ParsedFile } from '../config/syntax.js';
import type { FoundUnit, UnitSearch } from './unit-search.js';

/** What a unit's main file and its drop-ins say, in the order in which it counts. */
export class Unit {
  readonly #byKey = new Map<string, Assignment[]>();

  constructor(
    readonly found: FoundUnit,
    readonly files: readonly ParsedFile[],
    /** Lines that say nothing, and files that cannot be read. systemd complains of them itself. */
    readonly mistakes: readonly Mistake[],
  ) {
    for (const { assignments } of files) {
      for (const assignment of assignments) {
        const key = `${assignment.section}\0${assignment.key}`;
        const list = this.#byKey.get(key);
        if (list === undefined) this.#byKey.set(key, [assignment]);
        else list.push(assignment);
      }
    }
  }

  /** Every assignment of a key, the empty ones among them. */
  assignments(section: string, key: string): readonly Assignment[] {
    return this.#byKey.get(`${section}\0${key}`) ?? [];
  }

  /** The last assignment of a key of which one counts; undefined when there is none or it is empty. */
  last(section: string, key: string): Assignment | undefined {
    const last = this.assignments(section, key).at(-1);
    return last?.value === '' ? undefined : last;
  }

  /** The assignments of a key that adds up: those since the last empty one. */
  list(section: string, key: string): readonly Assignment[] {
    const all = this.assignments(section, key);
    return all.slice(all.findLastIndex(({ value }) => value === '') + 1);
  }

  /** Whether the last assignment of a boolean says yes. What is neither yes nor no does not count, as for systemd. */
  isOn(section: string, key: string): boolean {
    const values = this.assignments(section, key).map(({ value }) => value.toLowerCase());
    const last = values.findLast((value) => /^(1|y|yes|t|true|on|0|n|no|f|false|off)$/.test(value)) ?? 'no';
    return /^(1|y|yes|t|true|on)$/.test(last);
  }
}

/** Reads a unit. Never throws for what stands in the files, or cannot be read. */
export function readUnit(search: UnitSearch, found: FoundUnit): Unit {
  const mistakes: Mistake[] = [];
  const files: ParsedFile[] = [];
  for (const file of [...(found.file === undefined ? [] : [found.file]), ...found.dropIns]) {
    try {
      const parsed = parseSyntax(file, search.source.read(file) ?? new Uint8Array());
      files.push(parsed);
      mistakes.push(...parsed.mistakes);
    } catch (error) {
      if (!(error instanceof ReadError)) throw error;
      mistakes.push({ file, line: 1, key: '', message: error.message });
    }
  }
  return new Unit(found, files, mistakes);
}
