import { PackedReservation, type EntryPage } from './vault-entry.js';

/**
 * What the vault had of plain reservations, until somebody asks for them: of thousands, a start of berthd needs few, and
 * knows of the others how many there are.
 */
export class Unread {
  readonly pages: readonly EntryPage[];
  readonly #taken = new Set<string>();
  /** How many reservations and sockets have not been taken. */
  size = 0;
  sockets = 0;

  constructor(pages: readonly EntryPage[]) {
    this.pages = pages;
    for (const { header } of pages) {
      this.size += header.entries;
      this.sockets += header.sockets;
    }
  }

  /** Each once. */
  take(name: string): PackedReservation | undefined {
    if (this.#taken.has(name)) return undefined;
    for (const page of this.pages) {
      const index = page.find(name);
      if (index !== undefined) return this.#take(new PackedReservation(page, index));
    }
    return undefined;
  }

  takeAll(): PackedReservation[] {
    return this.pages
      .flatMap((page) => page.columns.names.map((_, index) => new PackedReservation(page, index)))
      .filter(({ name }) => !this.#taken.has(name))
      .map((packed) => this.#take(packed));
  }

  #take(packed: PackedReservation): PackedReservation {
    this.#taken.add(packed.name);
    this.size--;
    this.sockets -= packed.sockets;
    return packed;
  }
}
