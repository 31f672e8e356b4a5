import { processesWithSockets } from '../systemd/processes.js';
import type { Claimants } from './claimants.js';
import type { Handover } from './handover.js';
import type { Table } from './table.js';

/**
 * Finds the claimants that an earlier berthd had: whoever has the sockets open, else the reservation's unit when it has
 * a cgroup. Its processes may be of another user, whose descriptors berthd may not see (proc(5)), and while it is being
 * started PID 1 has them, or nobody, of a loan. What a running unit might serve on is never put to rest.
 */
export function findClaimants(table: Table, claimants: Claimants, handover: Handover): void {
  const inodes: number[] = [];
  for (const { socket } of table.slots()) if (socket !== undefined) inodes.push(socket.inode);
  const standIns = table.standIns.map(({ reservation, socket }) => ({ reservation, slots: [{ socket }] }));
  for (const { socket } of table.standIns) inodes.push(socket.inode);
  if (inodes.length === 0) return;
  const owners = processesWithSockets(inodes, process.pid);
  for (const { reservation, slots } of [...table.entries(), ...standIns]) {
    // Nearly all of them, as a rule: they are left alone. A loan does not show in the hold.
    const lends = reservation.handoff === 'lend';
    if (!lends && slots.every(({ socket }) => socket?.resting === true && !owners.has(socket.inode)))
      continue;
    const sockets = slots.flatMap(({ socket }) => socket ?? []);
    const pids = new Set(sockets.flatMap(({ inode }) => owners.get(inode) ?? []));
    pids.delete(1);
    for (const pid of pids) claimants.followProcess(reservation, sockets, pid);
    const handed = !['none', 'release', 'bind'].includes(reservation.handoff);
    if (!claimants.inUse(reservation.name) && handed) claimants.followUnit(reservation, sockets);
    if (claimants.inUse(reservation.name)) handover.standGuard(sockets);
    else handover.rest(reservation.name, sockets);
  }
}
