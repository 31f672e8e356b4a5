import { findAwake } from './awake.js';
import type { Claimants } from './claimants.js';
import type { Handover } from './handover.js';
import type { Table } from './table.js';

/**
 * Finds the claimants that an earlier berthd had: whoever has the sockets open, else the reservation's unit when it has
 * a cgroup. Its processes may be of another user, whose descriptors berthd may not see (proc(5)), and while it is being
 * started PID 1 has them, or nobody, of a loan. What a running unit might serve on is never put to rest.
 */
export function findClaimants(table: Table, claimants: Claimants, handover: Handover): void {
  for (const { reservation, sockets, pids } of findAwake(table)) {
    for (const pid of pids) claimants.followProcess(reservation, sockets, pid);
    const handed = !['none', 'release', 'bind'].includes(reservation.handoff);
    if (!claimants.inUse(reservation.name) && handed) claimants.followUnit(reservation, sockets);
    if (claimants.inUse(reservation.name)) handover.standGuard(sockets);
    else handover.rest(reservation.name, sockets);
  }
}
