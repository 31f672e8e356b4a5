import { formatLocation, mappedAny, type SocketSpec } from '../model/reservation.js';
import { describeSocket } from '../model/reservation.js';
import type { Handoff } from '../model/reservation.js';
import type {
  ReservationInfo,
  ReservationState,
  ReservationStatus,
  SocketInfo,
} from '../protocol/messages.js';
import type { Claims } from './claims.js';
import { specOf } from './entry.js';
import type { Entry, Slot } from './entry.js';

/** A line of `berth list`. */
export function infoOf(entry: Entry, claims: Claims): ReservationInfo {
  const { name, unit, handoff } = entry.reservation;
  const state = stateOf(entry, claims);
  return {
    name,
    sockets: describeAll(entry.slots.map(({ request }) => request.spec)),
    unit,
    handoff,
    state,
    since: sinceOf(entry, state, claims),
  };
}

/** What has been split into a socket for each family (holdRequests) has one name here. */
function describeAll(specs: readonly SocketSpec[]): string[] {
  return specs.flatMap((spec, index) => {
    const [before, after] = [specs[index - 1], specs[index + 1]];
    if (before !== undefined && areHalves(before, spec)) return [];
    if (after === undefined || !areHalves(spec, after)) return [describeSocket(spec)];
    return [describeSocket({ ...spec, address: { family: 'any', port: after.address.port } })];
  });
}

function areHalves(six: SocketSpec, four: SocketSpec): four is SocketSpec & { address: { port: number } } {
  if (six.address.family !== 'inet6' || four.address.family !== 'inet6') return false;
  return (
    six.address.only === true && four.address.host === mappedAny && six.address.port === four.address.port
  );
}

/** The answer to `berth status NAME`. */
export function statusOf(entry: Entry, claims: Claims): ReservationStatus {
  const { name, whileStopped, fdName, at } = entry.reservation;
  // A socket that reservations share has the words of one of them.
  return {
    ...infoOf(entry, claims),
    sockets: entry.slots.map((slot, index) =>
      socketInfo(slot, specOf(entry.reservation, index, slot.request), entry.reservation.handoff),
    ),
    whileStopped,
    fdName,
    claimants: claims.of(name).map(({ pid, command, unit, since }) => {
      return { pid, command, ...(unit === undefined ? {} : { unit }), since };
    }),
    definedAt: formatLocation(at),
  };
}

function sinceOf({ reservation, slots, changed }: Entry, state: ReservationState, claims: Claims): number {
  if (state === 'active') return Math.min(...claims.of(reservation.name).map(({ since }) => since));
  return state === 'released' ? Math.min(...slots.flatMap(({ released }) => released ?? [])) : changed;
}

function stateOf({ reservation, slots }: Entry, claims: Claims): ReservationState {
  if (slots.some(({ socket, released }) => socket === undefined && released === undefined)) return 'failed';
  if (slots.some(({ released }) => released !== undefined)) return 'released';
  return claims.inUse(reservation.name) ? 'active' : 'held';
}

/** `spec` is the reservation's own, which may be written in another way than that of the one that it shares a slot with. */
function socketInfo({ socket, error, released }: Slot, spec: SocketSpec, handoff: Handoff): SocketInfo {
  const common = { socket: describeSocket(spec), listen: spec.listen };
  if (released !== undefined) return { ...common, state: 'released' };
  if (socket === undefined) return { ...common, state: 'failed', ...(error === undefined ? {} : { error }) };
  // A service may have set SO_REUSEADDR on its duplicate, which is no loan.
  const lent = handoff === 'lend' && socket.lent;
  const state = socket.listening ? 'listening' : lent ? 'lent' : 'held';
  return { ...common, state, inode: socket.inode };
}
