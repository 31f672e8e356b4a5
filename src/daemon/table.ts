import { isSystemError } from '../model/errors.js';
import type { Reservation } from '../model/reservation.js';
import { findHolder } from './holder.js';
import { HeldSocket } from './held-socket.js';
import { holdError, holdKey, holdRequests } from './hold-request.js';
import type { HoldRequest } from './hold-request.js';
import type { Stored } from './vault.js';

/** One socket of a reservation: held, or the reason why not and who is in the way. */
export interface Slot {
  readonly request: HoldRequest;
  socket?: HeldSocket;
  error?: string;
  errno?: string;
  holder?: number;
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

  get(name: string): Entry | undefined {
    return this.#entries.get(name);
  }

  /** All reservations, by name. */
  entries(): IterableIterator<Entry> {
    return this.#entries.values();
  }

  *slots(): IterableIterator<Slot> {
    for (const { slots } of this.#entries.values()) yield* slots;
  }

  /** How many sockets are wanted, and how many of them are held. */
  count(): { wanted: number; held: number } {
    let wanted = 0;
    let held = 0;
    for (const { slots } of this.#entries.values()) {
      wanted += slots.length;
      for (const { socket } of slots) if (socket !== undefined) held++;
    }
    return { wanted, held };
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Begins with what an earlier berthd held. Takes the descriptors over. */
  restore(stored: readonly Stored[]): void {
    const changed = Date.now();
    for (const { reservation, fds } of stored) {
      const slots = holdRequests(reservation).map((request, index): Slot => {
        const fd = fds[index];
        return fd === undefined ? { request } : { request, socket: HeldSocket.adopt(request, fd) };
      });
      this.#entries.set(reservation.name, { reservation, slots, changed });
    }
  }

  /** What is held, to be stored. The descriptors stay the table's. */
  stored(): Stored[] {
    return [...this.#entries.values()].map(({ reservation, slots }) => {
      const held = slots.flatMap(({ socket }) => socket ?? []);
      return {
        reservation: { ...reservation, sockets: held.map(({ request }) => request.spec) },
        fds: held.map(({ fd }) => fd),
      };
    });
  }

  /**
   * Makes these the reservations that are held, and those named in `keep` besides, as they are now. Sockets that are
   * still wanted, under whatever name, stay the same kernel sockets; new ones are bound before others are let go.
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

    const wanted = [...reservations, ...kept].sort((a, b) => (a.name < b.name ? -1 : 1));
    const next = new Map(
      wanted.map((reservation) => [reservation.name, this.#adopt(reservation, pool, inUse)]),
    );
    const leaving = [...pool.values()].flat();
    const before = this.#entries;
    this.#entries = next;
    this.hold(leaving);
    for (const socket of leaving) socket.close();
    for (const [name, entry] of next) {
      const old = before.get(name);
      if (old !== undefined && sameSockets(old, entry)) next.set(name, { ...entry, changed: old.changed });
    }
  }

  #adopt(reservation: Reservation, pool: Map<string, HeldSocket[]>, inUse: (name: string) => boolean): Entry {
    const slots = holdRequests(reservation).map((request): Slot => {
      const socket = pool.get(holdKey(request))?.shift();
      if (socket === undefined) return { request };
      socket.update(request, inUse(reservation.name));
      return { request, socket };
    });
    return { reservation, slots, changed: Date.now() };
  }

  /**
   * Tries to hold what is not held yet: all, or one reservation's. `leaving` are sockets about to be closed, beside which
   * a new one may be bound. What cannot be held has its error afterwards.
   */
  hold(leaving: readonly HeldSocket[] = [], slots: Iterable<Slot> = this.slots()): void {
    let diagnoses = 0;
    for (const slot of slots) {
      if (slot.socket !== undefined) continue;
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
