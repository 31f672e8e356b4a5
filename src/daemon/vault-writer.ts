import { closeSync } from 'node:fs';
import { BerthError } from '../model/errors.js';
import type { Reservation, SocketSpec } from '../model/reservation.js';
import { constant, maxFdsPerMessage, native } from '../native/index.js';
import { descriptorsOf, type Stored, type StoredPrograms } from './stored.js';
import {
  formatVersion,
  summed,
  type EntryColumns,
  type VaultEntry,
  type VaultHeader,
} from './vault-packets.js';

/** A socket, its guard, and both ends of RearKeep. */
const maxFdsOfSocket = 4;
/** A packet is closed before it could outgrow the addon's receive buffer of 256 KiB. */
const maxPacketBytes = 64 * 1024;
/** What the state of one program takes at the most, with the names that berth-claim may give. */
const programsPerPacket = 8;

type More = Pick<VaultHeader, 'room' | 'memory' | 'programs'>;

/** A packet that is being filled. */
class Packet {
  readonly names: string[] = [];
  readonly sockets: number[] = [];
  readonly counts: number[] = [];
  readonly plain: boolean;
  readonly options: string[] = [];
  readonly optionsOf: number[] = [];
  readonly lines: string[] = [];
  readonly fds: number[] = [];
  readonly more: More;
  #bytes = 0;

  constructor(plain = false, more: More = {}) {
    this.plain = plain;
    this.more = more;
  }

  takes({ plain, fds, text }: Part): boolean {
    const full =
      this.fds.length + fds.length > maxFdsPerMessage || this.#bytes + text.length > maxPacketBytes;
    return plain === this.plain && (!full || this.lines.length === 0);
  }

  add({ name, sockets, options, text, fds }: Part): void {
    let known = this.options.lastIndexOf(options);
    if (known < 0) {
      known = this.options.push(options) - 1;
      this.#bytes += options.length;
    }
    this.names.push(name);
    this.sockets.push(sockets);
    this.counts.push(fds.length);
    this.optionsOf.push(known);
    this.lines.push(text);
    this.fds.push(...fds);
    this.#bytes += text.length;
  }

  toString(index: number, total: number): string {
    const { names, sockets, counts: fds, plain, options, optionsOf, more } = this;
    const [first, last] = [names[0], names.at(-1)];
    const header: VaultHeader = {
      berthVault: formatVersion,
      index,
      total,
      entries: names.length,
      sockets: sockets.reduce((sum, count) => sum + count, 0),
      plain,
      ...(plain && first !== undefined && last !== undefined ? { first, last } : {}),
      ...more,
    };
    const columns: EntryColumns = { names, sockets, fds, options, optionsOf };
    return [JSON.stringify(header), JSON.stringify(columns), ...this.lines].join('\n');
  }
}

/**
 * Returns the end of a socket pair whose queue has all of it. The other end is closed: nobody can add to it. The
 * reservations are in the order of their names, what stands in comes behind them.
 */
export function fillVault(
  reservations: readonly Stored[],
  memory = '',
  programs: StoredPrograms | undefined,
  stamps?: number,
): number {
  const others = [...entryPackets(reservations), ...programPackets(programs), ...memoryPackets(memory)];
  const packets = [firstPacket(others, stamps), ...others];
  const [vault, writer] = native.socketpair(constant('SOCK_SEQPACKET'));
  try {
    // All packets are queued at once, and the sender's buffer has to hold them.
    native.setOption(writer, constant('SOL_SOCKET'), constant('SO_SNDBUFFORCE'), 0x3fffffff);
    for (const [index, packet] of packets.entries()) {
      if (!native.send(writer, summed(packet.toString(index, packets.length)), packet.fds))
        throw new BerthError('Failed', 'the vault is full');
    }
    return vault;
  } catch (error) {
    closeSync(vault);
    throw error;
  } finally {
    closeSync(writer);
  }
}

function firstPacket(others: readonly Packet[], stamps: number | undefined): Packet {
  const first = new Packet(false, { room: others.reduce((sum, { fds }) => sum + fds.length, 1) });
  if (stamps !== undefined) first.fds.push(stamps);
  return first;
}

function programPackets(stored: StoredPrograms | undefined): Packet[] {
  if (stored === undefined) return [];
  const { journal, programs } = stored;
  return Array.from({ length: Math.ceil(programs.length / programsPerPacket) }, (_, index) => {
    const page = programs.slice(index * programsPerPacket, (index + 1) * programsPerPacket);
    const packet = new Packet(false, { programs: page.map(({ state }) => state) });
    packet.fds.push(journal, ...page.map(({ listener }) => listener));
    return packet;
  });
}

function memoryPackets(memory: string): Packet[] {
  const parts = Math.ceil(memory.length / maxPacketBytes);
  return Array.from({ length: parts }, (_, index) => {
    return new Packet(false, { memory: memory.slice(index * maxPacketBytes, (index + 1) * maxPacketBytes) });
  });
}

function entryPackets(reservations: readonly Stored[]): Packet[] {
  let current = new Packet();
  const packets: Packet[] = [];
  let standIns = 0;
  for (const stored of reservations) {
    for (const part of partsOf(stored, stored.standsIn === true ? ++standIns : undefined)) {
      if (packets.length === 0 || !current.takes(part)) packets.push((current = new Packet(part.plain)));
      current.add(part);
    }
  }
  return packets;
}

/** An entry of a packet, or of several when it does not fit into one. */
interface Part {
  readonly name: string;
  readonly sockets: number;
  readonly plain: boolean;
  readonly options: string;
  readonly text: string;
  readonly fds: readonly number[];
}

function partsOf(stored: Stored, standIn: number | undefined): Part[] {
  if (stored.packed !== undefined) {
    const { name, sockets, options, text, descriptors: fds } = stored.packed;
    return [{ name, sockets, plain: true, options, text, fds }];
  }
  const { reservation, formerNames } = stored;
  const { options, sockets, ...configured } = reservation;
  const pages = pagesOf(sockets);
  return pages.map(({ first, specs }) => {
    const end = first + specs.length;
    const guards = stored.guards?.slice(first, end);
    const rears = stored.rears?.slice(first, end);
    const guarded = whereDefined(guards);
    const yielding = whereDefined(rears);
    const entry: VaultEntry = {
      ...configured,
      ...(formerNames === undefined ? {} : { formerNames }),
      ...(standIn === undefined ? {} : { standIn }),
      ...(guarded.length === 0 ? {} : { guarded }),
      ...(yielding.length === 0 ? {} : { yielding }),
      sockets: specs,
    };
    const plain =
      pages.length === 1 && standIn === undefined && yielding.length === 0 && isPlain(reservation);
    return {
      name: reservation.name,
      sockets: specs.length,
      plain,
      options: JSON.stringify(options),
      text: JSON.stringify(entry),
      fds: descriptorsOf({
        reservation,
        fds: stored.fds.slice(first, end),
        ...(guards === undefined ? {} : { guards }),
        ...(rears === undefined ? {} : { rears }),
      }),
    };
  });
}

function pagesOf(sockets: readonly SocketSpec[]): { first: number; specs: SocketSpec[] }[] {
  const pages: { first: number; specs: SocketSpec[] }[] = [];
  let bytes = 0;
  for (const [first, spec] of sockets.entries()) {
    const page = pages.at(-1);
    if (
      page === undefined ||
      (page.specs.length + 1) * maxFdsOfSocket > maxFdsPerMessage ||
      bytes > maxPacketBytes
    ) {
      pages.push({ first, specs: [spec] });
      bytes = 0;
    } else page.specs.push(spec);
    bytes += JSON.stringify(spec).length;
  }
  return pages;
}

function whereDefined(all: readonly unknown[] = []): number[] {
  return all.flatMap((one, index) => (one === undefined ? [] : [index]));
}

/** Whether nothing shows of its sockets at rest but that they are bound, and nothing else needs to know of it. */
function isPlain({ legacy, handoff, whileStopped, options, sockets }: Reservation): boolean {
  return (
    legacy !== true &&
    // A loan does not show in the hold.
    handoff !== 'lend' &&
    whileStopped === 'refuse' &&
    !options.reusePort &&
    sockets.every(({ type, address }) => type === 'stream' && 'port' in address)
  );
}
