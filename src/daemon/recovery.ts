import { AwakeSearch } from './awake.js';
import type { Claimants } from './claimants.js';
import type { Handover } from './handover.js';
import type { Table } from './table.js';

/**
 * Finds the claimants that an earlier berthd had: whoever has the sockets open, else the reservation's unit when it has
 * a cgroup. Its processes may be of another user, whose descriptors berthd may not see (proc(5)), and while it is being
 * started PID 1 has them, or nobody, of a loan. What a running unit might serve on is never put to rest.
 *
 * Of thousands of sockets that takes tens of milliseconds. Claims need not wait for it, as they make their sockets ready
 * whatever their state: so it goes on by little in turns of the loop, or at once when somebody wants to know (finish).
 */
export class Recovery {
  readonly #table: Table;
  readonly #claimants: Claimants;
  readonly #handover: Handover;
  #search: AwakeSearch | undefined;
  #turn: NodeJS.Immediate | undefined;

  constructor(table: Table, claimants: Claimants, handover: Handover) {
    this.#table = table;
    this.#claimants = claimants;
    this.#handover = handover;
  }

  begin(): void {
    this.#search = new AwakeSearch(this.#table.pages);
    this.#continue();
  }

  /** Does nothing when it has been finished, or is being. */
  finish(): void {
    const search = this.#search;
    if (search === undefined) return;
    this.close();
    while (search.step());
    this.#settle(search);
  }

  /** What has not been found by then is left to the next berthd. */
  close(): void {
    clearImmediate(this.#turn);
    this.#search = undefined;
  }

  #continue(): void {
    this.#turn = setImmediate(() => {
      if (this.#search?.step() === true) this.#continue();
      else this.finish();
    });
  }

  #settle(search: AwakeSearch): void {
    for (const { reservation, sockets, pids } of search.found(this.#table)) {
      for (const pid of pids) this.#claimants.followProcess(reservation, sockets, pid);
      const handed = !['none', 'release', 'bind'].includes(reservation.handoff);
      const { name } = reservation;
      if (!this.#claimants.inUse(name) && handed) this.#claimants.followUnit(reservation, sockets);
      if (this.#claimants.inUse(name)) this.#handover.standGuard(sockets);
      else this.#handover.rest(name, sockets);
    }
  }
}
