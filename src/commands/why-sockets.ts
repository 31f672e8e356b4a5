import { release } from 'node:os';
import { isSystemError } from '../model/errors.js';
import { constant, native, type BoundAddress, type DiagSocket } from '../native/index.js';
import { foreignSockets } from '../systemd/net-namespaces.js';
import {
  inspectProcess,
  seesAllProcesses,
  userName,
  type ProcessDetails,
} from '../systemd/process-details.js';
import { processesWithSockets } from '../systemd/processes.js';
import { overlaps, type Wanted } from './why-port.js';
import type { Reservations } from './why-reservations.js';

/**
 * What stands on a port, the one that decides first. `held`: by berth. `listener`: it takes connections or datagrams.
 * `bound`: a TCP socket that is bound and silent. `client`: the local end of a connection. `kernel`: no process has it.
 * `hidden`: of a process that may not be seen. `closing`: what is left of a connection, TIME_WAIT above all.
 * `connection`: what a listener on the same port has accepted. `elsewhere`: in another network namespace.
 */
export const kinds = [
  'held',
  'listener',
  'bound',
  'client',
  'kernel',
  'hidden',
  'closing',
  'connection',
  'elsewhere',
] as const;
export type Kind = (typeof kinds)[number];

/** One socket on the port, or `count` that are alike. */
export interface Occupant {
  readonly kind: Kind;
  readonly address: string;
  readonly peer?: string;
  readonly count: number;
  readonly inode: number;
  readonly user: string;
  readonly processes: readonly ProcessDetails[];
  /** Of berth's, where it is known. */
  readonly reservation?: string;
  /** The inode of the other network namespace. */
  readonly namespace?: number;
  /** A process in that namespace, where it is not known which one has the socket. */
  readonly member?: number;
}

export interface Occupants {
  readonly occupants: readonly Occupant[];
  /** What could not be seen, for people. */
  readonly unseen: readonly string[];
}

/** The numbers of <netinet/tcp.h>. */
const listening = 10;
const idle = 7;
const closings: readonly number[] = [4, 5, 6, 9, 11];

/** The uids that berthd gives its sockets, one to each: 0x80000000 to 0xbfffffff (LONELY in src/native/addon/sharing.c). */
function isBerths({ uid, peer }: DiagSocket): boolean {
  return uid >= 0x80000000 && uid < 0xc0000000 && peer === undefined;
}

/** A server has thousands of connections: of what is alike, no more is told one by one. */
const maxEach = 8;

/** Everything on the port in this network namespace and in the others that can be seen. */
export function occupantsOf(wanted: Wanted, { byInode }: Reservations): Occupants {
  const { protocol, port, host } = wanted;
  const unseen: string[] = [];
  const all = seesAllProcesses();
  const found = diagnose(wanted, unseen);
  const places = new Set(found.filter(({ inode }) => byInode.has(inode)).map(placeOf));
  // Beside what berthd tells of there are its guards, which are nobody's business.
  const sockets = found.filter(
    (socket) => byInode.has(socket.inode) || !isBerths(socket) || !places.has(placeOf(socket)),
  );
  const owners = processesWithSockets(sockets.map(({ inode }) => inode).filter((inode) => inode !== 0));
  const served = protocol === 'tcp' && sockets.some(({ state }) => state === listening);

  const kindOf = (socket: DiagSocket): Kind => {
    const { inode, state, peer } = socket;
    if (byInode.has(inode) || isBerths(socket)) return 'held';
    if (protocol === 'tcp' && inode === 0 && closings.includes(state)) return 'closing';
    if (served && peer !== undefined) return 'connection';
    if (!owners.has(inode)) return process.geteuid?.() === 0 ? 'kernel' : 'hidden';
    if (peer !== undefined) return 'client';
    return protocol === 'tcp' && state === idle ? 'bound' : 'listener';
  };

  const occupants = sockets.map((socket): Occupant => {
    const { inode, uid, peer } = socket;
    const reservation = byInode.get(inode);
    return {
      kind: kindOf(socket),
      address: describe(socket.address),
      ...(peer === undefined ? {} : { peer: describe(peer) }),
      count: 1,
      inode,
      user: userName(uid),
      processes: (owners.get(inode) ?? []).slice(0, maxEach).map(inspectProcess),
      ...(reservation === undefined ? {} : { reservation }),
    };
  });
  if (occupants.some(({ kind }) => kind === 'hidden'))
    unseen.push('whose it is: only root may look at the processes of other users');
  if (process.geteuid?.() === 0 && !all && occupants.some(({ kind }) => kind === 'kernel'))
    unseen.push('processes outside of this pid namespace: what has no process here may have one there');

  const foreign = foreignSockets(protocol, port);
  const elsewhere = foreign.found
    .filter(({ address, state }) => [listening, idle].includes(state) && overlaps(host, address, false))
    .map(({ address, inode, namespace, member, pid }): Occupant => {
      const details = inspectProcess(pid ?? member);
      const seen = pid === undefined ? { member } : {};
      return {
        kind: 'elsewhere',
        address: `${address.includes(':') ? `[${address}]` : address}:${port}`,
        count: 1,
        inode,
        user: details.user ?? '?',
        processes: pid === undefined ? [] : [details],
        namespace,
        ...seen,
      };
    });
  return { occupants: summarize([...occupants, ...elsewhere]), unseen: [...unseen, ...foreign.gaps] };
}

function diagnose({ protocol, port, host }: Wanted, unseen: string[]): DiagSocket[] {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (protocol === 'tcp' && (major < 6 || (major === 6 && minor < 8)))
    unseen.push('TCP sockets that are bound and silent: only Linux 6.8 and later tells of them');
  try {
    return native
      .socketsOn(constant(protocol === 'tcp' ? 'IPPROTO_TCP' : 'IPPROTO_UDP'), port)
      .filter(({ address, v6only }) => 'host' in address && overlaps(host, address.host, v6only));
  } catch (error) {
    if (!isSystemError(error)) throw error;
    unseen.push(`any socket: the kernel refuses sock_diag(7) (${error.code})`);
    return [];
  }
}

/** In the order of kinds; many of one kind and address become one with a count. */
function summarize(occupants: readonly Occupant[]): Occupant[] {
  const sorted = [...occupants].sort((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
  const groups = new Map<string, Occupant[]>();
  for (const each of sorted) {
    const key = `${each.kind} ${each.address}`;
    const alike = groups.get(key);
    if (alike === undefined) groups.set(key, [each]);
    else alike.push(each);
  }
  return [...groups.values()].flatMap((alike) => {
    const [first] = alike;
    if (first === undefined || alike.length <= maxEach) return alike;
    return [{ ...first, peer: 'several', count: alike.length }];
  });
}

/** A guard of an IPv4 datagram socket is on the mapped address. */
function placeOf({ address }: DiagSocket): string {
  return describe(address).replace(/^\[::ffff:(.*)\]/, '$1');
}

function describe(address: BoundAddress): string {
  if (!('host' in address)) return '?';
  const { host, port } = address;
  const scope = address.family === 'inet6' && address.scope !== undefined ? `%${address.scope}` : '';
  return host.includes(':') ? `[${host}${scope}]:${port}` : `${host}:${port}`;
}
