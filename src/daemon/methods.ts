import { BerthError, messageOf } from '../model/errors.js';
import { count } from '../model/text.js';
import type { ReservationInfo, Request } from '../protocol/messages.js';
import type { Caller } from '../protocol/connection.js';
import type { Peer } from '../protocol/peer.js';
import { answer } from '../protocol/replies.js';
import type { Replies, Reply } from '../protocol/replies.js';
import type { Stream } from '../protocol/stream.js';
import { commandOf } from '../systemd/processes.js';
import { claimForms, fitsForm, type ClaimForm } from './claim-mode.js';
import type { Claims } from './claims.js';
import type { Events, Happening } from './events.js';
import type { Policy } from './policy.js';
import type { Programs } from './programs.js';
import type { Entry, Table } from './table.js';
import { joined, releaseNamed } from './releases.js';
import { infoOf, statusOf } from './views.js';

/** A page of `List` stays well below what a packet holds. */
const maxPageBytes = 32 * 1024;

/** So that the vault has room for what is to be known of a program. */
const maxNames = 32;

export interface MethodContext {
  readonly table: Table;
  readonly claims: Claims;
  readonly programs: Programs;
  /** Writes the vault. */
  readonly save: () => void;
  readonly policy: Policy;
  readonly events: Events;
  readonly reload: () => { mistakes: readonly string[]; failures: readonly string[] };
  /** Reloads if files have come or gone since the last time. */
  readonly refresh: () => void;
}

/** Answers one request of a connection. Throws a BerthError when it is refused. */
export function handleRequest(context: MethodContext, request: Request, caller: Caller): Replies | Stream {
  switch (request.method) {
    case 'Supervise':
      return supervise(context, request.parameters['names'], caller);
    case 'Claim':
    case 'Done':
      return claim(context, request, caller);
    case 'Release':
      return release(context, request.parameters['names'], caller);
    case 'List':
      return list(context, request.parameters['after']);
    case 'Status':
      return answer(statusOf(find(context.table, request.parameters['name']), context.claims));
    case 'Watch':
      return watch(context, caller);
    case 'Reload':
      return reload(context, caller);
    default:
      throw new BerthError('BadMessage', 'there is no such method');
  }
}

function find(table: Table, name: unknown): Entry {
  if (typeof name !== 'string') throw new BerthError('BadMessage', 'the name is not a string');
  const entry = table.get(name);
  if (entry === undefined)
    throw new BerthError('NotFound', `there is no reservation '${name.slice(0, 255)}'`);
  return entry;
}

/** An admin who wrote or changed a file and reloaded systemd expects the unit to start, by the drop-in that it has now. */
function findFresh(
  { table, policy, refresh }: MethodContext,
  name: unknown,
  peer: Peer,
  form: ClaimForm | 'bind' | undefined,
): Entry {
  if (typeof name === 'string') {
    const entry = table.get(name);
    const fits = entry !== undefined && (form === undefined || fitsForm(entry.reservation, form));
    if (!fits && policy.mayRefresh(peer)) refresh();
  }
  return find(table, name);
}

/** Granted like a claim of each of the names. */
function supervise(context: MethodContext, names: unknown, caller: Caller): Reply[] {
  if (!Array.isArray(names) || names.length === 0 || names.length > maxNames)
    throw new BerthError('BadMessage', `one to ${maxNames} names were expected`);
  const peer = caller.identify();
  const entries = [...new Set<unknown>(names)].map((name) => findFresh(context, name, peer, 'bind'));
  for (const { reservation } of entries) context.policy.checkClaim(peer, reservation);
  return context.programs.add(entries, peer, () => caller.takeFd(), context.save);
}

/** Both methods of a claim: granted to the reservation's unit and to root. */
function claim(context: MethodContext, request: Request, caller: Caller): Replies {
  const form = claimForms.find((candidate) => candidate === request.parameters['form']);
  if (form === undefined)
    throw new BerthError('BadMessage', `a claim has one of the forms ${claimForms.join(', ')}`);
  const peer = caller.identify();
  const asked = request.method === 'Done' ? undefined : form;
  const entry = findFresh(context, request.parameters['name'], peer, asked);
  return decide(context, entry, peer, asked);
}

/** Without a form it is the end of a claim. */
function decide(context: MethodContext, entry: Entry, peer: Peer, form: ClaimForm | undefined): Replies {
  const { claims, policy, events } = context;
  try {
    policy.checkClaim(peer, entry.reservation);
    return form === undefined ? claims.done(entry, peer) : claims.grant(entry, peer, form);
  } catch (error) {
    if (events.watched) events.emit(refusal(entry, peer, error));
    throw error;
  }
}

function refusal({ reservation }: Entry, { pid, uid, unit }: Peer, error: unknown): Happening {
  return {
    event: 'refused',
    reservation: reservation.name,
    pid,
    uid,
    command: commandOf(pid),
    ...(unit === undefined ? {} : { unit: unit.unit }),
    message: messageOf(error),
  };
}

/** Everybody may watch who may ask for the list: it tells nothing else. */
function watch({ events, table }: MethodContext, { uid }: Caller): Stream {
  const { held } = table.count();
  return events.stream(uid, `holding ${count(held, 'socket')} of ${count(table.size, 'reservation')}`);
}

/** Also where some are refused, the others are released. */
async function release(context: MethodContext, names: unknown, caller: Caller): Promise<Reply[]> {
  if (!Array.isArray(names) || !names.every((name) => typeof name === 'string'))
    throw new BerthError('BadMessage', 'the names are not a list of strings');
  const peer = caller.identify();
  const unknown = names.some((name) => name !== '*' && context.table.get(name) === undefined);
  if (unknown && context.policy.mayRefresh(peer)) context.refresh();
  const { released, refusals } = releaseNamed(context, names, peer);
  await context.claims.settled();
  if (refusals.length > 0) throw joined(refusals);
  return answer({ released });
}

function list({ table, claims }: MethodContext, after: unknown): Reply[] {
  const reservations: ReservationInfo[] = [];
  let bytes = 0;
  for (const entry of table.entries()) {
    if (typeof after === 'string' && entry.reservation.name <= after) continue;
    if (bytes > maxPageBytes) return answer({ reservations, more: true });
    const info = infoOf(entry, claims);
    bytes += JSON.stringify(info).length;
    reservations.push(info);
  }
  return answer({ reservations, more: false });
}

function reload({ table, policy, reload: run }: MethodContext, caller: Caller): Reply[] {
  policy.checkReload(caller.identify());
  const { mistakes, failures } = run();
  const slots = [...table.slots()];
  return answer({
    reservations: [...table.entries()].length,
    sockets: slots.filter(({ socket }) => socket !== undefined).length,
    mistakes: excerpt(mistakes),
    failures: excerpt(failures),
  });
}

/** The first of them, as many as one packet takes; the log has them all. */
function excerpt(lines: readonly string[]): string[] {
  const shown: string[] = [];
  let bytes = 0;
  for (const line of lines) {
    const cut = line.slice(0, 500);
    bytes += cut.length;
    if (bytes > maxPageBytes / 2 || shown.length === 100) break;
    shown.push(cut);
  }
  return shown;
}
