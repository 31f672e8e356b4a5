import type { Reservation } from '../model/reservation.js';
import type { ProgramState } from './program.js';
import type { RearKeep } from './rears.js';
import type { EntryPage } from './vault-entry.js';

/** A reservation with the sockets of it that are held, and a descriptor for each; or with those that stand in (Table). */
export interface Stored {
  readonly reservation: Reservation;
  readonly fds: readonly number[];
  /** Of the sockets that have one. */
  readonly guards?: readonly (number | undefined)[];
  readonly rears?: readonly (RearKeep | undefined)[];
  readonly standsIn?: boolean;
  readonly formerNames?: readonly string[] | undefined;
  /** Of one that is as it was in the vault. Then the rest is read only when it is asked for. */
  readonly packed?: Packed;
}

/**
 * What is known of a reservation in the vault without reading its text: for those that are held whole, all of TCP, and
 * refuse while their service is stopped. Nearly all are, and of thousands a start of berthd needs few.
 */
export interface Packed {
  readonly name: string;
  readonly sockets: number;
  /** Of its sockets, each with its guard behind it if it has one. */
  readonly descriptors: readonly number[];
  /** As JSON: the reservation without its options, and those. */
  readonly text: string;
  readonly options: string;
}

/** Programs whose calls wait for berthd: their listeners, and the page in which the call that is being served is noted. */
export interface StoredPrograms {
  readonly journal: number;
  readonly programs: readonly { readonly listener: number; readonly state: ProgramState }[];
}

/** What an earlier berthd left: its sockets, and what it wanted its successor to know besides. */
export interface Recovered {
  readonly stored: readonly Stored[];
  /** Those of which no more is read yet than how many there are. */
  readonly pages: readonly EntryPage[];
  readonly memory: string | undefined;
  /** The file that came with it. */
  readonly stamps: number | undefined;
  readonly programs: StoredPrograms | undefined;
  /** All descriptors of vaults that cannot be read, where there is no other. Nothing else is known then. */
  readonly unread?: readonly number[];
}

/** All descriptors, in the order in which a packet of the vault has them. */
export function descriptorsOf({ packed, fds, guards, rears }: Stored): number[] {
  if (packed !== undefined) return [...packed.descriptors];
  return fds.flatMap((fd, index) => {
    const guard = guards?.[index];
    return [fd, ...(guard === undefined ? [] : [guard]), ...(rears?.[index] ?? [])];
  });
}
