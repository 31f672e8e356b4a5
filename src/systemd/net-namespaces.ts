import { closeSync, openSync, readdirSync, readlinkSync, readSync, statSync } from 'node:fs';
import { count } from '../model/text.js';
import { processesWithSockets } from './processes.js';

/** A socket of another network namespace, with a process of that namespace, and the one that has it open if any shows. */
export interface ForeignSocket {
  readonly namespace: number;
  readonly member: number;
  readonly address: string;
  readonly state: number;
  readonly inode: number;
  readonly pid?: number;
}

export interface ForeignSockets {
  readonly found: readonly ForeignSocket[];
  /** How many namespaces were looked into. */
  readonly seen: number;
  /** Why there may be more, for people. */
  readonly gaps: readonly string[];
}

const maxNamespaces = 256;
const maxTableBytes = 4 * 1024 * 1024;

/**
 * Looks for a port in the other network namespaces that processes are in, through /proc/PID/net: that needs no setns(2).
 * TCP sockets that are bound and silent do not stand in those tables.
 */
export function foreignSockets(protocol: 'tcp' | 'udp', port: number): ForeignSockets {
  const { members, hidden } = namespaces();
  const gaps: string[] = [];
  if (hidden > 0)
    gaps.push(
      process.geteuid?.() === 0
        ? `the network namespaces of ${count(hidden, 'process', 'processes')}, which root may not look at here`
        : 'the network namespaces of other users, which only root may look into',
    );
  const unnamed = namedNamespaces().filter((inode) => !members.has(inode)).length;
  if (unnamed > 0) gaps.push(`${count(unnamed, 'network namespace')} in /run/netns without a process`);
  if (members.size > maxNamespaces)
    gaps.push(`${members.size - maxNamespaces} of ${members.size} network namespaces`);
  const found: ForeignSocket[] = [];
  let seen = 0;
  for (const [namespace, member] of [...members].slice(0, maxNamespaces)) {
    try {
      for (const table of [protocol, `${protocol}6`]) {
        for (const line of readTable(`/proc/${member}/net/${table}`).split('\n').slice(1)) {
          const socket = parseLine(line, port);
          if (socket !== undefined) found.push({ namespace, member, ...socket });
        }
      }
      seen++;
    } catch {
      // The process has gone, and maybe the namespace with it.
    }
  }
  const owners = processesWithSockets(found.map(({ inode }) => inode));
  return {
    found: found.map((socket) => {
      const [pid] = owners.get(socket.inode) ?? [];
      return pid === undefined ? socket : { ...socket, pid };
    }),
    seen,
    gaps,
  };
}

/** One process for each other network namespace, by the inode of the namespace, and how many processes hide theirs. */
function namespaces(): { members: Map<number, number>; hidden: number } {
  const members = new Map<number, number>();
  const own = namespaceOf('self');
  let hidden = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const inode = namespaceOf(name);
      if (inode !== undefined && inode !== own && !members.has(inode)) members.set(inode, Number(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EACCES') hidden++;
    }
  }
  return { members, hidden };
}

function namespaceOf(process: string): number | undefined {
  const inode = /^net:\[(\d+)\]$/.exec(readlinkSync(`/proc/${process}/ns/net`))?.[1];
  return inode === undefined ? undefined : Number(inode);
}

/** Those that ip-netns(8) keeps. */
function namedNamespaces(): number[] {
  try {
    return readdirSync('/run/netns').map((name) => statSync(`/run/netns/${name}`).ino);
  } catch {
    return [];
  }
}

function readTable(path: string): string {
  const fd = openSync(path, 'r');
  try {
    const chunks: string[] = [];
    const chunk = Buffer.alloc(65536);
    for (let total = 0; total < maxTableBytes;) {
      const length = readSync(fd, chunk);
      if (length === 0) break;
      chunks.push(chunk.toString('latin1', 0, length));
      total += length;
    }
    return chunks.join('');
  } finally {
    closeSync(fd);
  }
}

/** A line of /proc/net/tcp and the like: `sl local_address rem_address st … uid timeout inode` (proc(5)). */
export function parseLine(
  line: string,
  port: number,
): { address: string; state: number; inode: number } | undefined {
  const [, local = '', , state = '', , , , , , inode = ''] = line.trim().split(/\s+/);
  const [host = '', hex = ''] = local.split(':');
  if (parseInt(hex, 16) !== port) return undefined;
  return { address: readHost(host), state: parseInt(state, 16), inode: Number(inode) };
}

/** The kernel prints each word of four bytes in the byte order of the machine. */
function readHost(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  if (littleEndian) bytes.swap32();
  if (bytes.length === 4) return bytes.join('.');
  const words = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  return new URL(`http://[${words.join(':')}]/`).hostname.slice(1, -1);
}

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
