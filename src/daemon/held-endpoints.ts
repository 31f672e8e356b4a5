import { native } from '../native/index.js';
import { makeEndpoint, parseAddress } from './bind-match.js';
import type { Endpoint } from './bind-match.js';
import type { HeldSocket } from './held-socket.js';

/** A held socket as the address that a program's bind(2) is compared with. */
export interface HeldEndpoint extends Endpoint {
  readonly socket: HeldSocket;
}

interface KnownSocket {
  readonly inode: number;
  readonly netns: bigint;
  readonly endpoint: Endpoint;
}

/** What never changes of a socket that is bound; a service of another mode may have connected it when it was asked. */
const known = new WeakMap<HeldSocket, KnownSocket>();

function know(socket: HeldSocket): KnownSocket | undefined {
  const before = known.get(socket);
  if (before?.inode === socket.inode) return before;
  const facts = native.socketFacts(socket.fd);
  const at = facts === undefined ? undefined : parseAddress(facts.name, facts.domain);
  if (facts === undefined || at === undefined) return undefined;
  // A deaf one has no scope that counts.
  const endpoint = makeEndpoint({ ...facts, device: 0 }, { ...at, scope: 0 }, facts.v6only);
  const now = { inode: socket.inode, netns: facts.netns, endpoint };
  known.set(socket, now);
  return now;
}

/** Those of them in that network namespace, by its cookie (SO_NETNS_COOKIE). */
export function endpointsOf(sockets: readonly HeldSocket[], netns: bigint): HeldEndpoint[] {
  const found: HeldEndpoint[] = [];
  for (const socket of sockets) {
    const of = know(socket);
    if (of?.netns === netns) found.push({ ...of.endpoint, device: socket.yielding.device, socket });
  }
  return found;
}

/** All descriptors of them: a hold and what guards it. They stay the sockets'. */
export function fdsOf(found: readonly HeldEndpoint[]): number[] {
  const fds: number[] = [];
  for (const { socket } of found) for (const fd of socket.fds) fds.push(fd);
  return fds;
}

/** They are asked again: somebody else may have connected one since. */
export function forget(sockets: readonly HeldSocket[]): void {
  for (const socket of sockets) known.delete(socket);
}
