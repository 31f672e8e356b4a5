import type { Reservation } from '../model/reservation.js';
import { native } from '../native/index.js';
import { usersOfSockets } from '../systemd/processes.js';
import type { HeldSocket } from './held-socket.js';
import type { Table } from './table.js';
import type { EntryPage } from './vault-entry.js';

/** A reservation that may not be at rest, with the processes but berthd and systemd that have its sockets open. */
interface Awake {
  readonly reservation: Reservation;
  readonly sockets: readonly HeldSocket[];
  readonly pids: ReadonlySet<number>;
}

/** Looks among all that an earlier berthd held for what is not plainly at rest: as a rule little of it. */
export class AwakeSearch {
  readonly #pages: readonly EntryPage[];
  /** Of the pages that have been looked at, one after the other. */
  readonly #inodes: number[][] = [];
  readonly #awake = new Set<string>();

  constructor(pages: readonly EntryPage[]) {
    this.#pages = pages;
  }

  /** Looks at one page, which takes about a millisecond. False when there are no more. */
  step(): boolean {
    const page = this.#pages[this.#inodes.length];
    if (page === undefined) return false;
    // A guard is as its socket is at rest: it shares with nobody and does not listen.
    const { inodes, stirring } = native.socketStates(page.fds);
    for (const index of stirring) this.#awake.add(page.nameOfFd(index));
    this.#inodes.push(inodes);
    return true;
  }

  /** Once all pages have been looked at. */
  found(table: Table): Awake[] {
    const standIns = table.standIns.map(({ reservation, socket }) => ({ reservation, slots: [{ socket }] }));
    const read = [
      ...[...table.opened()].filter(({ reservation: { name } }) => !this.#awake.has(name)),
      ...standIns,
    ];
    const inodes = this.#inodes.flat();
    const others = read.flatMap(({ slots }) => slots.flatMap(({ socket }) => socket?.inode ?? []));
    if (inodes.length + others.length === 0) return [];
    const owners = usersOfSockets([...inodes, ...others], process.pid);
    if (owners.size > 0)
      for (const [index, page] of this.#pages.entries())
        for (const [fd, inode] of this.#inodes[index]?.entries() ?? [])
          if (owners.has(inode)) this.#awake.add(page.nameOfFd(fd));
    const stirred = [...this.#awake].flatMap((name) => table.get(name) ?? []);
    return [...stirred, ...read].flatMap(({ reservation, slots }) => {
      // Nearly all of them, as a rule: they are left alone. A loan does not show in the hold.
      const lends = reservation.handoff === 'lend';
      if (!lends && slots.every(({ socket }) => socket?.resting === true && !owners.has(socket.inode)))
        return [];
      const sockets = slots.flatMap(({ socket }) => socket ?? []);
      const pids = new Set(sockets.flatMap(({ inode }) => owners.get(inode) ?? []));
      return [{ reservation, sockets, pids }];
    });
  }
}
