import { formatLocation } from '../model/reservation.js';
import { describeSocket } from '../model/reservation.js';
import type { Handoff } from '../model/reservation.js';
import type {
  ReservationInfo,
  ReservationState,
  ReservationStatus,
  SocketInfo,
} from '../protocol/messages.js';
import type { Claims } from './claims.js';
import type { Entry, Slot } from './table.js';

/** A line of `berth list`. */
export function infoOf(entry: Entry, claims: Claims): ReservationInfo {
  const { name, unit, handoff } = entry.reservation;
  const state = stateOf(entry, claims);
  return {
    name,
    sockets: entry.slots.map(({ request }) => describeSocket(request.spec)),
    unit,
    handoff,
    state,
    since: state === 'active' ? Math.min(...claims.of(name).map(({ since }) => since)) : entry.changed,
  };
}

/** The answer to `berth status NAME`. */
export function statusOf(entry: Entry, claims: Claims): ReservationStatus {
  const { name, whileStopped, fdName, at } = entry.reservation;
  return {
    ...infoOf(entry, claims),
    sockets: entry.slots.map((slot) => socketInfo(slot, entry.reservation.handoff)),
    whileStopped,
    fdName,
    claimants: claims.of(name).map(({ pid, command, unit, since }) => {
      return { pid, command, ...(unit === undefined ? {} : { unit }), since };
    }),
    definedAt: formatLocation(at),
  };
}

function stateOf({ reservation, slots }: Entry, claims: Claims): ReservationState {
  if (slots.some(({ socket }) => socket === undefined)) return 'failed';
  return claims.inUse(reservation.name) ? 'active' : 'held';
}

function socketInfo({ request, socket, error }: Slot, handoff: Handoff): SocketInfo {
  const common = { socket: describeSocket(request.spec), listen: request.spec.listen };
  if (socket === undefined) return { ...common, state: 'failed', ...(error === undefined ? {} : { error }) };
  // A service may have set SO_REUSEADDR on its duplicate, which is no loan.
  const lent = handoff === 'lend' && socket.lent;
  const state = socket.listening ? 'listening' : lent ? 'lent' : 'held';
  return { ...common, state, inode: socket.inode };
}
