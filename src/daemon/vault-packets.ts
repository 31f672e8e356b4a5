import { crc32 } from 'node:zlib';
import type { Reservation } from '../model/reservation.js';
import type { ProgramState } from './program.js';

/**
 * A packet of the vault: a sum, a header in JSON on a line of its own, and a line of JSON for each entry in it, so that
 * an entry can be read by itself, and at any time. With it come the descriptors of its entries' sockets, in order, with
 * a guard behind the socket that has one, and then the two ends for its guards behind a program's sockets. The last
 * packets have no entries but parts of a text that is passed on with the sockets, or what is known of programs.
 */
export interface VaultHeader {
  readonly berthVault: typeof formatVersion;
  readonly index: number;
  readonly total: number;
  /** The different options that its entries have, as JSON. */
  readonly options: readonly string[];
  readonly entries: readonly EntryHeader[];
  readonly memory?: string;
  /** The journal and the listeners of supervised programs, whose descriptors come in that order. Never with entries. */
  readonly programs?: readonly ProgramState[];
}

export interface EntryHeader {
  readonly name: string;
  /** Which of the packet's options it has, counted from 0. */
  readonly options: number;
  readonly sockets: number;
  readonly fds: number;
  /** It is what Packed tells of. */
  readonly plain?: true;
}

/** Reservations as they were configured, each with those of its sockets that come with this packet. */
export type VaultEntry = Omit<Reservation, 'options'> & {
  /** Which of its sockets have a guard, counted from 0. */
  readonly guarded?: readonly number[];
  /** Which have guards behind a program's sockets, or may have. */
  readonly yielding?: readonly number[];
  readonly formerNames?: readonly string[];
  /** Which of the stand-ins this one is, counted from 1. Its name may be that of an entry. */
  readonly standIn?: number;
};

/** A packet, whichever version wrote it. */
export interface VaultPacket extends Pick<VaultHeader, 'index' | 'total' | 'memory' | 'programs'> {
  readonly entries: readonly PacketEntry[];
}

/** `fds` is how many descriptors it has; `text` and `options` are JSON. */
export interface PacketEntry {
  readonly name: string;
  readonly sockets: number;
  readonly fds: number;
  readonly plain: boolean;
  readonly text: string;
  readonly options: string;
}

export const formatVersion = 2;

/** The CRC-32 in front of each packet's text, in hexadecimal: what is damaged must not pass for something else. */
const sumLength = 8;

export function summed(text: string): Buffer {
  return Buffer.from(sumOf(text) + text);
}

/** The text behind the sum; undefined when it is not what was written. */
export function textOf(data: Buffer): string | undefined {
  const text = data.subarray(sumLength);
  return data.toString('latin1', 0, sumLength) === sumOf(text) ? text.toString('utf8') : undefined;
}

function sumOf(text: string | Buffer): string {
  return crc32(text).toString(16).padStart(sumLength, '0');
}
