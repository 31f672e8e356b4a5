import { closeSync } from 'node:fs';
import { isSystemError } from '../model/errors.js';
import type { Reservation, SocketSpec } from '../model/reservation.js';
import { findHolder } from './holder.js';
import { HeldSocket } from './held-socket.js';
import { holdError, holdKey, holdRequests } from './hold-request.js';
import type { HoldRequest } from './hold-request.js';
import { overlaps, placeOf } from './overlap.js';
import type { RearKeep } from './rears.js';
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

/**
 * A reservation with its sockets, in the order of its file. `changed` is when it last was held whole, or last failed.
 * `formerNames` are descriptor names that its unit may have in its fd store from before a change of the files.
 */
export interface Entry {
  readonly reservation: Reservation;
  readonly slots: readonly Slot[];
  readonly changed: number;
  readonly formerNames: readonly string[];
}

/**
 * A socket that no file asks for any more, held until what takes its place is bound: a wanted one that overlaps with it
 * and cannot be held yet. `reservation` is the one that it was of.
 */
export interface StandIn {
  readonly reservation: Reservation;
  readonly socket: HeldSocket;
}

/** Whoever changes FileDescriptorName= more often than that between two starts has to stop the unit once. */
const maxFormerNames = 16;

/** Looking through /proc for a holder is slow, and a hundred such messages help nobody more than a few do. */
const maxDiagnoses = 20;

/**
 * Everything that berthd holds. Sockets are opened and closed here only, and whatever happens, one that is still wanted
 * stays bound.
 */
export class Table {
  #entries = new Map<string, Entry>();
  #released = new Set<Slot>();
  #standIns: readonly StandIn[] = [];

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

  /** Sockets that are held for those that cannot be yet, by the reservation that they were of. */
  get standIns(): readonly StandIn[] {
    return this.#standIns;
  }

  /** All that is held and was made for a reservation of this name. */
  socketsOf(name: string): HeldSocket[] {
    const slots = this.#entries.get(name)?.slots ?? [];
    const left = this.#standIns.filter(({ reservation }) => reservation.name === name);
    return [...slots.flatMap(({ socket }) => socket ?? []), ...left.map(({ socket }) => socket)];
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
    const parts = [
      ...stored.filter(({ standsIn }) => standsIn !== true),
      ...released.map((reservation): Stored => ({ reservation, fds: [] })),
    ].sort((a, b) => byName(a.reservation, b.reservation));
    for (const { reservation: part, fds, guards, rears, formerNames = [] } of parts) {
      if (this.#entries.has(part.name)) continue;
      const reservation = wholes.get(part.name) ?? part;
      const held = new Map<string, Descriptors[]>();
      for (const [index, request] of holdRequests(part).entries()) {
        const fd = fds[index];
        if (fd !== undefined)
          append(held, holdKey(request), { fd, guard: guards?.[index], rears: rears?.[index] });
      }
      const slots = slotsOf(reservation, shared, (request): Slot => {
        const found = held.get(holdKey(request))?.shift();
        if (found !== undefined) {
          const { fd, guard, rears } = found;
          return { request, socket: HeldSocket.adopt(request, fd, guard, rears) };
        }
        return wholes.has(part.name) ? { request, released: changed } : { request };
      });
      // Of a shared socket there is a descriptor for each reservation that has it.
      for (const { fd, guard, rears = [] } of [...held.values()].flat())
        for (const each of [fd, guard, ...rears]) if (each !== undefined) closeSync(each);
      this.#entries.set(reservation.name, { reservation, slots, changed, formerNames });
    }
    this.#findReleased();
    this.#standIns = stored.flatMap(({ reservation, fds, guards, rears, standsIn }) => {
      if (standsIn !== true) return [];
      return holdRequests(reservation).flatMap((request, index): StandIn[] => {
        const fd = fds[index];
        if (fd === undefined) return [];
        return [{ reservation, socket: HeldSocket.adopt(request, fd, guards?.[index], rears?.[index]) }];
      });
    });
  }

  #findReleased(): void {
    this.#released = new Set();
    for (const slot of this.slots()) if (slot.released !== undefined) this.#released.add(slot);
  }

  /** What is held, to be stored. The descriptors stay the table's. */
  stored(): Stored[] {
    const entries = [...this.#entries.values()].map(({ reservation, slots, formerNames }) => {
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
    const kept = [...this.#entries.values()]
      .map((entry) => entry.reservation)
      .filter(({ name }) => keep.has(name) && !known.has(name));
    // With ReusePort= there can be several of one key.
    const pool = new Map<string, StandIn[]>();
    for (const held of this.#held()) append(pool, holdKey(held.socket.request), held);

    const released = new Map([...this.#released].map((slot) => [holdKey(slot.request), slot.released]));

    const wanted = [...reservations, ...kept].sort(byName);
    const namesOf = this.#namesBefore(wanted);
    const shared: Shared = new Map();
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
    const before = this.#entries;
    this.#entries = next;
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
    for (const { reservation, slots } of this.#entries.values()) {
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
    for (const { reservation, formerNames } of this.#entries.values()) {
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
  hold(slots: Iterable<Slot> = this.slots()): void {
    const standIns = new Map<string, HeldSocket[]>();
    for (const { socket } of this.#standIns) append(standIns, placeOf(socket.request), socket);
    let diagnoses = 0;
    for (const slot of slots) {
      if (slot.socket !== undefined || slot.released !== undefined) continue;
      delete slot.holder;
      const siblings = (standIns.get(placeOf(slot.request)) ?? []).filter(({ request }) =>
        overlaps(request, slot.request),
      );
      try {
        slot.socket = open(slot.request, siblings);
        delete slot.error;
        delete slot.errno;
      } catch (error) {
        const inUse = isSystemError(error) && error.code === 'EADDRINUSE';
        if (isSystemError(error)) slot.errno = error.code;
        const holder = inUse && diagnoses++ < maxDiagnoses ? this.#holderOf(slot.request) : undefined;
        slot.error = holdError(slot.request, error, holder?.description).message + heldMeanwhile(siblings);
        if (holder?.pid !== undefined) slot.holder = holder.pid;
      }
    }
    this.#dismiss();
  }

  /** Lets go of the stand-ins that overlap with nothing that is still to be held. */
  #dismiss(): void {
    if (this.#standIns.length === 0) return;
    const missing = new Map<string, HoldRequest[]>();
    const paths = new Set<string>();
    for (const { request, socket, released } of this.slots()) {
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

  /** Another reservation of ours may be what is in the way: `631` and `127.0.0.1:631` overlap. */
  #holderOf(request: HoldRequest): { pid?: number; description: string } | undefined {
    const ours = [...this.#entries.values()].find(({ slots }) =>
      slots.some(({ socket }) => socket !== undefined && overlaps(socket.request, request)),
    );
    if (ours !== undefined) return { description: `reservation '${ours.reservation.name}'` };
    return findHolder(request.spec);
  }
}

/** What the vault had of one socket. */
interface Descriptors {
  readonly fd: number;
  readonly guard: number | undefined;
  readonly rears: RearKeep | undefined;
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

/** A shared slot may be written in another way than the reservation has it. */
export function specOf({ legacy, sockets }: Reservation, index: number, { spec }: HoldRequest): SocketSpec {
  return (legacy === true ? sockets[index] : undefined) ?? spec;
}

function byName(a: Reservation, b: Reservation): number {
  return a.name < b.name ? -1 : 1;
}

function open(request: HoldRequest, siblings: readonly HeldSocket[]): HeldSocket {
  try {
    return HeldSocket.bind(request);
  } catch (error) {
    if (siblings.length === 0 || !isSystemError(error) || error.code !== 'EADDRINUSE') throw error;
    return HeldSocket.bind(request, siblings);
  }
}

/** For the end of an error: what is held in the place of a socket that cannot be. */
function heldMeanwhile(siblings: readonly HeldSocket[]): string {
  const [first, ...others] = siblings;
  if (first === undefined) return '';
  const more = others.length === 0 ? '' : ` and ${others.length} more`;
  return `; '${first.describe()}'${more} of before ${more === '' ? 'is' : 'are'} held until then`;
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

function append<T>(lists: Map<string, T[]>, key: string, item: T): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [item]);
  else list.push(item);
}

function sameSockets(a: Entry, b: Entry): boolean {
  return (
    a.slots.length === b.slots.length &&
    a.slots.every((slot, index) => slot.socket === b.slots[index]?.socket)
  );
}
