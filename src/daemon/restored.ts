import { closeSync } from 'node:fs';
import type { Reservation } from '../model/reservation.js';
import { slotsOf, type Entry, type SharedSlots, type Slot, type StandIn } from './entry.js';
import { HeldSocket } from './held-socket.js';
import { holdKey, holdRequests } from './hold-request.js';
import { append } from './lists.js';
import type { RearKeep } from './rears.js';
import type { Stored } from './stored.js';

/** What the vault had of one socket. */
interface Descriptors {
  readonly fd: number;
  readonly guard: number | undefined;
  readonly rears: RearKeep | undefined;
}

/**
 * The entries of what an earlier berthd held, and of the reservations of which it had released sockets: the others that
 * they have. Takes the descriptors over.
 */
export function restoreEntries(
  stored: readonly Stored[],
  released: readonly Reservation[],
): Map<string, Entry> {
  const changed = Date.now();
  const entries = new Map<string, Entry>();
  const shared: SharedSlots = new Map();
  const wholes = new Map(released.map((reservation) => [reservation.name, reservation]));
  const parts = [
    ...stored.filter(({ standsIn }) => standsIn !== true),
    ...released.map((reservation): Stored => ({ reservation, fds: [] })),
  ];
  for (const part of parts.sort((a, b) => (a.reservation.name < b.reservation.name ? -1 : 1))) {
    const { name } = part.reservation;
    if (!entries.has(name)) entries.set(name, restoreEntry(part, wholes.get(name), shared, changed));
  }
  return entries;
}

/** `whole` is the reservation with the sockets that were released. */
function restoreEntry(
  { reservation: part, fds, guards, rears, formerNames = [] }: Stored,
  whole: Reservation | undefined,
  shared: SharedSlots,
  changed: number,
): Entry {
  const reservation = whole ?? part;
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
    return whole === undefined ? { request } : { request, released: changed };
  });
  // Of a shared socket there is a descriptor for each reservation that has it.
  for (const { fd, guard, rears = [] } of [...held.values()].flat())
    for (const each of [fd, guard, ...rears]) if (each !== undefined) closeSync(each);
  return { reservation, slots, changed, formerNames };
}

export function restoreStandIns(stored: readonly Stored[]): StandIn[] {
  const standIns = stored.filter(({ standsIn }) => standsIn === true);
  return standIns.flatMap(({ reservation, fds, guards, rears }) => {
    return holdRequests(reservation).flatMap((request, index): StandIn[] => {
      const fd = fds[index];
      if (fd === undefined) return [];
      return [{ reservation, socket: HeldSocket.adopt(request, fd, guards?.[index], rears?.[index]) }];
    });
  });
}
