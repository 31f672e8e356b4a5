import type { Events, Happening } from './events.js';
import type { Table } from './table.js';

/** Tells watchers which sockets are held and which no longer are, from the moment that it is made to tell(). */
export class HeldChanges {
  readonly #table: Table;
  readonly #events: Events;
  readonly #before: ReadonlyMap<number, Happening>;

  constructor(table: Table, events: Events) {
    this.#table = table;
    this.#events = events;
    this.#before = this.#whatIsHeld();
  }

  tell(): void {
    const after = this.#whatIsHeld();
    for (const [inode, happening] of this.#before)
      if (!after.has(inode)) this.#events.emit({ ...happening, event: 'dropped' });
    for (const [inode, happening] of after) if (!this.#before.has(inode)) this.#events.emit(happening);
  }

  /** What is held, by inode, with whom it is for; nothing while nobody watches. */
  #whatIsHeld(): Map<number, Happening> {
    const held = new Map<number, Happening>();
    if (!this.#events.watched) return held;
    for (const { reservation, slots } of this.#table.entries()) {
      for (const { socket } of slots) {
        if (socket === undefined) continue;
        held.set(socket.inode, {
          event: 'held',
          reservation: reservation.name,
          socket: socket.describe(),
          ...(reservation.unit === '' ? {} : { unit: reservation.unit }),
        });
      }
    }
    return held;
  }
}
