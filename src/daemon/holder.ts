import { constant, native } from '../native/index.js';
import { isSystemError } from '../model/errors.js';
import type { SocketSpec } from '../model/reservation.js';
import { describeProcess, nameProcess, processesWithSockets, unixSockets } from '../systemd/processes.js';

/** Who keeps a socket from being bound: the process, if it may be seen, and how messages call it. */
export interface Holder {
  readonly pid: number;
  readonly description: string;
}

/** A tenth of a second of looking. Whoever is in the way can have millions of descriptors open. */
const maxDescriptors = 100_000;

/**
 * Finds who has the addresses that bind(2) refused with EADDRINUSE, by one look for all of them. Undefined where that cannot
 * be found out: a socket of the kernel's own or of another mount of the same network namespace, one that berthd may not look
 * at, or one behind too many others.
 */
export function findHolders(specs: readonly SocketSpec[]): (Holder | undefined)[] {
  const inodes = specs.map(inodesOn);
  const all = new Set(inodes.flat());
  if (all.size === 0) return specs.map(() => undefined);
  const holders = processesWithSockets(all, process.pid, maxDescriptors);
  return inodes.map((own) => {
    const [pid] = own.flatMap((inode) => holders.get(inode) ?? []);
    return pid === undefined ? undefined : { pid, description: describeProcess(nameProcess(pid)) };
  });
}

function inodesOn({ address, type }: SocketSpec): number[] {
  if (address.family === 'unix' || address.family === 'abstract') {
    return unixSockets(address.family === 'unix' ? address.path : `@${address.name}`);
  }
  const isInTheWay = (other: string): boolean =>
    address.family === 'any' ||
    isWildcard(address.host) ||
    isWildcard(other) ||
    plain(other) === address.host;
  const protocol = constant(type === 'datagram' ? 'IPPROTO_UDP' : 'IPPROTO_TCP');
  try {
    return native
      .socketsOn(protocol, address.port)
      .filter((socket) => socket.inode !== 0 && 'host' in socket.address && isInTheWay(socket.address.host))
      .map(({ inode }) => inode);
  } catch (error) {
    // sock_diag is a module of its own, which a sandbox may keep from being loaded. The name is all that is lost.
    if (isSystemError(error)) return [];
    throw error;
  }
}

function isWildcard(host: string): boolean {
  return host === '::' || host === '0.0.0.0';
}

/** An IPv4 address as an IPv6 socket has it, `::ffff:127.0.0.1`, without the prefix. */
function plain(host: string): string {
  return host.replace(/^::ffff:(?=\d+\.)/, '');
}
