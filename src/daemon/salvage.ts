import { closeSync } from 'node:fs';
import type { Reservation } from '../model/reservation.js';
import { count } from '../model/text.js';
import { native } from '../native/index.js';
import type { BoundAddress } from '../native/index.js';
import { protocolOf, resolveAddress, typeOf } from './hold-open.js';
import { holdRequests, isDual } from './hold-request.js';
import type { HoldRequest } from './hold-request.js';
import { append } from './lists.js';
import type { Log } from './log.js';
import type { Recovered, Stored } from './stored.js';

/** What can be known of vaults that cannot be read, by the configured reservations. */
export function readable(recovered: Recovered, load: () => Iterable<Reservation>, log: Log): Recovered {
  if (recovered.unread === undefined) return recovered;
  const stored = salvage(recovered.unread, load());
  const sockets = stored.reduce((sum, { fds }) => sum + fds.length, 0);
  log.err(
    'what an earlier berthd stored cannot be read: it is damaged, or of a later version. ' +
      `${count(sockets, 'socket')} that the files ask for stay held; programs with Handoff=bind have to be started anew`,
  );
  return { ...recovered, stored };
}

/**
 * What sockets are of that come from a vault which cannot be read, because it is damaged or of a later version: each is the
 * first one's of these reservations that asks for just such a socket, by what the kernel says of it. Takes the descriptors
 * over, and closes those that nobody asks for.
 */
export function salvage(fds: readonly number[], reservations: Iterable<Reservation>): Stored[] {
  const found = new Map<string, number[]>();
  // Of two vaults each has its own descriptors of a socket.
  const known = new Set<number>();
  for (const fd of fds) {
    const inode = native.inode(fd);
    append(found, known.has(inode) ? '' : kindOf(fd), fd);
    known.add(inode);
  }
  const take = (kind: string): number | undefined => found.get(kind)?.shift();
  const stored: Stored[] = [];
  for (const reservation of reservations) {
    const taken = holdRequests(reservation).flatMap((request) => {
      const { spec } = request;
      const address = resolveAddress(spec);
      const fd = take(wantedKind(request, address));
      if (fd === undefined) return [];
      // In the vault a guard comes behind its socket.
      const guard = request.guarded ? take(wantedKind(request, guardAddress(request, address))) : undefined;
      return [{ spec, fd, guard }];
    });
    if (taken.length === 0) continue;
    stored.push({
      reservation: { ...reservation, sockets: taken.map(({ spec }) => spec) },
      fds: taken.map(({ fd }) => fd),
      guards: taken.map(({ guard }) => guard),
    });
  }
  for (const fd of [...found.values()].flat()) closeSync(fd);
  return stored;
}

/** See native.guardDatagrams. */
function guardAddress({ spec }: HoldRequest, address: BoundAddress): BoundAddress {
  if (spec.type !== 'datagram' || address.family !== 'inet') return address;
  return { family: 'inet6', host: `::ffff:${address.host}`, port: address.port };
}

function wantedKind({ spec, options }: HoldRequest, address: BoundAddress): string {
  const only = address.family === 'inet6' && (address.only === true || !isDual(options.bindIPv6Only));
  const { bindToDevice } = options;
  const device = bindToDevice === undefined ? 0 : native.interfaceIndex(bindToDevice);
  return kind(typeOf(spec), protocolOf(spec), address, only, device);
}

/** Empty of what is no bound socket. */
function kindOf(fd: number): string {
  const facts = native.socketFacts(fd);
  if (facts === undefined || facts.name.length === 0) return '';
  const address = native.getsockname(fd);
  return kind(facts.type, facts.protocol, address, facts.v6only, native.isDeaf(fd) ? 0 : facts.device);
}

/** IPV6_V6ONLY tells of the wildcard only, and the interface where the address does not. */
function kind(type: number, protocol: number, address: BoundAddress, only: boolean, device: number): string {
  switch (address.family) {
    case 'inet':
      return JSON.stringify([type, protocol, address.host, address.port, device]);
    case 'inet6': {
      const { host, port, scope } = address;
      return JSON.stringify([type, protocol, host, port, scope ?? device, host === '::' && only]);
    }
    case 'unix':
      return JSON.stringify([type, 'path', address.path]);
    case 'abstract':
      return JSON.stringify([type, 'abstract', address.name]);
  }
}
