import { isSystemError } from '../model/errors.js';
import type { Entry, Slot, StandIn } from './entry.js';
import { HeldSocket } from './held-socket.js';
import { holdError } from './hold-request.js';
import type { HoldRequest } from './hold-request.js';
import { findHolders } from './holder.js';
import type { Holder } from './holder.js';
import { append } from './lists.js';
import { overlaps, placeOf } from './overlap.js';

/** Looking through /proc for a holder is slow, and a hundred such messages help nobody more than a few do. */
const maxDiagnoses = 20;

/**
 * Tries to hold what is not held yet of these, also beside sockets that stand in for them. What cannot be held has its error
 * afterwards. `entries` gives all that there are.
 */
export function holdSlots(
  slots: Iterable<Slot>,
  standIns: readonly StandIn[],
  entries: () => Iterable<Entry>,
): void {
  const places = new Map<string, HeldSocket[]>();
  for (const { socket } of standIns) append(places, placeOf(socket.request), socket);
  const refused: Refused[] = [];
  for (const slot of slots) {
    if (slot.socket !== undefined || slot.released !== undefined) continue;
    delete slot.holder;
    const siblings = (places.get(placeOf(slot.request)) ?? []).filter(({ request }) =>
      overlaps(request, slot.request),
    );
    try {
      slot.socket = open(slot.request, siblings);
      delete slot.error;
      delete slot.errno;
    } catch (error) {
      if (isSystemError(error)) slot.errno = error.code;
      refused.push({ slot, error, siblings });
    }
  }
  explain(refused, entries);
}

interface Refused {
  readonly slot: Slot;
  readonly error: unknown;
  readonly siblings: readonly HeldSocket[];
}

function explain(refused: readonly Refused[], entries: () => Iterable<Entry>): void {
  const taken = refused
    .filter(({ error }) => isSystemError(error) && error.code === 'EADDRINUSE')
    .slice(0, maxDiagnoses);
  const ours = new Map(taken.map(({ slot }) => [slot, ownHolder(slot.request, entries)]));
  const others = taken.flatMap(({ slot }) => (ours.get(slot) === undefined ? slot : []));
  const holders = findHolders(others.map(({ request }) => request.spec));
  const found = new Map<Slot, Holder | undefined>(others.map((slot, index) => [slot, holders[index]]));
  for (const { slot, error, siblings } of refused) {
    const holder = found.get(slot);
    slot.error =
      holdError(slot.request, error, ours.get(slot) ?? holder?.description).message + heldMeanwhile(siblings);
    if (holder !== undefined) slot.holder = holder.pid;
  }
}

/** Another reservation of ours may be what is in the way: `631` and `127.0.0.1:631` overlap. */
function ownHolder(request: HoldRequest, entries: () => Iterable<Entry>): string | undefined {
  const ours = [...entries()].find(({ slots }) =>
    slots.some(({ socket }) => socket !== undefined && overlaps(socket.request, request)),
  );
  return ours && `reservation '${ours.reservation.name}'`;
}

function open(request: HoldRequest, siblings: readonly HeldSocket[]): HeldSocket {
  try {
    return HeldSocket.bind(request);
  } catch (error) {
    if (siblings.length === 0 || !isSystemError(error) || error.code !== 'EADDRINUSE') throw error;
    return HeldSocket.bind(request, siblings);
  }
}

/** For the end of an error: what is held in the place of a socket that cannot be. */
function heldMeanwhile(siblings: readonly HeldSocket[]): string {
  const [first, ...others] = siblings;
  if (first === undefined) return '';
  const more = others.length === 0 ? '' : ` and ${others.length} more`;
  return `; '${first.describe()}'${more} of before ${more === '' ? 'is' : 'are'} held until then`;
}
