import { closeSync } from 'node:fs';
import { BerthError } from '../model/errors.js';
import type { SocketOptions } from '../model/reservation.js';
import { constant, maxFdsPerMessage, native } from '../native/index.js';
import type { ProgramState } from './program.js';
import type { Recovered, Stored, StoredPrograms } from './stored.js';
import { EntryPage, type Whole } from './vault-entry.js';
import { parseVersion1, parseVersion2 } from './vault-older.js';
import { formatVersion, textOf, type VaultHeader, type VaultPacket } from './vault-packets.js';

/** The reading of a vault, of which the caller keeps the descriptor. */
export class VaultReading {
  readonly #vault: number;
  readonly #taken: number[] = [];
  readonly #contents = new Contents();
  /** How many packets have been read, of how many; undefined before the first. */
  #read = 0;
  #total: number | undefined;

  constructor(vault: number) {
    this.#vault = vault;
  }

  /** Begins with what takes the kernel a while, on threads. */
  begin(): void {
    native.setOption(this.#vault, constant('SOL_SOCKET'), constant('SO_PEEK_OFF'), 0);
    const first = this.#take();
    this.#total = first?.total ?? 0;
    if (first === undefined) return;
    native.makeRoom(this.#vault, this.#vault + (first.room ?? first.total * maxFdsPerMessage));
    const { stamps } = this.#contents;
    if (stamps !== undefined) native.beginStamps(stamps);
  }

  /** Undefined, with nothing kept, when a packet is missing. Throws `Busy` or a SystemError for want of memory or descriptors. */
  finish(): Recovered | undefined {
    if (this.#total === undefined) this.begin();
    const total = this.#total ?? 0;
    while (this.#read < total && this.#take() !== undefined);
    native.roomMade();
    if (total > 0 && this.#read === total) return this.#contents.all();
    const { stamps } = this.#contents;
    if (stamps !== undefined) native.stampsHold(stamps);
    this.#taken.forEach(closeSync);
    return undefined;
  }

  #take(): VaultPacket | undefined {
    const received = native.receive(this.#vault, maxFdsPerMessage, constant('MSG_PEEK'));
    if (received === undefined) return undefined;
    this.#taken.push(...received.fds);
    // There is room for all that a message can bring.
    if (received.discarded) throw new BerthError('Busy', 'berthd is out of descriptors');
    const packet = parse(received.data);
    if (packet?.index !== this.#read) return undefined;
    this.#contents.add(packet, received.fds);
    this.#read++;
    return packet;
  }
}

/** All descriptors of a vault, whatever else is in it. They are the caller's. Throws as VaultReading does. */
export function descriptorsIn(vault: number): number[] {
  const all: number[] = [];
  native.setOption(vault, constant('SOL_SOCKET'), constant('SO_PEEK_OFF'), 0);
  for (;;) {
    const received = native.receive(vault, maxFdsPerMessage, constant('MSG_PEEK'));
    // The end of the queue reads as an empty packet.
    if (received === undefined || received.data.length === 0) return all;
    all.push(...received.fds);
    if (!received.discarded) continue;
    all.forEach(closeSync);
    throw new BerthError('Busy', 'berthd is out of descriptors');
  }
}

function parse(data: Buffer): VaultPacket | undefined {
  const text = textOf(data);
  if (text === undefined) return undefined;
  const end = text.indexOf('\n');
  try {
    const first = text.toString('utf8', 0, end < 0 ? text.length : end);
    const header = JSON.parse(first) as Omit<VaultHeader, 'berthVault'> & { readonly berthVault: unknown };
    const lines = text.subarray(end < 0 ? text.length : end + 1);
    switch (header.berthVault) {
      case 1:
        return parseVersion1(header);
      case 2:
        return parseVersion2(header, lines);
      case formatVersion:
        return { ...header, lines };
      default:
        return undefined;
    }
  } catch {
    return undefined;
  }
}

/** What comes out of the packets, one after the other. */
class Contents {
  readonly #stored: Stored[] = [];
  readonly #pages: EntryPage[] = [];
  /** By name, or by number and name for stand-ins: those that more of may come. A name has no blank. */
  readonly #wholes = new Map<string, Whole>();
  readonly #options = new Map<string, SocketOptions>();
  #memory = '';
  stamps: number | undefined;
  #programs: StoredPrograms | undefined;
  readonly #surplus: number[] = [];

  add(packet: VaultPacket, fds: readonly number[]): void {
    const { entries, plain, lines, memory = '', room, programs } = packet;
    const page = new EntryPage(packet, lines, fds, (text) => this.#parseOptions(text));
    if (plain) this.#pages.push(page);
    else for (let index = 0; index < entries; index++) this.#addPart(page.read(index));
    if (programs !== undefined) this.#addPrograms(programs, fds);
    if (room !== undefined) this.stamps = fds[0];
    this.#memory += memory;
  }

  /** Once the last packet is there: until then all descriptors may have to be closed. */
  all(): Recovered {
    this.#surplus.forEach(closeSync);
    const memory = this.#memory === '' ? undefined : this.#memory;
    return {
      stored: this.#stored,
      pages: this.#pages,
      memory,
      stamps: this.stamps,
      programs: this.#programs,
    };
  }

  /** Thousands have the same ones, and then share them. */
  #parseOptions(text: string): SocketOptions {
    const known = this.#options.get(text) ?? (JSON.parse(text) as SocketOptions);
    this.#options.set(text, known);
    return known;
  }

  #addPart(part: Whole): void {
    const { name } = part.reservation;
    const key = part.standIn === undefined ? name : `${part.standIn} ${name}`;
    const whole = this.#wholes.get(key);
    if (whole === undefined) {
      this.#wholes.set(key, part);
      this.#stored.push(part);
      return;
    }
    whole.reservation.sockets.push(...part.reservation.sockets);
    whole.fds.push(...part.fds);
    whole.guards.push(...part.guards);
    whole.rears.push(...part.rears);
  }

  #addPrograms(states: readonly ProgramState[], [journal = -1, ...listeners]: readonly number[]): void {
    const before = this.#programs;
    // Each packet has the journal.
    if (before !== undefined) this.#surplus.push(journal);
    const programs = states.map((state, index) => ({ listener: listeners[index] ?? -1, state }));
    this.#programs = {
      journal: before?.journal ?? journal,
      programs: [...(before?.programs ?? []), ...programs],
    };
  }
}
