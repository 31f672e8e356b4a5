import type { Reservation } from '../model/reservation.js';
import { native } from '../native/index.js';
import { processesWithSockets } from '../systemd/processes.js';
import type { Entry } from './entry.js';
import type { HeldSocket } from './held-socket.js';
import type { Table } from './table.js';

/** A reservation that may not be at rest, with the processes but berthd and PID 1 that have its sockets open. */
interface Awake {
  readonly reservation: Reservation;
  readonly sockets: readonly HeldSocket[];
  readonly pids: ReadonlySet<number>;
}

/** Of all that an earlier berthd held, what is not plainly at rest: as a rule little of it. */
export function findAwake(table: Table): Awake[] {
  const packed: Entry[] = [];
  const fds: number[] = [];
  for (const entry of table.entries()) {
    for (const fd of entry.packed?.descriptors ?? []) {
      packed.push(entry);
      fds.push(fd);
    }
  }
  const opened = [
    ...table.opened(),
    ...table.standIns.map(({ reservation, socket }) => ({ reservation, slots: [{ socket }] })),
  ];
  // A guard is as its socket is at rest: it shares with nobody and does not listen.
  const { inodes, stirring } = native.socketStates(fds);
  const others = opened.flatMap(({ slots }) => slots.flatMap(({ socket }) => socket?.inode ?? []));
  if (inodes.length + others.length === 0) return [];
  const owners = processesWithSockets([...inodes, ...others], process.pid);
  const stirred = new Set(stirring.map((index) => packed[index]));
  if (owners.size > 0)
    for (const [index, inode] of inodes.entries()) if (owners.has(inode)) stirred.add(packed[index]);
  return [...stirred, ...opened].flatMap((entry) => {
    if (entry === undefined) return [];
    const { reservation, slots } = entry;
    // Nearly all of them, as a rule: they are left alone. A loan does not show in the hold.
    const lends = reservation.handoff === 'lend';
    if (!lends && slots.every(({ socket }) => socket?.resting === true && !owners.has(socket.inode)))
      return [];
    const sockets = slots.flatMap(({ socket }) => socket ?? []);
    const pids = new Set(sockets.flatMap(({ inode }) => owners.get(inode) ?? []));
    pids.delete(1);
    return [{ reservation, sockets, pids }];
  });
}
