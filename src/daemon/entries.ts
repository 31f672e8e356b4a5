import { PackedEntry, type Entry } from './entry.js';
import type { Unread } from './unread.js';
import type { EntryPage } from './vault-entry.js';

/** All reservations. Of what is in the vault an entry is made when somebody asks for it. */
export class Entries {
  /** What came out of the vault as it was there; its sockets are in the entries. */
  readonly pages: readonly EntryPage[];
  #made: Map<string, Entry>;
  /** Undefined once all have been made: then they are in the order of their names. */
  #unread: Unread | undefined;
  readonly #since = Date.now();

  /** `made` are in the order of their names. */
  constructor(made = new Map<string, Entry>(), unread?: Unread) {
    this.pages = unread?.pages ?? [];
    this.#made = made;
    this.#unread = unread;
  }

  get size(): number {
    return this.#made.size + (this.#unread?.size ?? 0);
  }

  /** How many sockets have those that nobody has asked for: all of them are held. */
  get unreadSockets(): number {
    return this.#unread?.sockets ?? 0;
  }

  get(name: string): Entry | undefined {
    const known = this.#made.get(name);
    if (known !== undefined) return known;
    const packed = this.#unread?.take(name);
    if (packed === undefined) return undefined;
    const entry = new PackedEntry(packed, this.#since);
    this.#made.set(name, entry);
    return entry;
  }

  /** Those that have been asked for, and those that never were packed, in any order. */
  made(): IterableIterator<Entry> {
    return this.#made.values();
  }

  /** By name. */
  all(): ReadonlyMap<string, Entry> {
    if (this.#unread !== undefined) {
      const others = this.#unread.takeAll().map((packed) => {
        return [packed.name, new PackedEntry(packed, this.#since)] as const;
      });
      this.#made = new Map([...this.#made, ...others].sort(([a], [b]) => (a < b ? -1 : 1)));
      this.#unread = undefined;
    }
    return this.#made;
  }
}
