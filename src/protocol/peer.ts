import { closeSync } from 'node:fs';
import { BerthError, messageOf } from '../model/errors.js';
import { native } from '../native/index.js';
import type { UnitCgroup } from '../systemd/cgroup.js';
import { unitOfNumber } from '../systemd/cgroup-numbers.js';

/** The process that connected, by the kernel's word. */
export interface Peer {
  readonly pid: number;
  readonly uid: number;
  /** The unit that it belongs to; undefined when it belongs to none, and outside systemd. */
  readonly unit?: UnitCgroup | undefined;
  /** Takes the pidfd over: it is the caller's from then on, and no longer closed by release(). */
  takePidfd(): number;
  /** Closes the pidfd, unless it was taken. */
  release(): void;
}

class AttestedPeer implements Peer {
  readonly pid: number;
  readonly uid: number;
  readonly unit: UnitCgroup | undefined;
  #pidfd: number | undefined;

  constructor(pid: number, uid: number, unit: UnitCgroup | undefined, pidfd: number) {
    this.pid = pid;
    this.uid = uid;
    this.unit = unit;
    this.#pidfd = pidfd;
  }

  takePidfd(): number {
    if (this.#pidfd === undefined) throw new Error('the pidfd has been taken already');
    const taken = this.#pidfd;
    this.#pidfd = undefined;
    return taken;
  }

  release(): void {
    if (this.#pidfd !== undefined) closeSync(this.#pidfd);
    this.#pidfd = undefined;
  }
}

/** What native.identify tells, for as long as it is looked at. */
const facts = new Float64Array(4);

/**
 * Finds out who connected, by the kernel's word: native.identify says why it cannot be somebody else. Throws `Denied` when
 * the peer has gone.
 */
export function identifyPeer(connection: number): Peer {
  if (!told(connection, () => native.identify(connection, facts))) throw gone(connection);
  const [pid = 0, uid = 0, pidfd = 0, cgroup = 0] = facts;
  const read = (): string => {
    const text = told(connection, () => native.cgroupText(pid, pidfd));
    if (text === undefined) throw gone(connection);
    return text;
  };
  try {
    return new AttestedPeer(pid, uid, unitOfNumber(cgroup, read), pidfd);
  } catch (error) {
    closeSync(pidfd);
    throw error;
  }
}

/** A shortage of descriptors or memory makes nobody a stranger. */
function told<T>(connection: number, ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    throw new BerthError(
      'Failed',
      `it cannot be told which unit pid ${native.peer(connection).pid} is of: ${messageOf(error)}`,
    );
  }
}

function gone(connection: number): BerthError {
  return new BerthError('Denied', `pid ${native.peer(connection).pid}, which asked, has gone`);
}
