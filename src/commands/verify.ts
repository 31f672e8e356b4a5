import { exitStatuses } from '../model/errors.js';
import { count, printable } from '../model/text.js';
import { listAll } from '../protocol/client.js';
import type { ReservationStatus, SocketInfo } from '../protocol/messages.js';
import type { Invocation } from './arguments.js';
import { disguises, type Loot, type Onslaught } from './attack.js';
import { planAttack, type Target } from './attack-plan.js';
import { findStatus } from './find.js';
import { printJson, type Output } from './output.js';
import { attackAs, attackers } from './verify-children.js';

/** A socket of a reservation, and how the attack on it went; `skipped` says why there was none. */
interface Verdict {
  readonly reservation: string;
  readonly socket: string;
  readonly state: SocketInfo['state'];
  readonly skipped: string | null;
  readonly attempts: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly taken: readonly (Loot & { readonly user: string })[];
}

/** Tries to take what berthd says that it holds. Exits 1 when something could be had, and 4 when something is not held. */
export async function verify(
  { operands, control, json, legend }: Invocation,
  output: Output,
): Promise<number> {
  const names = operands.length > 0 ? operands : (await listAll(control)).map(({ name }) => name);
  const reservations: ReservationStatus[] = [];
  for (const name of names) reservations.push(await findStatus(control, name));
  const users = attackers();
  const verdicts = await judge(reservations, users);
  const taken = verdicts.some((each) => each.taken.length > 0);
  if (json) {
    const tried = {
      users: users.map(({ name }) => name),
      options: disguises.map((disguise) => disguise.join('+') || 'none'),
    };
    printJson(output, { sockets: verdicts, tried, taken });
  } else {
    output.out(verdicts.map((each) => describe(each, output)).join(''));
    if (legend)
      output.out(
        summary(
          verdicts,
          users.map(({ name }) => name),
        ),
      );
  }
  if (taken) return exitStatuses.Failed;
  return verdicts.some(({ state }) => state === 'failed') ? exitStatuses.NotHeld : 0;
}

async function judge(
  reservations: readonly ReservationStatus[],
  users: ReturnType<typeof attackers>,
): Promise<Verdict[]> {
  const sockets = reservations.flatMap(({ name, sockets }) => sockets.map((info) => ({ name, info })));
  const targets: Target[] = [];
  const targetOf = sockets.map(({ info }) => {
    if (whySkipped(info) !== null || info.inode === undefined) return undefined;
    targets.push(planAttack(info.socket, info.inode));
    return targets.length - 1;
  });
  const results = new Map<string, readonly Onslaught[]>();
  for (const user of users) results.set(user.name, targets.length === 0 ? [] : await attackAs(user, targets));
  return sockets.map(({ name, info }, index) => {
    const target = targetOf[index];
    const rounds = [...results].flatMap(([user, onslaughts]) => {
      const onslaught = target === undefined ? undefined : onslaughts[target];
      return onslaught === undefined ? [] : [{ user, ...onslaught }];
    });
    const errors: Record<string, number> = {};
    for (const round of rounds)
      for (const [code, number] of Object.entries(round.errors)) errors[code] = (errors[code] ?? 0) + number;
    return {
      reservation: name,
      socket: info.socket,
      state: info.state,
      skipped: whySkipped(info),
      attempts: rounds.reduce((sum, { attempts }) => sum + attempts, 0),
      errors,
      taken: rounds.flatMap(({ user, taken }) => taken.map((loot) => ({ user, ...loot }))),
    };
  });
}

/** What is not held at this moment is not there to be kept. */
function whySkipped({ state, error }: SocketInfo): string | null {
  switch (state) {
    case 'held':
    case 'listening':
      return null;
    case 'lent':
      return 'lent to its service at this moment: whoever sets SO_REUSEADDR can bind beside it';
    default:
      return `not held: ${error ?? state}`;
  }
}

function describe(
  { reservation, socket, skipped, attempts, errors, taken }: Verdict,
  output: Output,
): string {
  const what = printable(`${reservation}: ${socket}`);
  if (skipped !== null) return `${output.paint('red', '-')} ${what}: ${printable(skipped)}\n`;
  if (taken.length === 0) {
    const refusals = Object.entries(errors).map(([code, number]) => `${number} ${code}`);
    return `${output.paint('green', '✓')} ${what}: ${count(attempts, 'attempt')}, all refused (${refusals.join(', ')})\n`;
  }
  const loot = taken.map(({ user, address, options, device, listened }) => {
    const disguise = [...options, ...(device === undefined ? [] : [`SO_BINDTODEVICE=${device}`])];
    return `    taken by ${user}: ${address}, ${disguise.join('+') || 'plain'}${listened ? ', listening' : ''}\n`;
  });
  const head = `${what}: ${taken.length} of ${count(attempts, 'attempt')} succeeded`;
  return `${output.paint('red', '✗')} ${head}\n${loot.map(printableLine).join('')}`;
}

function printableLine(line: string): string {
  return `${printable(line.slice(0, -1))}\n`;
}

function summary(verdicts: readonly Verdict[], users: readonly string[]): string {
  const attempts = verdicts.reduce((sum, each) => sum + each.attempts, 0);
  const taken = verdicts.reduce((sum, each) => sum + each.taken.length, 0);
  const skipped = verdicts.filter((each) => each.skipped !== null).length;
  const options = disguises.map((disguise) => disguise.join('+') || 'plain').join(', ');
  return [
    `\n${count(attempts, 'attempt')} on ${count(verdicts.length - skipped, 'socket')} as ${users.join(' and ')}`,
    `, ${options}, each also bound to an interface: `,
    taken === 0 ? 'nothing could be taken' : `${taken} succeeded`,
    skipped === 0 ? '\n' : `; ${count(skipped, 'socket')} not tried\n`,
  ].join('');
}
