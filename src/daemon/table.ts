import { closeSync } from 'node:fs';
import { isSystemError } from '../model/errors.js';
import type { Reservation } from '../model/reservation.js';
import { findHolder } from './holder.js';
import { HeldSocket } from './held-socket.js';
import { holdError, holdKey, holdRequests } from './hold-request.js';
import type { HoldRequest } from './hold-request.js';
import type { Stored } from './vault.js';

/**
 * One socket of a reservation: held, released (since when), or the reason why it is neither and who is in the way.
 * Reservations of portreserve's files that name one port have one slot.
 */
export interface Slot {
  readonly request: HoldRequest;
  socket?: HeldSocket;
  error?: string;
  errno?: string;
  holder?: number;
  released?: number;
}

/** A reservation with its sockets, in the order of its file. `changed` is when it last was held whole, or last failed. */
export interface Entry {
  readonly reservation: Reservation;
  readonly slots: readonly Slot[];
  readonly changed: number;
}

/** Looking through /proc for a holder is slow, and a hundred such messages help nobody more than a few do. */
const maxDiagnoses = 20;

/**
 * Everything that berthd holds. Sockets are opened and closed here only, and whatever happens, one that is still wanted
 * stays bound.
 */
export class Table {
  #entries = new Map<string, Entry>();
  #released = new Set<Slot>();

  get(name: string): Entry | undefined {
    return this.#entries.get(name);
  }

  /** All reservations, by name. */
  entries(): IterableIterator<Entry> {
    return this.#entries.values();
  }

  /** Each socket once. */
  slots(): IterableIterator<Slot> {
    const all = new Set<Slot>();
    for (const { slots } of this.#entries.values()) for (const slot of slots) all.add(slot);
    return all.values();
  }

  get released(): ReadonlySet<Slot> {
    return this.#released;
  }

  /** How many sockets are wanted, how many of them are held, and how many more are released. */
  count(): { wanted: number; held: number; released: number } {
    const count = { wanted: 0, held: 0, released: 0 };
    for (const { socket, released } of this.slots()) {
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
  restore(stored: readonly Stored[], released: readonly Reservation[] = []): void {
    const changed = Date.now();
    const shared: Shared = new Map();
    const wholes = new Map(released.map((reservation) => [reservation.name, reservation]));
    const parts = [...stored, ...released.map((reservation) => ({ reservation, fds: [] }))];
    for (const { reservation: part, fds } of parts.sort((a, b) => byName(a.reservation, b.reservation))) {
      if (this.#entries.has(part.name)) continue;
      const reservation = wholes.get(part.name) ?? part;
      const held = new Map<string, number[]>();
      for (const [index, request] of holdRequests(part).entries()) {
        const fd = fds[index];
        if (fd !== undefined) held.set(holdKey(request), [...(held.get(holdKey(request)) ?? []), fd]);
      }
      const slots = slotsOf(reservation, shared, (request): Slot => {
        const fd = held.get(holdKey(request))?.shift();
        if (fd !== undefined) return { request, socket: HeldSocket.adopt(request, fd) };
        return wholes.has(part.name) ? { request, released: changed } : { request };
      });
      // Of a shared socket there is a descriptor for each reservation that has it.
      for (const fd of [...held.values()].flat()) closeSync(fd);
      this.#entries.set(reservation.name, { reservation, slots, changed });
    }
    this.#findReleased();
  }

  #findReleased(): void {
    this.#released = new Set();
    for (const slot of this.slots()) if (slot.released !== undefined) this.#released.add(slot);
  }

  /** What is held, to be stored. The descriptors stay the table's. */
  stored(): Stored[] {
    return [...this.#entries.values()].map(({ reservation, slots }) => {
      const held = slots.flatMap(({ socket }, index) => {
        const spec = reservation.sockets[index];
        return socket === undefined || spec === undefined ? [] : [{ spec, fd: socket.fd }];
      });
      return {
        reservation: { ...reservation, sockets: held.map(({ spec }) => spec) },
        fds: held.map(({ fd }) => fd),
      };
    });
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
    this.hold([], slots);
  }

  /**
   * Makes these the reservations that are held, and those named in `keep` besides, as they are now. Sockets that are
   * still wanted, under whatever name, stay the same kernel sockets; new ones are bound before others are let go. What
   * is released stays so.
   * `inUse` tells of a name whether a claimant has its sockets.
   */
  apply(
    reservations: readonly Reservation[],
    keep: ReadonlySet<string>,
    inUse: (name: string) => boolean,
  ): void {
    const known = new Set(reservations.map(({ name }) => name));
    const kept = [...this.#entries.values()]
      .map((entry) => entry.reservation)
      .filter(({ name }) => keep.has(name) && !known.has(name));
    // With ReusePort= there can be several of one key.
    const pool = new Map<string, HeldSocket[]>();
    for (const { socket } of this.slots()) {
      if (socket === undefined) continue;
      const key = holdKey(socket.request);
      pool.set(key, [...(pool.get(key) ?? []), socket]);
    }

    const released = new Map([...this.#released].map((slot) => [holdKey(slot.request), slot.released]));

    const shared: Shared = new Map();
    const next = new Map(
      [...reservations, ...kept].sort(byName).map((reservation) => {
        const slots = slotsOf(reservation, shared, (request): Slot => {
          const since = released.get(holdKey(request));
          if (since !== undefined) return { request, released: since };
          const socket = pool.get(holdKey(request))?.shift();
          if (socket === undefined) return { request };
          socket.update(request, inUse(reservation.name));
          return { request, socket };
        });
        return [reservation.name, { reservation, slots, changed: Date.now() }];
      }),
    );
    const leaving = [...pool.values()].flat();
    const before = this.#entries;
    this.#entries = next;
    this.#findReleased();
    this.hold(leaving);
    for (const socket of leaving) socket.close();
    for (const [name, entry] of next) {
      const old = before.get(name);
      if (old !== undefined && sameSockets(old, entry)) next.set(name, { ...entry, changed: old.changed });
    }
  }

  /**
   * Tries to hold what is not held yet: all, or one reservation's. `leaving` are sockets about to be closed, beside which
   * a new one may be bound. What cannot be held has its error afterwards.
   */
  hold(leaving: readonly HeldSocket[] = [], slots: Iterable<Slot> = this.slots()): void {
    let diagnoses = 0;
    for (const slot of slots) {
      if (slot.socket !== undefined || slot.released !== undefined) continue;
      delete slot.holder;
      try {
        slot.socket = open(slot.request, leaving);
        delete slot.error;
        delete slot.errno;
      } catch (error) {
        const inUse = isSystemError(error) && error.code === 'EADDRINUSE';
        if (isSystemError(error)) slot.errno = error.code;
        const holder = inUse && diagnoses++ < maxDiagnoses ? this.#holderOf(slot.request) : undefined;
        slot.error = holdError(slot.request, error, holder?.description).message;
        if (holder?.pid !== undefined) slot.holder = holder.pid;
      }
    }
  }

  /** Another reservation of ours may be what is in the way: `631` and `127.0.0.1:631` overlap. */
  #holderOf(request: HoldRequest): { pid?: number; description: string } | undefined {
    const ours = [...this.#entries.values()].find(({ slots }) =>
      slots.some(({ socket }) => socket !== undefined && overlaps(socket.request, request)),
    );
    if (ours !== undefined) return { description: `reservation '${ours.reservation.name}'` };
    return findHolder(request.spec);
  }
}

/** The slots of portreserve's files, by what they hold. */
type Shared = Map<string, Slot>;

/** A slot for each socket of a reservation: one that another of portreserve's files has already, or what `make` makes. */
function slotsOf(reservation: Reservation, shared: Shared, make: (request: HoldRequest) => Slot): Slot[] {
  return holdRequests(reservation).map((request) => {
    if (reservation.legacy !== true) return make(request);
    const key = holdKey(request);
    const slot = shared.get(key) ?? make(request);
    shared.set(key, slot);
    return slot;
  });
}

function byName(a: Reservation, b: Reservation): number {
  return a.name < b.name ? -1 : 1;
}

function open(request: HoldRequest, leaving: readonly HeldSocket[]): HeldSocket {
  try {
    return HeldSocket.bind(request);
  } catch (error) {
    const siblings = leaving.filter((socket) => overlaps(socket.request, request));
    if (siblings.length === 0 || !isSystemError(error) || error.code !== 'EADDRINUSE') throw error;
    return HeldSocket.bind(request, siblings);
  }
}

/** Whether two sockets can be in each other's way: of one kind, on one port. */
function overlaps(a: HoldRequest, b: HoldRequest): boolean {
  const [one, other] = [a.spec, b.spec];
  return (
    one.type === other.type &&
    one.protocol === other.protocol &&
    'port' in one.address &&
    'port' in other.address &&
    one.address.port === other.address.port
  );
}

function sameSockets(a: Entry, b: Entry): boolean {
  return (
    a.slots.length === b.slots.length &&
    a.slots.every((slot, index) => slot.socket === b.slots[index]?.socket)
  );
}
