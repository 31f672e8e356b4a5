import type { Log } from './log.js';

export interface IdlenessHandler {
  /** After how many seconds without a request berthd may end; 0: never. */
  readonly idleExitSec: () => number;
  /** What berthd would miss if it ended now. */
  readonly reasonToStay: () => string | undefined;
  /** Ends berthd so that the next request starts it again. Absent where the manager would drop the sockets. */
  readonly exit: (() => void) | undefined;
}

/** Waits for the time in which nobody needs berthd. */
export class Idleness {
  readonly #log: Log;
  readonly #handler: IdlenessHandler;
  #timer: NodeJS.Timeout | undefined;
  #saidNoIdleExit = false;

  constructor(log: Log, handler: IdlenessHandler) {
    this.#log = log;
    this.#handler = handler;
  }

  /** Begins to wait anew. */
  wait(): void {
    const { idleExitSec, reasonToStay, exit } = this.#handler;
    const seconds = idleExitSec();
    clearTimeout(this.#timer);
    if (seconds === 0) return;
    if (exit === undefined) {
      if (!this.#saidNoIdleExit)
        this.#log.notice('IdleExitSec= needs a service manager of systemd 254 or later');
      this.#saidNoIdleExit = true;
      return;
    }
    this.#timer = setTimeout(() => {
      const reason = reasonToStay();
      if (reason !== undefined) {
        this.#log.debug(`Nobody has asked for anything, but ${reason}`);
        this.wait();
      } else {
        this.#log.info('Nobody needs berthd: ending until the next request');
        exit();
      }
    }, seconds * 1000);
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}
