import { readdirSync, readFileSync } from 'node:fs';
import { constant, native, type BoundAddress } from '../native/index.js';
import { processesWithSockets } from './processes.js';

/** An IP socket of this network namespace that waits for clients. */
export interface Listener {
  readonly type: 'stream' | 'datagram';
  readonly address: BoundAddress & { readonly family: 'inet' | 'inet6' };
  /** Whether an IPv6 wildcard leaves IPv4 alone. */
  readonly v6only: boolean;
  /** The interface that it is bound to. */
  readonly device?: string;
  /** 0 for a socket of the kernel's own. */
  readonly inode: number;
  /** The processes that have it open, of those that may be seen. */
  readonly pids: readonly number[];
}

/** States of <netinet/tcp.h>; a UDP socket without a peer is in the second. */
const listening = 10;
const closed = 7;

/** TCP sockets that listen and UDP sockets without a peer, by sock_diag(7) and /proc. Throws SystemError. */
export function listListeners(): Listener[] {
  const devices = deviceNames();
  const found = (['stream', 'datagram'] as const).flatMap((type) =>
    native
      .socketsOn(constant(type === 'stream' ? 'IPPROTO_TCP' : 'IPPROTO_UDP'), 0)
      .filter(({ state }) => state === (type === 'stream' ? listening : closed))
      .flatMap(({ address, inode, v6only, device: index }): Omit<Listener, 'pids'>[] => {
        if (address.family !== 'inet' && address.family !== 'inet6') return [];
        const device = devices.get(index);
        return [{ type, address, inode, v6only, ...(device === undefined ? {} : { device }) }];
      }),
  );
  const holders = processesWithSockets(
    new Set(found.map(({ inode }) => inode).filter((inode) => inode !== 0)),
  );
  return found.map((each) => ({ ...each, pids: holders.get(each.inode) ?? [] }));
}

function deviceNames(): Map<number, string> {
  return new Map(
    readdirSync('/sys/class/net').flatMap((name) => {
      try {
        return [[Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8')), name] as const];
      } catch {
        return []; // removed meanwhile, or a file such as bonding_masters
      }
    }),
  );
}

/** The range from which the kernel takes a port where a program asks for any (ip(7), ip_local_port_range). */
export function ephemeralRange(): { readonly first: number; readonly last: number } {
  const [first = 32768, last = 60999] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
    .trim()
    .split(/\s+/)
    .map(Number);
  return { first, last };
}
