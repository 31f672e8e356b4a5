import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
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
 * The processes that have these sockets open, by inode, from a look through /proc/PID/fd: what is not ours to see
 * (ptrace(2), PTRACE_MODE_READ_FSCREDS) is passed over. Slow with many processes: for messages and rare events only.
 */
export function socketOwners(inodes: ReadonlySet<number>): Map<number, number[]> {
  const owners = new Map<number, number[]>();
  for (const pid of readdirSync('/proc').map(Number)) {
    if (!(pid > 0)) continue;
    for (const inode of new Set(socketsOf(pid))) {
      if (!inodes.has(inode)) continue;
      const pids = owners.get(inode);
      if (pids === undefined) owners.set(inode, [pid]);
      else pids.push(pid);
    }
  }
  return owners;
}

/** The processes, this one left out, that have any of these sockets open. */
export function otherOwners(inodes: ReadonlySet<number>): number[] {
  return [...new Set([...socketOwners(inodes).values()].flat())].filter((pid) => pid !== process.pid);
}

function socketsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      const match = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`));
      return match === null ? [] : [Number(match[1])];
    });
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
