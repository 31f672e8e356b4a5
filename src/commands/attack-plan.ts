import { networkInterfaces } from 'node:os';
import type { SocketType } from '../model/reservation.js';
import { constant, native, type BoundAddress, type DiagSocket } from '../native/index.js';
import { BerthError, isSystemError } from '../model/errors.js';

/** One address to try to get, in every disguise. */
export interface Aim {
  readonly address: BoundAddress;
  readonly v6only: boolean;
}

/** A held socket, and all that must not be had while it is held. */
export interface Target {
  readonly type: SocketType;
  /** The numbers of IPPROTO_*, each of which is tried. */
  readonly protocols: readonly number[];
  readonly aims: readonly Aim[];
  /** An interface to be bound to, in turn with none. */
  readonly device?: string;
}

const kinds: Readonly<Record<string, { readonly type: SocketType; readonly protocols: readonly string[] }>> =
  {
    // An MPTCP socket binds a TCP one.
    tcp: { type: 'stream', protocols: ['IPPROTO_TCP', 'IPPROTO_MPTCP'] },
    mptcp: { type: 'stream', protocols: ['IPPROTO_TCP', 'IPPROTO_MPTCP'] },
    udp: { type: 'datagram', protocols: ['IPPROTO_UDP'] },
    udplite: { type: 'datagram', protocols: ['IPPROTO_UDPLITE'] },
    sctp: { type: 'stream', protocols: ['IPPROTO_SCTP'] },
    unix: { type: 'stream', protocols: [] },
    'unix-dgram': { type: 'datagram', protocols: [] },
    'unix-seqpacket': { type: 'seqpacket', protocols: [] },
  };

/**
 * What to try against a socket as berthd calls it, `tcp 127.0.0.1:631`. Only what it keeps others from: the IPv6 side of
 * an IPv4 reservation was never promised. Where the kernel tells how the socket is bound, that counts.
 */
export function planAttack(socket: string, inode: number): Target {
  const [, word = '', rest = ''] = /^(\S+) (.*)$/s.exec(socket) ?? [];
  const kind = kinds[word];
  if (kind === undefined)
    throw new BerthError('Failed', `'${socket}' is of a kind that this version does not know`);
  const protocols = kind.protocols.map(constant);
  if (word.startsWith('unix')) {
    const address: BoundAddress = rest.startsWith('@')
      ? { family: 'abstract', name: rest.slice(1) }
      : { family: 'unix', path: rest };
    return { type: kind.type, protocols: [0], aims: [{ address, v6only: false }] };
  }
  const [, bound = '', digits] = /^(.*):(\d+)$/.exec(rest) ?? [];
  const port = Number(digits);
  const known = diagnose(protocols[0] ?? 0, port, inode);
  const host = known !== undefined && 'host' in known.address ? known.address.host : plainHost(bound);
  const device = known === undefined || known.device === 0 ? 'lo' : deviceName(known.device);
  return {
    type: kind.type,
    protocols,
    aims: aimsAt(host, port, known?.v6only ?? false),
    ...(device === undefined ? {} : { device }),
  };
}

/** Every address that a socket bound to `host` keeps, and the wildcards that would take it in. */
export function aimsAt(host: string, port: number, v6only: boolean): Aim[] {
  const inet = (address: string): Aim => ({
    address: { family: 'inet', host: address, port },
    v6only: false,
  });
  const inet6 = (address: string, only = false): Aim => ({
    address: { family: 'inet6', host: address, port },
    v6only: only,
  });
  const own = ownAddresses();
  const all4 = [
    inet('0.0.0.0'),
    inet('127.0.0.1'),
    ...own.inet.map(inet),
    inet6('::ffff:0.0.0.0'),
    inet6('::ffff:127.0.0.1'),
    inet6('::'),
  ];
  const all6 = [inet6('::', true), inet6('::1'), ...own.inet6.map((address) => inet6(address))];
  if (host === '0.0.0.0') return all4;
  if (host === '::') return v6only ? [inet6('::'), ...all6] : [...all4, ...all6];
  return host.includes(':')
    ? [inet6(host), inet6('::'), inet6('::', true)]
    : [inet(host), inet('0.0.0.0'), inet6(`::ffff:${host}`), inet6('::')];
}

/** One address of each family that the machine has beside its loopback. */
function ownAddresses(): { inet: string[]; inet6: string[] } {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const of = (family: 'IPv4' | 'IPv6'): string[] =>
    all
      .filter((each) => each.family === family && !each.internal && !/^fe80:/i.test(each.address))
      .map(({ address }) => address)
      .slice(0, 1);
  return { inet: of('IPv4'), inet6: of('IPv6') };
}

function diagnose(protocol: number, port: number, inode: number): DiagSocket | undefined {
  try {
    return native.socketsOn(protocol, port).find((socket) => socket.inode === inode);
  } catch (error) {
    if (isSystemError(error)) return undefined;
    throw error;
  }
}

function plainHost(bound: string): string {
  return bound === '*' ? '::' : bound.replace(/^\[(.*?)(%.*)?\]$/, '$1');
}

function deviceName(index: number): string | undefined {
  return Object.keys(networkInterfaces()).find((name) => {
    try {
      return native.interfaceIndex(name) === index;
    } catch {
      return false;
    }
  });
}
