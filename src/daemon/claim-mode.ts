import { BerthError } from '../model/errors.js';
import type { Reservation } from '../model/reservation.js';
import type { ClaimMode } from '../protocol/replies.js';

/** `exec` runs a command with the sockets; `unit` stands in ExecStartPre= and does what Handoff= says. */
export const claimForms = ['exec', 'unit'] as const;
export type ClaimForm = (typeof claimForms)[number];

/** What a claim of this form gets of this reservation. Throws with what to do instead when it gets nothing. */
export function modeOf(reservation: Reservation, form: ClaimForm): ClaimMode {
  const mode = modeFor(reservation, form);
  if (mode === undefined) throw wrongForm(reservation);
  return mode;
}

/** Whether a claim of this form gets anything of this reservation; `bind` is that of a supervised program. */
export function fitsForm(reservation: Reservation, form: ClaimForm | 'bind'): boolean {
  return form === 'bind' ? reservation.handoff === 'bind' : modeFor(reservation, form) !== undefined;
}

function modeFor({ handoff }: Reservation, form: ClaimForm): ClaimMode | undefined {
  if (handoff === 'release') return 'release';
  if (form === 'exec' && (handoff === 'exec' || handoff === 'store')) return 'exec';
  if (form === 'unit' && (handoff === 'store' || handoff === 'lend')) return handoff;
  return undefined;
}

/** Which command the unit should have instead. */
export function wrongForm({ name, handoff, unit }: Reservation): BerthError {
  if (handoff === 'none') return new BerthError('Denied', `'${name}' is held for nobody (Handoff=none)`);
  const instead = {
    store: `ExecStartPre=+berth-claim ${name}`,
    exec: `ExecStart=berth-claim ${name} -- COMMAND`,
    bind: `ExecStart=berth-claim --bind ${name} -- COMMAND`,
    lend: `ExecStartPre=+berth-claim ${name}`,
    release: `ExecStartPre=+berth-claim ${name}`,
  }[handoff];
  return new BerthError('Failed', `'${name}' has Handoff=${handoff}: ${unit} needs ${instead}`);
}
