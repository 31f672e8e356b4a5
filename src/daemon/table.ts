import type { Reservation, SocketSpec } from '../model/reservation.js';
import {
  PackedEntry,
  slotsOf,
  specOf,
  type Entry,
  type SharedSlots,
  type Slot,
  type StandIn,
} from './entry.js';
import { Entries } from './entries.js';
import type { HeldSocket } from './held-socket.js';
import { holdKey } from './hold-request.js';
import type { HoldRequest } from './hold-request.js';
import { holdSlots } from './holding.js';
import { append } from './lists.js';
import { overlaps, placeOf } from './overlap.js';
import { restoreEntries, restoreStandIns } from './restored.js';
import type { Recovered, Stored } from './stored.js';
import { Unread } from './unread.js';
import type { EntryPage } from './vault-entry.js';

export type { Entry, Slot } from './entry.js';

/** Whoever changes FileDescriptorName= more often than that between two starts has to stop the unit once. */
const maxFormerNames = 16;

/**
 * Everything that berthd holds. Sockets are opened and closed here only, and whatever happens, one that is still wanted
 * stays bound.
 */
export class Table {
  #entries = new Entries();
  #released = new Set<Slot>();
  #standIns: readonly StandIn[] = [];

  get(name: string): Entry | undefined {
    return this.#entries.get(name);
  }

  /** All reservations, by name. */
  entries(): IterableIterator<Entry> {
    return this.#entries.all().values();
  }

  /** What came out of the vault as it was there; the sockets are in the entries. */
  get pages(): readonly EntryPage[] {
    return this.#entries.pages;
  }

  /** Read one after the other, and only as far as somebody does. */
  *reservations(): IterableIterator<Reservation> {
    for (const { reservation } of this.entries()) yield reservation;
  }

  /** Those of which anything could be amiss: what is as it came out of the vault is held. */
  *opened(): IterableIterator<Entry> {
    for (const entry of this.#entries.made()) if (entry.packed === undefined) yield entry;
  }

  /** Each socket once. */
  slots(): IterableIterator<Slot> {
    return slotsIn(this.entries());
  }

  get released(): ReadonlySet<Slot> {
    return this.#released;
  }

  /** Sockets that are held for those that cannot be yet, by the reservation that they were of. */
  get standIns(): readonly StandIn[] {
    return this.#standIns;
  }

  /** All that is held and was made for a reservation of this name. */
  socketsOf(name: string): HeldSocket[] {
    const slots = this.get(name)?.slots ?? [];
    const left = this.#standIns.filter(({ reservation }) => reservation.name === name);
    return [...slots.flatMap(({ socket }) => socket ?? []), ...left.map(({ socket }) => socket)];
  }

  /** How many sockets are wanted, how many of them are held, and how many more are released. */
  count(): { wanted: number; held: number; released: number } {
    const unread = this.#entries.unreadSockets;
    const count = { wanted: unread, held: unread, released: 0 };
    const opened: Entry[] = [];
    for (const entry of this.#entries.made()) {
      if (entry.packed === undefined) opened.push(entry);
      else {
        count.wanted += entry.packed.sockets;
        count.held += entry.packed.sockets;
      }
    }
    for (const { socket, released } of slotsIn(opened)) {
      if (released !== undefined) count.released++;
      else {
        count.wanted++;
        if (socket !== undefined) count.held++;
      }
    }
    return count;
  }

  get size(): number {
    return this.#entries.size;
  }

  /**
   * Begins with what an earlier berthd held, and with the reservations of which it had released sockets: the others that
   * they have. Takes the descriptors over.
   */
  restore(
    { stored, pages }: Pick<Recovered, 'stored' | 'pages'>,
    released: readonly Reservation[] = [],
  ): void {
    const unread = new Unread(pages);
    const others = released.flatMap(({ name }) => unread.take(name) ?? []);
    this.#entries = new Entries(restoreEntries([...stored, ...others], released), unread);
    this.#standIns = restoreStandIns(stored);
    this.#findReleased();
  }

  #findReleased(): void {
    this.#released = new Set();
    for (const slot of slotsIn(this.opened())) if (slot.released !== undefined) this.#released.add(slot);
  }

  /** What is held, to be stored. The descriptors stay the table's. */
  stored(): Stored[] {
    const entries = [...this.entries()].map((entry) => {
      if (entry instanceof PackedEntry && entry.packed !== undefined) return entry.packed;
      const { reservation, slots, formerNames } = entry;
      const held = slots.flatMap(({ socket }, index) => {
        return socket === undefined ? [] : [{ spec: specOf(reservation, index, socket.request), socket }];
      });
      return { ...storedOf(reservation, held), ...(formerNames.length === 0 ? {} : { formerNames }) };
    });
    const standIns = this.#standIns.map(({ reservation, socket }) => ({
      ...storedOf(reservation, [{ spec: socket.request.spec, socket }]),
      standsIn: true,
    }));
    return [...entries, ...standIns];
  }

  /** Lets go of sockets until they are taken back. Returns those that were not released yet. */
  release(slots: readonly Slot[]): Slot[] {
    const held = slots.filter(({ released }) => released === undefined);
    for (const slot of held) {
      slot.socket?.letGo();
      delete slot.socket;
      delete slot.error;
      delete slot.holder;
      slot.released = Date.now();
      this.#released.add(slot);
    }
    return held;
  }

  /** Holds released sockets again, at once or with the next try at what cannot be held. */
  takeBack(slots: readonly Slot[]): void {
    for (const slot of slots) {
      delete slot.released;
      this.#released.delete(slot);
    }
    this.hold(slots);
  }

  /**
   * Makes these the reservations that are held, and those named in `keep` besides, as they are now. Sockets that are
   * still wanted, under whatever name, stay the same kernel sockets; new ones are bound before others are let go, and one
   * that overlaps with a socket that cannot be bound stands in for it. What is released stays so. `inUse` tells of a name
   * whether a claimant has its sockets.
   */
  apply(
    reservations: readonly Reservation[],
    keep: ReadonlySet<string>,
    inUse: (name: string) => boolean,
  ): void {
    const known = new Set(reservations.map(({ name }) => name));
    const kept = [...this.entries()]
      .map((entry) => entry.reservation)
      .filter(({ name }) => keep.has(name) && !known.has(name));
    // With ReusePort= there can be several of one key.
    const pool = new Map<string, StandIn[]>();
    for (const held of this.#held()) append(pool, holdKey(held.socket.request), held);

    const released = new Map([...this.#released].map((slot) => [holdKey(slot.request), slot.released]));

    const wanted = [...reservations, ...kept].sort(byName);
    const namesOf = this.#namesBefore(wanted);
    const shared: SharedSlots = new Map();
    const next = new Map(
      wanted.map((reservation) => {
        const formerNames = namesOf.get(reservation.unit) ?? [];
        const slots = slotsOf(reservation, shared, (request): Slot => {
          const since = released.get(holdKey(request));
          if (since !== undefined) return { request, released: since };
          const socket = pool.get(holdKey(request))?.shift()?.socket;
          if (socket === undefined) return { request };
          socket.update(request, inUse(reservation.name));
          return { request, socket };
        });
        return [reservation.name, { reservation, slots, changed: Date.now(), formerNames }];
      }),
    );
    const before = this.#entries.all();
    this.#entries = new Entries(next);
    this.#findReleased();
    this.#standIns = [...pool.values()].flat();
    this.hold();
    for (const [name, entry] of next) {
      const old = before.get(name);
      if (old !== undefined && sameSockets(old, entry)) next.set(name, { ...entry, changed: old.changed });
    }
  }

  /** Those of the entries first: where a stand-in has the same key, what is wanted keeps its own socket. */
  *#held(): IterableIterator<StandIn> {
    const shared = new Set<HeldSocket>();
    for (const { reservation, slots } of this.entries()) {
      for (const { socket } of slots) {
        if (socket === undefined || shared.has(socket)) continue;
        if (reservation.legacy === true) shared.add(socket);
        yield { reservation, socket };
      }
    }
    yield* this.#standIns;
  }

  /** The names, by unit, under which sockets may have been stored and that are of none of these reservations. */
  #namesBefore(wanted: readonly Reservation[]): Map<string, string[]> {
    const current = new Set(wanted.map(({ unit, fdName }) => `${unit} ${fdName}`));
    const found = new Map<string, Set<string>>();
    for (const { reservation, formerNames } of this.entries()) {
      const { unit, handoff, fdName } = reservation;
      for (const name of handoff === 'store' ? [...formerNames, fdName] : formerNames) {
        if (current.has(`${unit} ${name}`)) continue;
        const names = found.get(unit) ?? new Set();
        found.set(unit, names.add(name));
      }
    }
    return new Map([...found].map(([unit, names]) => [unit, [...names].slice(-maxFormerNames)]));
  }

  /**
   * Tries to hold what is not held yet: all, or one reservation's. A new socket may be bound beside stand-ins, which go
   * when nothing is left that they stand in for. What cannot be held has its error afterwards.
   */
  hold(slots: Iterable<Slot> = slotsIn(this.opened())): void {
    holdSlots(slots, this.#standIns, () => this.entries());
    this.#dismiss();
  }

  /** Lets go of the stand-ins that overlap with nothing that is still to be held. */
  #dismiss(): void {
    if (this.#standIns.length === 0) return;
    const missing = new Map<string, HoldRequest[]>();
    const paths = new Set<string>();
    for (const { request, socket, released } of slotsIn(this.opened())) {
      if (released !== undefined) continue;
      if (socket === undefined) append(missing, placeOf(request), request);
      else if (request.spec.address.family === 'unix') paths.add(request.spec.address.path);
    }
    this.#standIns = this.#standIns.filter(({ socket }) => {
      const { request } = socket;
      if (missing.get(placeOf(request))?.some((other) => overlaps(request, other)) === true) return true;
      const { address } = request.spec;
      socket.close(address.family === 'unix' && paths.has(address.path));
      return false;
    });
  }
}

/** Each once: reservations of portreserve's files may have one in common. */
function slotsIn(entries: Iterable<Entry>): IterableIterator<Slot> {
  const all = new Set<Slot>();
  for (const { slots } of entries) for (const slot of slots) all.add(slot);
  return all.values();
}

function byName(a: Reservation, b: Reservation): number {
  return a.name < b.name ? -1 : 1;
}

function storedOf(
  reservation: Reservation,
  held: readonly { readonly spec: SocketSpec; readonly socket: HeldSocket }[],
): Stored {
  return {
    reservation: { ...reservation, sockets: held.map(({ spec }) => spec) },
    fds: held.map(({ socket }) => socket.fd),
    guards: held.map(({ socket }) => socket.guard),
    rears: held.map(({ socket }) => socket.yielding.keep),
  };
}

function sameSockets(a: Entry, b: Entry): boolean {
  return (
    a.slots.length === b.slots.length &&
    a.slots.every((slot, index) => slot.socket === b.slots[index]?.socket)
  );
}
