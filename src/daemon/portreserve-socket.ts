import { closeSync } from 'node:fs';
import { defaultOptions } from '../config/reservation.js';
import { isSystemError, messageOf } from '../model/errors.js';
import { count } from '../model/text.js';
import { constant, native, Readable } from '../native/index.js';
import type { Datagram, Watch } from '../native/index.js';
import { unitOfProcess } from '../systemd/cgroup.js';
import type { Attested } from './policy.js';
import { bindPath, cannotServe } from './unix-path.js';

/** The name of the socket that systemd passes, and the path of it that portreserve's portrelease sends to. */
export const portreserveSocketName = 'portreserve';

/** So many datagrams are read at once, and then none for a while: whoever sends more waits in front of the queue. */
const batch = 32;
const pauseMs = 10;
/** Complaints are for whoever looks into the log, and not for whoever sends to write it full. */
const quietMs = 60_000;

export interface PortreserveEvents {
  /** Somebody wants this service's ports released: a name, or `*`. Returns why not; undefined when it was done. */
  readonly release: (name: string, peer: Attested) => string | undefined;
  readonly report: (message: string) => void;
}

/**
 * The datagram socket of portreserve: each datagram is the name of a service, and nothing is answered. Who sent it is
 * what the kernel says (SCM_CREDENTIALS); a sender that is not root has to be alive still, for its unit to be known.
 */
export class PortreserveSocket {
  readonly #fd: number;
  readonly #events: PortreserveEvents;
  #watch: Watch | undefined;
  #pause: NodeJS.Timeout | undefined;
  /** Readable when the datagram has gone that is being discarded. */
  #discarding: number | undefined;
  #ignored = 0;
  #quietUntil = 0;

  /** Takes the socket over, which must not block. */
  constructor(fd: number, events: PortreserveEvents) {
    this.#fd = fd;
    this.#events = events;
    native.setOption(fd, constant('SOL_SOCKET'), constant('SO_PASSCRED'), 1);
    try {
      // Another berthd may have set it on the same socket. The addon has it on while it receives.
      native.setOption(fd, constant('SOL_SOCKET'), constant('SO_PASSPIDFD'), 0);
    } catch (error) {
      // Before Linux 6.5 there is no telling a sender from another process that got its number: root alone is served.
      if (!isSystemError(error)) throw error;
    }
    native.prepareDiscard();
    this.#listen();
  }

  close(): void {
    clearTimeout(this.#pause);
    this.#stop();
    this.#forget();
    closeSync(this.#fd);
  }

  #listen(): void {
    this.#watch = native.watch(this.#fd, Readable, () => {
      this.#read();
    });
  }

  #read(): void {
    for (let read = 0; read < batch; read++) {
      try {
        const datagram = native.receiveDatagram(this.#fd);
        if (datagram === undefined) return;
        if (datagram !== false) this.#take(datagram);
        else if (this.#discard()) return;
      } catch (error) {
        this.#ignore(messageOf(error));
        return;
      }
    }
    this.#stop();
    this.#pause = setTimeout(() => {
      this.#listen();
    }, pauseMs);
  }

  #stop(): void {
    if (this.#watch !== undefined) native.unwatch(this.#watch);
    this.#watch = undefined;
  }

  /** What comes with descriptors. True when nothing can be read before it has gone. */
  #discard(): boolean {
    this.#ignore('a name carries no descriptors');
    const done = native.discardDatagram(this.#fd);
    if (done === undefined) return false;
    this.#stop();
    this.#discarding = done;
    this.#watch = native.watch(done, Readable, () => {
      this.#stop();
      this.#forget();
      this.#listen();
    });
    return true;
  }

  #forget(): void {
    if (this.#discarding !== undefined) closeSync(this.#discarding);
    this.#discarding = undefined;
  }

  #take(datagram: Datagram): void {
    try {
      const name = datagram.data.toString('latin1');
      if (datagram.truncated || !/^(?:\*|[A-Za-z0-9_.@-]{1,255})$/.test(name))
        this.#ignore(`what uid ${datagram.uid} sends is no name of a service`);
      else {
        const refusal = this.#events.release(name, attested(datagram));
        if (refusal !== undefined) this.#ignore(refusal);
      }
    } finally {
      if (datagram.pidfd !== undefined) closeSync(datagram.pidfd);
    }
  }

  #ignore(why: string): void {
    this.#ignored++;
    if (performance.now() < this.#quietUntil) return;
    const ignored = count(this.#ignored, 'datagram');
    this.#events.report(`portreserve's socket: ${ignored} ignored, the last one because ${why}`);
    this.#quietUntil = performance.now() + quietMs;
    this.#ignored = 0;
  }
}

function attested({ pid, uid, pidfd }: Datagram): Attested {
  const unit = pidfd === undefined ? undefined : unitOfProcess(pid);
  // A pidfd is readable from the end of its process on: then the number may have been another's when it was looked up.
  const gone = pidfd !== undefined && (native.pollNow(pidfd) & constant('POLLIN')) !== 0;
  return { pid, uid, ...(unit === undefined || gone ? {} : { unit }) };
}

/** A socket of one's own in the place of the one that systemd passes: for everybody, as berthd judges who may do what. */
export function openPortreserveSocket(path: string): number {
  const type = constant('SOCK_DGRAM');
  const fd = native.socket(constant('AF_UNIX'), type, 0);
  try {
    bindPath(fd, path, type, defaultOptions);
    native.adopt(fd);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw cannotServe(path, error);
  }
}
