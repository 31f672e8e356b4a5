import { crc32 } from 'node:zlib';
import type { Reservation } from '../model/reservation.js';
import type { ProgramState } from './program.js';

/**
 * A packet of the vault: a sum, a header in JSON on a line of its own, another line with what is known of its entries, and
 * a line of JSON for each of them, so that an entry can be read by itself, and at any time. With it come the descriptors
 * of its entries' sockets, in order, with a guard behind the socket that has one, and then the two ends for its guards
 * behind a program's sockets. The first packet has no entries; with it comes the file by which the configuration is known, if
 * there is one. The last packets have none either, but parts of a text that is passed on with the sockets, or what is known
 * of programs.
 */
export interface VaultHeader extends PageHeader {
  readonly berthVault: typeof formatVersion;
  readonly index: number;
  readonly total: number;
  /** Of the first: how many descriptors come with all packets. */
  readonly room?: number;
  readonly memory?: string;
  /** The journal and the listeners of supervised programs, whose descriptors come in that order. Never with entries. */
  readonly programs?: readonly ProgramState[];
}

/** All that a start of berthd reads of most packets. */
export interface PageHeader {
  readonly entries: number;
  readonly sockets: number;
  /** All entries are what Packed tells of. Then they are in the order of their names, of which these are two. */
  readonly plain: boolean;
  readonly first?: string;
  readonly last?: string;
}

/** What is known of a packet's entries without their lines: a column for each thing, as that is read fastest. */
export interface EntryColumns {
  readonly names: readonly string[];
  /** How many sockets each has, and how many descriptors. */
  readonly sockets: readonly number[];
  readonly fds: readonly number[];
  /** The different options that they have, as JSON, and which of these each has, counted from 0. */
  readonly options: readonly string[];
  readonly optionsOf: readonly number[];
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

/** A packet, whichever version wrote it, with the lines behind its header: the columns, and the entries. */
export type VaultPacket = Omit<VaultHeader, 'berthVault'> & { readonly lines: Buffer };

export const formatVersion = 3;

/** The CRC-32 in front of each packet's text, in hexadecimal: what is damaged must not pass for something else. */
const sumLength = 8;

export function summed(text: string): Buffer {
  return Buffer.from(sumOf(text) + text);
}

/** The text behind the sum; undefined when it is not what was written. */
export function textOf(data: Buffer): Buffer | undefined {
  const text = data.subarray(sumLength);
  return data.toString('latin1', 0, sumLength) === sumOf(text) ? text : undefined;
}

function sumOf(text: string | Buffer): string {
  return crc32(text).toString(16).padStart(sumLength, '0');
}
