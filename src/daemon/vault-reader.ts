import { closeSync } from 'node:fs';
import type { SocketOptions } from '../model/reservation.js';
import { constant, maxFdsPerMessage, native } from '../native/index.js';
import type { ProgramState } from './program.js';
import type { Recovered, Stored, StoredPrograms } from './stored.js';
import { PackedReservation, unpack, type Whole } from './vault-entry.js';
import {
  formatVersion,
  textOf,
  type VaultEntry,
  type VaultHeader,
  type VaultPacket,
} from './vault-packets.js';
import { parseVersion1 } from './vault-version1.js';

/** Undefined, with nothing kept, when a packet is missing. */
export function readVault(vault: number): Recovered | undefined {
  const taken: number[] = [];
  const contents = new Contents();
  native.setOption(vault, constant('SOL_SOCKET'), constant('SO_PEEK_OFF'), 0);
  for (let index = 0; ; index++) {
    const received = native.receive(vault, maxFdsPerMessage, constant('MSG_PEEK'));
    if (received !== undefined) taken.push(...received.fds);
    const packet = received === undefined ? undefined : parse(received.data);
    if (received === undefined || packet?.index !== index || received.discarded) {
      taken.forEach(closeSync);
      return undefined;
    }
    if (index === 0) native.makeRoom(vault, packet.total * maxFdsPerMessage);
    contents.add(packet, received.fds);
    if (index === packet.total - 1) return contents.all();
  }
}

function parse(data: Buffer): VaultPacket | undefined {
  const text = textOf(data);
  if (text === undefined) return undefined;
  const [first = '', ...lines] = text.split('\n');
  try {
    const header = JSON.parse(first) as Omit<VaultHeader, 'berthVault'> & { berthVault: unknown };
    if (header.berthVault === 1) return parseVersion1(header);
    if (header.berthVault !== formatVersion) return undefined;
    const entries = header.entries.map(({ name, sockets, fds, plain = false, options }, index) => {
      return { name, sockets, fds, plain, text: lines[index] ?? '', options: header.options[options] ?? '' };
    });
    return { ...header, entries };
  } catch {
    return undefined;
  }
}

/** What comes out of the packets, one after the other. */
class Contents {
  readonly #stored: Stored[] = [];
  /** By name, or by number and name for stand-ins: those that more of may come. A name has no blank. */
  readonly #wholes = new Map<string, Whole>();
  readonly #options = new Map<string, SocketOptions>();
  #memory = '';
  #programs: StoredPrograms | undefined;
  readonly #surplus: number[] = [];

  add({ entries, memory = '', programs }: VaultPacket, fds: readonly number[]): void {
    let next = 0;
    for (const { name, sockets, fds: count, plain, text, options } of entries) {
      const own = fds.slice(next, (next += count));
      if (own.length < count) throw new Error('every stored socket has a descriptor');
      if (plain) {
        const packed = { name, sockets, fds: own, text, options };
        this.#stored.push(new PackedReservation(packed, () => this.#parseOptions(options)));
      } else this.#addPart(JSON.parse(text) as VaultEntry, this.#parseOptions(options), own);
    }
    if (programs !== undefined) this.#addPrograms(programs, fds);
    this.#memory += memory;
  }

  /** Once the last packet is there: until then all descriptors may have to be closed. */
  all(): Recovered {
    this.#surplus.forEach(closeSync);
    const memory = this.#memory === '' ? undefined : this.#memory;
    return { stored: this.#stored, memory, programs: this.#programs };
  }

  /** Thousands have the same ones, and then share them. */
  #parseOptions(text: string): SocketOptions {
    const known = this.#options.get(text) ?? (JSON.parse(text) as SocketOptions);
    this.#options.set(text, known);
    return known;
  }

  #addPart(entry: VaultEntry, options: SocketOptions, fds: readonly number[]): void {
    const key = entry.standIn === undefined ? entry.name : `${entry.standIn} ${entry.name}`;
    const part = unpack(entry, options, fds);
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
