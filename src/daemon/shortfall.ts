import { closeSync } from 'node:fs';
import { describeSocket } from '../model/reservation.js';
import { native, Readable } from '../native/index.js';
import type { Watch } from '../native/index.js';
import { commandOf } from '../systemd/processes.js';
import type { Slot } from './entry.js';
import type { Events, Happening } from './events.js';
import type { Log } from './log.js';
import type { Table } from './table.js';

/** How long to wait before another try at what cannot be held, when nothing tells that it could work now. */
const retryMs = 5000;

/** The sockets that cannot be held: says so, once, and has them tried again when there is a prospect. */
export class Shortfall {
  readonly #table: Table;
  readonly #log: Log;
  readonly #events: Events;
  /** Tries at once. */
  readonly retry: () => void;
  #timer: NodeJS.Timeout | undefined;
  /** Waits for the ends of the processes that are in the way, by pid. */
  readonly #obstacles = new Map<number, { watch: Watch; pidfd: number }>();
  /** What has been said of sockets that cannot be held, so that a retry does not say it again. */
  #complaints = new Set<string>();

  constructor(table: Table, log: Log, events: Events, retry: () => void) {
    this.#table = table;
    this.#log = log;
    this.#events = events;
    this.retry = retry;
  }

  /** What is said of each. */
  get complaints(): ReadonlySet<string> {
    return this.#complaints;
  }

  /** Says what is new about sockets that cannot be held, and arranges for the next try. */
  review(): void {
    const complaints = new Map<string, Happening>();
    let missing = false;
    this.close();
    for (const { reservation, slots } of this.#table.opened()) {
      for (const slot of slots) {
        for (const warning of slot.socket?.warnings.splice(0) ?? [])
          this.#log.warning(`${reservation.name}: ${warning}`);
        if (slot.error !== undefined)
          complaints.set(`${reservation.name}: ${slot.error}`, complaintOf(reservation.name, slot));
        if (slot.holder !== undefined) this.#awaitEnd(slot.holder);
        missing ||= slot.socket === undefined && slot.released === undefined;
      }
    }
    for (const [complaint, happening] of complaints)
      if (!this.#complaints.has(complaint)) this.#events.emit(happening);
    for (const settled of this.#complaints)
      if (!complaints.has(settled)) this.#log.notice(`No longer so: ${settled}`);
    this.#complaints = new Set(complaints.keys());
    if (missing) this.#timer = setTimeout(this.retry, retryMs);
  }

  /** Waits for nothing any more. */
  close(): void {
    clearTimeout(this.#timer);
    for (const { watch, pidfd } of this.#obstacles.values()) {
      native.unwatch(watch);
      closeSync(pidfd);
    }
    this.#obstacles.clear();
  }

  /** The port may be free the moment that whoever has it ends. */
  #awaitEnd(pid: number): void {
    if (this.#obstacles.has(pid)) return;
    const pidfd = native.pidfdOpen(pid);
    if (pidfd === undefined) return;
    const watch = native.watch(pidfd, Readable, this.retry);
    this.#obstacles.set(pid, { watch, pidfd });
  }
}

/** A socket that cannot be held: `taken` when somebody else has its address. */
function complaintOf(reservation: string, { request, error, errno, holder }: Slot): Happening {
  return {
    event: errno === 'EADDRINUSE' ? 'taken' : 'failed',
    reservation,
    socket: describeSocket(request.spec),
    ...(holder === undefined ? {} : { pid: holder, command: commandOf(holder) }),
    ...(error === undefined ? {} : { message: error }),
  };
}
