import { BerthError, exitStatuses, type ErrorCode } from '../model/errors.js';
import { isAnswer, isRecord, type AskedMethod } from './client-answers.js';
import { exchange } from './client-socket.js';
import { maxPacket, type Methods, type ReservationInfo } from './messages.js';

/** `Watch` is answered for as long as it is asked: see watch-client.ts. */
type OnceAnswered = Exclude<AskedMethod, 'Watch'>;

/** Milliseconds: far longer than a berthd that works ever takes; Reload binds every new socket before it answers. */
const deadlines: Readonly<Record<OnceAnswered, number>> = {
  List: 10_000,
  Status: 10_000,
  Reload: 90_000,
  Release: 60_000,
};

/**
 * Asks the berthd at `path` one thing, on a connection of its own. Throws BerthError: berthd's own refusal with its
 * code and message, NoDaemon or Denied when it cannot be reached, Failed when it gives no answer or one that this
 * protocol does not know. `deadline` is in milliseconds.
 */
export async function call<M extends OnceAnswered>(
  path: string,
  method: M,
  parameters: Methods[M]['parameters'],
  deadline: number = deadlines[method],
): Promise<Methods[M]['answer']> {
  const request = Buffer.from(JSON.stringify({ method, parameters }));
  if (request.length > maxPacket) {
    throw new BerthError('Usage', `the request is longer than ${maxPacket} bytes`);
  }
  // What changes something is not asked for twice: a berthd that ends meanwhile may have done it.
  return readReply(path, method, await exchange(path, request, deadline, method !== 'Reload'));
}

/** Every reservation, in the order in which berthd pages them. */
export async function listAll(path: string, deadline?: number): Promise<ReservationInfo[]> {
  const all: ReservationInfo[] = [];
  for (;;) {
    const after = all.at(-1)?.name;
    const page = await call(path, 'List', after === undefined ? {} : { after }, deadline);
    all.push(...page.reservations);
    if (!page.more) {
      return all;
    }
    // A page that leads nowhere would be asked for again without end.
    if (all.at(-1)?.name === after) {
      throw foreign(path, 'List');
    }
  }
}

function readReply<M extends OnceAnswered>(path: string, method: M, packet: Buffer): Methods[M]['answer'] {
  const answer = parameters(path, method, packet);
  if (!isAnswer(method, answer)) {
    throw foreign(path, method);
  }
  return answer;
}

/** The parameters of an answer. Throws what berthd refuses with, and for what is no answer. */
export function parameters(path: string, method: string, packet: Buffer): unknown {
  const reply = parse(packet);
  if (!isRecord(reply) || !isRecord(reply['parameters'])) {
    throw foreign(path, method);
  }
  const { error, parameters } = reply;
  if (error !== undefined) {
    throw typeof error === 'string' ? refusedWith(error, parameters['message']) : foreign(path, method);
  }
  return parameters;
}

function parse(packet: Buffer): unknown {
  try {
    return JSON.parse(packet.toString());
  } catch {
    return undefined;
  }
}

function refusedWith(code: string, message: unknown): BerthError {
  const text = typeof message === 'string' ? message : `berthd refused without a reason (${code})`;
  return isErrorCode(code) ? new BerthError(code, text) : new BerthError('Failed', `${text} (${code})`);
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(exitStatuses, code);
}

export function foreign(path: string, method: string): BerthError {
  return new BerthError(
    'Failed',
    `${path} gave no valid answer to ${method}: it is not berthd, or berthd of another version`,
  );
}
