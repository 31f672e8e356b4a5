import { readFileSync, statSync } from 'node:fs';
import { native } from '../native/index.js';
import { nameProcess } from './processes.js';
import type { ProcessName } from './processes.js';

/** A process as an admin wants to know it. `since` is when it started, in milliseconds of the epoch. */
export interface ProcessDetails extends ProcessName {
  readonly uid?: number;
  readonly user?: string;
  readonly since?: number;
}

/** USER_HZ, which every architecture of today has at 100 (time(7)); field 22 of /proc/PID/stat counts in it. */
const ticksPerSecond = 100;

/** What cannot be read, because the process has gone, is left out. */
export function inspectProcess(pid: number): ProcessDetails {
  const uid = userOf(pid);
  const since = startOf(pid);
  return {
    ...nameProcess(pid),
    ...(uid === undefined ? {} : { uid, user: userName(uid) }),
    ...(since === undefined ? {} : { since }),
  };
}

/** A user's name, else the number. */
export function userName(uid: number): string {
  return native.userName(uid) ?? String(uid);
}

function userOf(pid: number): number | undefined {
  try {
    return statSync(`/proc/${pid}`).uid;
  } catch {
    return undefined;
  }
}

function startOf(pid: number): number | undefined {
  try {
    // The command before it may hold blanks and parentheses (proc(5)).
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\)\s/s, '')
      .split(' ');
    const boot = /^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'latin1'))?.[1];
    const ticks = Number(fields[19]);
    if (boot === undefined || !Number.isFinite(ticks)) return undefined;
    return Math.round((Number(boot) + ticks / ticksPerSecond) * 1000);
  } catch {
    return undefined;
  }
}

/** The kernel's PROC_PID_INIT_INO: processes outside of another pid namespace cannot be seen. */
const initialPidNamespace = 0xeffffffc;

/** Whether every process of the machine is to be seen in /proc, with what it has open. */
export function seesAllProcesses(): boolean {
  try {
    return process.geteuid?.() === 0 && statSync('/proc/self/ns/pid').ino === initialPidNamespace;
  } catch {
    return false;
  }
}
