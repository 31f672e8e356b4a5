import { closeSync } from 'node:fs';
import { BerthError, messageOf } from '../model/errors.js';
import { native } from '../native/index.js';
import type { UnitCgroup } from '../systemd/cgroup.js';
import { unitOfText } from '../systemd/cgroup.js';

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
 * Finds out who connected, by the kernel's word: native.identify says why it cannot be somebody else. Throws `Denied` when
 * the peer has gone.
 */
export function identifyPeer(connection: number): Peer {
  const found = identified(connection);
  if (found === undefined)
    throw new BerthError('Denied', `pid ${native.peer(connection).pid}, which asked, has gone`);
  const { pid, uid } = found;
  const unit = unitOfText(found.cgroup);
  let pidfd: number | undefined = found.pidfd;
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
    release: () => {
      if (pidfd !== undefined) closeSync(pidfd);
      pidfd = undefined;
    },
  };
}

/** A shortage of descriptors or memory makes nobody a stranger. */
function identified(connection: number): ReturnType<typeof native.identify> {
  try {
    return native.identify(connection);
  } catch (error) {
    throw new BerthError(
      'Failed',
      `it cannot be told which unit pid ${native.peer(connection).pid} is of: ${messageOf(error)}`,
    );
  }
}
