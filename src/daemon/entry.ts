import type { Reservation, SocketSpec } from '../model/reservation.js';
import { HeldSocket } from './held-socket.js';
import { holdKey, holdRequests } from './hold-request.js';
import type { HoldRequest } from './hold-request.js';
import type { Packed } from './stored.js';
import type { PackedReservation } from './vault-entry.js';

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
  /** While it is as it came out of the vault and nobody has asked for more: then all of it is held. */
  readonly packed?: Packed | undefined;
}

/**
 * A socket that no file asks for any more, held until what takes its place is bound: a wanted one that overlaps with it
 * and cannot be held yet. `reservation` is the one that it was of.
 */
export interface StandIn {
  readonly reservation: Reservation;
  readonly socket: HeldSocket;
}

/**
 * An entry out of the vault. What it takes to serve it is made when it is first looked at: with thousands of reservations
 * that is what a restart would cost, and few of them are looked at before the next one.
 */
export class PackedEntry implements Entry {
  readonly changed: number;
  readonly #stored: PackedReservation;
  #slots: readonly Slot[] | undefined;

  /** Takes the descriptors over. */
  constructor(stored: PackedReservation, changed: number) {
    this.#stored = stored;
    this.changed = changed;
  }

  /** Undefined once its sockets may have become others. */
  get packed(): PackedReservation | undefined {
    return this.#slots === undefined ? this.#stored : undefined;
  }

  get reservation(): Reservation {
    return this.#stored.reservation;
  }

  get formerNames(): readonly string[] {
    return this.#stored.formerNames ?? [];
  }

  get slots(): readonly Slot[] {
    if (this.#slots === undefined) {
      const { reservation, fds, guards } = this.#stored;
      this.#slots = holdRequests(reservation).map((request, index): Slot => {
        const fd = fds[index];
        return fd === undefined
          ? { request }
          : { request, socket: HeldSocket.adopt(request, fd, guards[index]) };
      });
    }
    return this.#slots;
  }
}

/** The slots of portreserve's files, by what they hold. */
export type SharedSlots = Map<string, Slot>;

/** A slot for each socket of a reservation: one that another of portreserve's files has already, or what `make` makes. */
export function slotsOf(
  reservation: Reservation,
  shared: SharedSlots,
  make: (request: HoldRequest) => Slot,
): Slot[] {
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
