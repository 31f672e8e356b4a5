import { handoffs, whileStoppedChoices } from '../model/reservation.js';
import type { Method, Methods } from './messages.js';

/** What `berth` asks. Claim is berth-claim's, and is answered in a form of its own. */
export type AskedMethod = Exclude<Method, 'Claim' | 'Done'>;

type Check = (value: unknown) => boolean;

const isString: Check = (value) => typeof value === 'string';
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isTime: Check = (value) => typeof value === 'number' && Number.isFinite(value);
const isFlag: Check = (value) => typeof value === 'boolean';

const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);

const oneOf =
  (...words: readonly string[]): Check =>
  (value) =>
    typeof value === 'string' && words.includes(value);

const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);

// Keys that this version does not know are let through: a newer berthd may say more.
const shape =
  (checks: Readonly<Record<string, Check>>): Check =>
  (value) =>
    isRecord(value) && Object.entries(checks).every(([key, check]) => check(value[key]));

const reservation = {
  name: isString,
  unit: isString,
  handoff: oneOf(...handoffs),
  state: oneOf('held', 'active', 'released', 'failed'),
  since: isTime,
};

const socket = shape({
  socket: isString,
  listen: isString,
  state: oneOf('held', 'listening', 'lent', 'released', 'failed'),
  inode: optional(isCount),
  error: optional(isString),
});

const claimant = shape({ pid: isCount, command: isString, unit: optional(isString), since: isTime });

const answers: Readonly<Record<AskedMethod, Check>> = {
  List: shape({ reservations: listOf(shape({ ...reservation, sockets: listOf(isString) })), more: isFlag }),
  Status: shape({
    ...reservation,
    sockets: listOf(socket),
    whileStopped: oneOf(...whileStoppedChoices),
    fdName: isString,
    claimants: listOf(claimant),
    definedAt: isString,
  }),
  Watch: shape({
    event: isString,
    time: isTime,
    reservation: optional(isString),
    socket: optional(isString),
    pid: optional(isCount),
    uid: optional(isCount),
    command: optional(isString),
    unit: optional(isString),
    mode: optional(isString),
    count: optional(isCount),
    message: optional(isString),
  }),
  Reload: shape({
    reservations: isCount,
    sockets: isCount,
    mistakes: listOf(isString),
    failures: listOf(isString),
  }),
  Release: shape({ released: isCount }),
};

/** Whether `value` has the form that messages.ts gives the answer: the control socket may be anybody's. */
export function isAnswer<M extends AskedMethod>(method: M, value: unknown): value is Methods[M]['answer'] {
  return answers[method](value);
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
