import { closeSync } from 'node:fs';
import { BerthError, messageOf } from '../model/errors.js';
import { constant, native } from '../native/index.js';
import type { UnitCgroup } from '../systemd/cgroup.js';
import { unitOfProcess } from '../systemd/cgroup.js';

/** The process that connected, by the kernel's word. */
export interface Peer {
  readonly pid: number;
  readonly uid: number;
  /** The unit that it belongs to; undefined when it belongs to none, and outside systemd. */
  readonly unit?: UnitCgroup;
  /** Takes the pidfd over: it is the caller's from then on, and no longer closed by release(). */
  takePidfd(): number;
  /** Closes the pidfd, unless it was taken. */
  release(): void;
}

/**
 * Finds out who connected. The pidfd pins the process: when it still lives after /proc/PID/cgroup was read, it was its
 * cgroup and not that of a process which got its number later. Throws `Denied` when the peer has gone.
 */
export function identifyPeer(connection: number): Peer {
  const { pid, uid } = native.peer(connection);
  let pidfd = native.peerPidfd(connection, pid);
  if (pidfd === undefined) throw gone(pid);
  const release = (): void => {
    if (pidfd !== undefined) closeSync(pidfd);
    pidfd = undefined;
  };
  const unit = unitOrRelease(pid, release);
  // A pidfd is readable from the end of its process on (pidfd_open(2)).
  if ((native.pollNow(pidfd) & constant('POLLIN')) !== 0) {
    release();
    throw gone(pid);
  }
  return {
    pid,
    uid,
    ...(unit === undefined ? {} : { unit }),
    takePidfd: () => {
      if (pidfd === undefined) throw new Error('the pidfd has been taken already');
      const taken = pidfd;
      pidfd = undefined;
      return taken;
    },
    release,
  };
}

function unitOrRelease(pid: number, release: () => void): UnitCgroup | undefined {
  try {
    return unitOfProcess(pid);
  } catch (error) {
    release();
    throw new BerthError('Failed', `it cannot be told which unit pid ${pid} is of: ${messageOf(error)}`);
  }
}

function gone(pid: number): BerthError {
  return new BerthError('Denied', `pid ${pid}, which asked, has gone`);
}
