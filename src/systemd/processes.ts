import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { native } from '../native/index.js';
import { unitOfProcess } from './cgroup.js';

/** A process as messages name it. */
export interface ProcessName {
  readonly pid: number;
  readonly command: string;
  readonly unit?: string;
}

/** The name of a process, without the control characters that it may have put in; `?` when it has gone. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8')
      .trimEnd()
      .replaceAll(/\p{Cc}/gu, '?');
  } catch {
    return '?';
  }
}

export function nameProcess(pid: number): ProcessName {
  const unit = unitOfProcess(pid)?.unit;
  return { pid, command: commandOf(pid), ...(unit === undefined ? {} : { unit }) };
}

/** `pid 812 rpcbind (rpcbind.service)` */
export function describeProcess({ pid, command, unit }: ProcessName): string {
  return `pid ${pid} ${command}${unit === undefined ? '' : ` (${unit})`}`;
}

/**
 * Which processes have one of these sockets open, by inode, by a look through /proc/PID/fd: what is not ours to see
 * (ptrace(2), PTRACE_MODE_READ_FSCREDS) is passed over, and so is the process `except`. Slow with many processes: for messages and rare events only.
 * With `most`, no more than about that many descriptors are looked at.
 */
export function processesWithSockets(inodes: Iterable<number>, except = 0, most = 0): Map<number, number[]> {
  const found = new Map<number, number[]>();
  const pairs = native.socketHolders([...inodes], except, most);
  for (let index = 0; index < pairs.length; index += 2) {
    const [pid = 0, inode = 0] = pairs.slice(index, index + 2);
    const pids = found.get(inode);
    if (pids === undefined) found.set(inode, [pid]);
    else if (!pids.includes(pid)) pids.push(pid);
  }
  return found;
}

/**
 * The same of those that have them for their own use. Between fork(2) and execve(2) a child of PID 1 has all that PID 1
 * has, and so what is in the fd stores of other units; it may be a service afterwards, and live on without it.
 */
export function usersOfSockets(inodes: Iterable<number>, except = 0): Map<number, number[]> {
  const before = processesWithSockets(inodes, except);
  const others = new Set([...before.values()].flat());
  for (const pid of others) if (isManager(pid)) others.delete(pid);
  if (others.size === 0) return new Map();
  // A child that was no manager any more when it was looked at, but one before, has none of them by now.
  const users = new Map<number, number[]>();
  for (const [inode, pids] of processesWithSockets(before.keys(), except)) {
    const lasting = pids.filter((pid) => others.has(pid));
    if (lasting.length > 0) users.set(inode, lasting);
  }
  return users;
}

/** Whether it is a systemd, PID 1 or a user's, or a child of one that is to become something else. */
function isManager(pid: number): boolean {
  try {
    if (!/\/systemd( \(deleted\))?$/.test(readlinkSync('/proc/1/exe'))) return pid === 1;
    const [one, other] = [statSync('/proc/1/exe'), statSync(`/proc/${pid}/exe`)];
    return one.ino === other.ino && one.dev === other.dev;
  } catch {
    return pid === 1;
  }
}

/**
 * The inodes of the AF_UNIX sockets of this network namespace with a name (`/PATH` or `@NAME`), out of /proc/net/unix:
 * `Num RefCount Protocol Flags Type St Inode Path`. Accepted connections bear the name too; `unconnected` leaves them out.
 */
export function unixSockets(name: string, which: 'all' | 'unconnected' = 'all'): number[] {
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(' '))
    .map((fields) => ({ state: fields[5], rest: fields.slice(6).join(' ').trimStart() }))
    .filter(
      ({ state, rest }) => rest.slice(rest.indexOf(' ') + 1) === name && (which === 'all' || state === '01'),
    )
    .map(({ rest }) => parseInt(rest, 10));
}
