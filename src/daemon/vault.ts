import { closeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { BerthError } from '../model/errors.js';
import type { Reservation, SocketOptions, SocketSpec } from '../model/reservation.js';
import { constant, maxFdsPerMessage, native } from '../native/index.js';
import type { FdStore } from '../systemd/fd-store.js';
import type { PassedFd } from '../systemd/listen-fds.js';
import type { ProgramState } from './program.js';
import type { RearKeep } from './rears.js';

/**
 * All held sockets as undelivered messages in the queue of one AF_UNIX socket, which PID 1 keeps: they outlive berthd,
 * and PID 1, whose fd store grows quadratically, keeps one descriptor for any number of them (docs/design.md).
 *
 * Each packet is JSON with its descriptors: those of its entries' sockets, in order, with a guard behind the socket that has
 * one, and then the two ends for its guards behind a program's sockets. An entry without options has those of the one before. The last ones may have no entries but
 * parts of a text that is passed on with the sockets.
 */
interface VaultPacket {
  readonly berthVault: typeof formatVersion;
  readonly index: number;
  readonly total: number;
  /** Reservations as they were configured, each with those of its sockets that come with this packet. */
  readonly entries: readonly PacketEntry[];
  readonly memory?: string;
  /** The journal and the listeners of supervised programs, whose descriptors come in that order. Never with entries. */
  readonly programs?: readonly ProgramState[];
}

type PacketEntry = Omit<Reservation, 'options'> & {
  readonly options?: SocketOptions;
  /** Which of its sockets have a guard, counted from 0. */
  guarded?: number[];
  /** Which have guards behind a program's sockets, or may have. */
  yielding?: number[];
  readonly formerNames?: readonly string[];
  /** Which of the stand-ins this one is, counted from 1. Its name may be that of an entry. */
  readonly standIn?: number;
};

/** A reservation with the sockets of it that are held, and a descriptor for each; or with those that stand in (Table). */
export interface Stored {
  readonly reservation: Reservation;
  readonly fds: readonly number[];
  /** Of the sockets that have one. */
  readonly guards?: readonly (number | undefined)[];
  readonly rears?: readonly (RearKeep | undefined)[];
  readonly standsIn?: boolean;
  readonly formerNames?: readonly string[];
}

/** Programs whose calls wait for berthd: their listeners, and the page in which the call that is being served is noted. */
export interface StoredPrograms {
  readonly journal: number;
  readonly programs: readonly { readonly listener: number; readonly state: ProgramState }[];
}

/** What an earlier berthd left: its sockets, and what it wanted its successor to know besides. */
export interface Recovered {
  readonly stored: readonly Stored[];
  readonly memory: string | undefined;
  readonly programs: StoredPrograms | undefined;
}

const formatVersion = 1;
/** A socket, its guard, and both ends of RearKeep. */
const maxFdsOfSocket = 4;
/** The CRC-32 in front of each packet's JSON, in hexadecimal: what is damaged must not pass for something else. */
const sumLength = 8;
const namePrefix = 'vault-';
/** A packet is closed before it could outgrow the addon's receive buffer of 256 KiB. */
const maxPacketBytes = 64 * 1024;

/** Writes the vaults, one generation after the other. */
export class Vault {
  readonly #store: FdStore;
  #generation: number;
  #stored: string[];

  /** `passed` are the vaults that the manager passed at the start; the next save replaces them. */
  constructor(store: FdStore, passed: readonly PassedFd[]) {
    this.#store = store;
    this.#stored = passed.map(({ name }) => name);
    this.#generation = Math.max(0, ...passed.map(generationOf));
  }

  /**
   * Stores what is held now and then removes what was stored before. A crash in between leaves both, of which the newest
   * complete one counts.
   */
  save(
    reservations: readonly Stored[],
    memory: string | undefined,
    programs: StoredPrograms | undefined,
  ): void {
    const vault = fill([
      ...packetsOf(reservations),
      ...programPackets(programs),
      ...memoryPackets(memory ?? ''),
    ]);
    const name = `${namePrefix}${++this.#generation}`;
    try {
      this.#store.store(name, vault);
      for (const old of this.#stored) this.#store.remove(old);
      this.#stored = [name];
    } finally {
      closeSync(vault);
    }
  }
}

export function isVault({ name }: PassedFd): boolean {
  return name.startsWith(namePrefix) && Number.isSafeInteger(generationOf({ name }));
}

function generationOf({ name }: { readonly name: string }): number {
  return Number(name.slice(namePrefix.length));
}

/**
 * Reads the newest complete vault of those that the manager passed, and closes all of them. The descriptors are the
 * caller's. Reading takes nothing out: what PID 1 keeps stays whole until the next save, so a crash meanwhile loses
 * nothing.
 */
export function recover(passed: readonly PassedFd[]): Recovered {
  const newestFirst = [...passed].sort((a, b) => generationOf(b) - generationOf(a));
  try {
    for (const { fd } of newestFirst) {
      const found = read(fd);
      if (found !== undefined) return found;
    }
    if (newestFirst.length > 0) throw new BerthError('Failed', 'no vault that was stored is complete');
    return { stored: [], memory: undefined, programs: undefined };
  } finally {
    for (const { fd } of newestFirst) closeSync(fd);
  }
}

interface Contents {
  readonly entries: PacketEntry[];
  readonly fds: number[];
  readonly memory?: string;
  readonly programs?: readonly ProgramState[];
}

/** What the state of one program takes at the most, with the names that berth-claim may give. */
const programsPerPacket = 8;

function programPackets(stored: StoredPrograms | undefined): Contents[] {
  if (stored === undefined) return [];
  const { journal, programs } = stored;
  return Array.from({ length: Math.ceil(programs.length / programsPerPacket) }, (_, index) => {
    const page = programs.slice(index * programsPerPacket, (index + 1) * programsPerPacket);
    return {
      entries: [],
      fds: [journal, ...page.map(({ listener }) => listener)],
      programs: page.map(({ state }) => state),
    };
  });
}

function memoryPackets(memory: string): Contents[] {
  const parts = Math.ceil(memory.length / maxPacketBytes);
  return Array.from({ length: parts }, (_, index) => ({
    entries: [],
    fds: [],
    memory: memory.slice(index * maxPacketBytes, (index + 1) * maxPacketBytes),
  }));
}

function packetsOf(reservations: readonly Stored[]): Contents[] {
  let current: Contents = { entries: [], fds: [] };
  let bytes = 0;
  let optionsBefore = '';
  const packets = [current];
  let standIns = 0;
  for (const { reservation, fds, guards, rears, standsIn, formerNames } of reservations) {
    const { options, ...configured } = reservation;
    const others = {
      ...configured,
      ...(formerNames === undefined ? {} : { formerNames }),
      ...(standsIn === true ? { standIn: ++standIns } : {}),
    };
    const optionsText = JSON.stringify(options);
    let sockets: SocketSpec[] | undefined;
    let entry: Pick<PacketEntry, 'guarded' | 'yielding'> = {};
    for (const [index, socket] of reservation.sockets.entries()) {
      const fd = fds[index];
      if (fd === undefined) throw new Error('every stored socket has a descriptor');
      const guard = guards?.[index];
      const ends = rears?.[index];
      if (current.fds.length + maxFdsOfSocket > maxFdsPerMessage || bytes > maxPacketBytes) {
        packets.push((current = { entries: [], fds: [] }));
        bytes = 0;
        optionsBefore = '';
        sockets = undefined;
      }
      if (sockets === undefined) {
        sockets = [];
        const begun: PacketEntry =
          optionsText === optionsBefore ? { ...others, sockets } : { ...others, options, sockets };
        optionsBefore = optionsText;
        entry = begun;
        current.entries.push(begun);
        bytes += JSON.stringify(begun).length;
      }
      if (guard !== undefined) (entry.guarded ??= []).push(sockets.length);
      if (ends !== undefined) (entry.yielding ??= []).push(sockets.length);
      sockets.push(socket);
      current.fds.push(fd, ...(guard === undefined ? [] : [guard]), ...(ends ?? []));
      bytes += JSON.stringify(socket).length;
    }
  }
  return packets;
}

/** Returns the end of a socket pair whose queue has the packets. The other end is closed: nobody can add to it. */
function fill(packets: readonly Contents[]): number {
  const [vault, writer] = native.socketpair(constant('SOCK_SEQPACKET'));
  try {
    // All packets are queued at once, and the sender's buffer has to hold them.
    native.setOption(writer, constant('SOL_SOCKET'), constant('SO_SNDBUFFORCE'), 0x3fffffff);
    for (const [index, { fds, ...contents }] of packets.entries()) {
      const packet: VaultPacket = { berthVault: formatVersion, index, total: packets.length, ...contents };
      if (!native.send(writer, summed(JSON.stringify(packet)), fds)) {
        throw new BerthError('Failed', 'the vault is full');
      }
    }
    return vault;
  } catch (error) {
    closeSync(vault);
    throw error;
  } finally {
    closeSync(writer);
  }
}

interface Found {
  readonly reservation: Reservation & { readonly sockets: SocketSpec[] };
  readonly fds: number[];
  readonly guards: (number | undefined)[];
  readonly rears: (RearKeep | undefined)[];
  standsIn?: boolean;
  formerNames?: readonly string[];
}

/** Undefined, with nothing kept, when a packet is missing. */
function read(vault: number): Recovered | undefined {
  const found = new Map<string, Found>();
  let memory = '';
  let programs: StoredPrograms | undefined;
  native.setOption(vault, constant('SOL_SOCKET'), constant('SO_PEEK_OFF'), 0);
  for (let index = 0; ; index++) {
    const received = native.receive(vault, maxFdsPerMessage, constant('MSG_PEEK'));
    const packet = received === undefined ? undefined : parse(received.data);
    if (received === undefined || packet?.index !== index || received.discarded) {
      received?.fds.forEach(closeSync);
      for (const { fds, guards, rears } of found.values())
        for (const fd of [...fds, ...guards, ...rears.flatMap((ends) => ends ?? [])])
          if (fd !== undefined) closeSync(fd);
      if (programs !== undefined)
        [programs.journal, ...programs.programs.map(({ listener }) => listener)].forEach(closeSync);
      return undefined;
    }
    if (index === 0) native.makeRoom(vault, packet.total * maxFdsPerMessage);
    let next = 0;
    let options: SocketOptions | undefined;
    for (const entry of packet.entries) {
      options = entry.options ?? options;
      if (options === undefined) throw new Error('the first entry of a packet has options');
      const { standIn, guarded, yielding, formerNames, ...configured } = entry;
      const key = standIn === undefined ? entry.name : `${standIn} ${entry.name}`; // a name has no blank
      let all = found.get(key);
      if (all === undefined) {
        const reservation = { ...configured, options, sockets: [] };
        all = { reservation, fds: [], guards: [], rears: [] };
        if (standIn !== undefined) all.standsIn = true;
        if (formerNames !== undefined) all.formerNames = formerNames;
        found.set(key, all);
      }
      for (const [index, socket] of entry.sockets.entries()) {
        const fd = received.fds[next++];
        if (fd === undefined) throw new Error('every stored socket has a descriptor');
        all.reservation.sockets.push(socket);
        all.fds.push(fd);
        all.guards.push(guarded?.includes(index) === true ? received.fds[next++] : undefined);
        all.rears.push(yielding?.includes(index) === true ? endsAmong(received.fds, next) : undefined);
        if (yielding?.includes(index) === true) next += 2;
      }
    }
    if (packet.programs !== undefined) programs = addPrograms(programs, packet.programs, received.fds);
    memory += packet.memory ?? '';
    if (index === packet.total - 1)
      return { stored: [...found.values()], memory: memory === '' ? undefined : memory, programs };
  }
}

function endsAmong(fds: readonly number[], next: number): RearKeep {
  const [reader, writer] = fds.slice(next, next + 2);
  if (reader === undefined || writer === undefined) throw new Error('every queue of guards has two ends');
  return [reader, writer];
}

function addPrograms(
  before: StoredPrograms | undefined,
  states: readonly ProgramState[],
  [journal = -1, ...listeners]: readonly number[],
): StoredPrograms {
  // Each packet has the journal.
  if (before !== undefined) closeSync(journal);
  const programs = states.map((state, index) => ({ listener: listeners[index] ?? -1, state }));
  return { journal: before?.journal ?? journal, programs: [...(before?.programs ?? []), ...programs] };
}

function summed(json: string): Buffer {
  return Buffer.from(sumOf(json) + json);
}

function sumOf(json: string | Buffer): string {
  return crc32(json).toString(16).padStart(sumLength, '0');
}

function parse(data: Buffer): VaultPacket | undefined {
  const json = data.subarray(sumLength);
  if (data.toString('latin1', 0, sumLength) !== sumOf(json)) return undefined;
  try {
    const packet = JSON.parse(json.toString('utf8')) as Omit<VaultPacket, 'berthVault'> & {
      berthVault: unknown;
    };
    return packet.berthVault === formatVersion ? { ...packet, berthVault: formatVersion } : undefined;
  } catch {
    return undefined;
  }
}
