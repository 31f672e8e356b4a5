import type { Reservation } from '../model/reservation.js';
import { native } from '../native/index.js';
import { processesWithSockets } from '../systemd/processes.js';
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
  const packed = [...table.entries()].filter((entry) => entry.packed !== undefined);
  const opened = [
    ...table.opened(),
    ...table.standIns.map(({ reservation, socket }) => ({ reservation, slots: [{ socket }] })),
  ];
  const fds = packed.flatMap((entry) => entry.packed?.fds ?? []);
  // A guard is as its socket is at rest: it shares with nobody and does not listen.
  const states = native.socketStates(fds);
  const inodes = [...states].filter((_, index) => index % 2 === 0);
  for (const { slots } of opened)
    for (const { socket } of slots) if (socket !== undefined) inodes.push(socket.inode);
  if (inodes.length === 0) return [];
  const owners = processesWithSockets(inodes, process.pid);
  let next = 0;
  const stirred = packed.filter((entry) => {
    const end = next + 2 * (entry.packed?.fds.length ?? 0);
    let quiet = true;
    for (; next < end; next += 2) quiet &&= !owners.has(states[next] ?? 0) && states[next + 1] === 0;
    return !quiet;
  });
  return [...stirred, ...opened].flatMap(({ reservation, slots }) => {
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
