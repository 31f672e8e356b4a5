import type { Reservation } from '../model/reservation.js';

/** What one berthd leaves to the next one beside the sockets. */
export interface Left {
  /** By which it knows the configuration, with the stamps beside; without it, it has to read it. */
  readonly known?: string;
  /** The reservations of which a socket is released, and the names of those that have claimants. */
  readonly released: readonly Reservation[];
  readonly claimed: readonly string[];
}

/** An earlier version left other things, which are of no use to this one. */
export function readLeft(memory: string | undefined): Left {
  const nothing: Left = { released: [], claimed: [] };
  try {
    return { ...nothing, ...(JSON.parse(memory ?? '{}') as Partial<Left>) };
  } catch {
    return nothing;
  }
}
