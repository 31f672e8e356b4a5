import type { Reservation } from './reservation.js';

/**
 * Why a reservation cannot be one whose address a program binds by itself beside the held socket (Handoff=bind), as a key
 * and a reason; undefined when it can.
 */
export function bindObstacle(reservation: Reservation): { key: string; message: string } | undefined {
  const { sockets, options, whileStopped } = reservation;
  if (whileStopped === 'queue') {
    const message =
      'queue does not go with Handoff=bind: what waits at the held socket would never reach the program';
    return { key: 'WhileStopped', message };
  }
  if (options.reusePort)
    return { key: 'ReusePort', message: 'it does not go with Handoff=bind: programs set that by themselves' };
  for (const { protocol, address } of sockets) {
    const message = refuse(address.family, protocol);
    if (message !== undefined) return { key: 'Handoff', message: `bind is not for ${message}` };
  }
  return undefined;
}

/** Whether a program has to be in the network namespace of berthd to bind what is reserved. */
export function needsNetwork({ sockets }: Reservation): boolean {
  return sockets.some(({ address }) => address.family !== 'unix');
}

type Spec = Reservation['sockets'][number];

function refuse(family: Spec['address']['family'], protocol: Spec['protocol']): string | undefined {
  if (family === 'abstract')
    return 'abstract names, which no two sockets can have, nor one take from another; use exec or store';
  if (protocol === 'sctp') return 'SCTP, which cannot be shared with a held socket';
  if (protocol === 'mptcp')
    return 'MPTCP, whose subflows cannot be bound beside a held socket; leave SocketProtocol= out';
  return undefined;
}
