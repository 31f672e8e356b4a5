import { constant, native } from '../native/index.js';
import { isSystemError } from '../model/errors.js';
import type { SocketSpec } from '../model/reservation.js';
import { describeProcess, nameProcess, processesWithSockets, unixSockets } from '../systemd/processes.js';

/** Who keeps a socket from being bound: the process, if it may be seen, and how messages call it. */
export interface Holder {
  readonly pid: number;
  readonly description: string;
}

/**
 * Finds who has the address that bind(2) refused with EADDRINUSE. Undefined when that cannot be found out: a socket of
 * the kernel's own or of another mount of the same network namespace, or one that berthd may not look at.
 */
export function findHolder(spec: SocketSpec): Holder | undefined {
  const inodes = new Set(inodesOn(spec));
  if (inodes.size === 0) return undefined;
  const [pid] = [...processesWithSockets(inodes, process.pid).values()].flat();
  return pid === undefined ? undefined : { pid, description: describeProcess(nameProcess(pid)) };
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
