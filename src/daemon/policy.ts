import { BerthError } from '../model/errors.js';
import type { Reservation } from '../model/reservation.js';
import type { Peer } from '../protocol/peer.js';
import { commandOf } from '../systemd/processes.js';

/** What the kernel says of who asks. */
export type Attested = Pick<Peer, 'pid' | 'uid' | 'unit'>;

/** Who may do what, judged only by what the kernel says of the peer. The checks throw `Denied` with the reason. */
export interface Policy {
  /** Whether a claim of an unknown name is a reason to look for new files. */
  mayRefresh(peer: Attested): boolean;
  checkClaim(peer: Attested, reservation: Reservation): void;
  checkReload(peer: Attested): void;
}

/** Under systemd: a reservation is for its unit, whatever user that runs as, and for root; reloading is for root. */
export const systemPolicy: Policy = {
  // Of a service it may be the first start; a user's session or manager has no reservations.
  mayRefresh: ({ uid, unit }) =>
    uid === 0 || (unit?.unit.endsWith('.service') === true && !unit.unit.startsWith('user@')),
  checkClaim(peer, { name, unit }) {
    if (peer.uid === 0 || peer.unit?.unit === unit) return;
    throw new BerthError('Denied', `'${name}' is reserved for ${unit}, and ${describe(peer)} is not of it`);
  },
  checkReload(peer) {
    if (peer.uid !== 0) throw new BerthError('Denied', 'only root may reload berthd: sudo berth reload');
  },
};

/** Started by hand: everything is for the user who started it, and for root. */
export function ownPolicy(user: number): Policy {
  const isOurs = ({ uid }: Attested): boolean => uid === 0 || uid === user;
  const check = (peer: Attested): void => {
    if (isOurs(peer)) return;
    throw new BerthError('Denied', `this berthd serves uid ${user}, and ${describe(peer)} is another user`);
  };
  return { mayRefresh: isOurs, checkClaim: check, checkReload: check };
}

function describe(peer: Attested): string {
  const unit = peer.unit === undefined ? '' : `, ${peer.unit.unit}`;
  return `pid ${peer.pid} (${commandOf(peer.pid)}, uid ${peer.uid}${unit})`;
}
