import { BerthError, messageOf } from '../model/errors.js';
import { maxFdsPerMessage } from '../native/index.js';

/** A packet to send: its text, and descriptors that stay the sender's. */
export interface Reply {
  readonly data: Buffer;
  readonly fds: readonly number[];
}

/** An answer that takes a while to be made, and that no start of a service waits for. */
export interface Leisurely {
  readonly make: () => Reply[];
}

/** Of some requests the answer takes more than berthd alone. */
export type Replies = Reply[] | Promise<Reply[]>;

export function answer(parameters: object): Reply[] {
  return [{ data: Buffer.from(JSON.stringify({ parameters })), fds: [] }];
}

/** What berth-claim has room for, and a few lines on a terminal. */
const maxMessageBytes = 900;

/** An error is one packet, short enough for the buffer of every client. */
export function errorReply(error: unknown): Reply[] {
  const code = error instanceof BerthError ? error.code : 'Failed';
  // berth-claim undoes \" and \\ only, so nothing else may need an escape: no control character, no lone surrogate.
  const text = messageOf(error)
    .replaceAll(/\p{Cc}+/gu, ' ')
    .replaceAll(/\p{Cs}/gu, '\ufffd');
  const message = cut(text);
  return [{ data: Buffer.from(JSON.stringify({ error: code, parameters: { message } })), fds: [] }];
}

/** The longest beginning of a text that the limit leaves room for, in whole characters. */
function cut(text: string): string {
  const bytes = new Uint8Array(maxMessageBytes);
  return text.slice(0, new TextEncoder().encodeInto(text, bytes).read);
}

/** What berth-claim is to do with the answer; `done` is that to Done. */
export type ClaimMode = 'exec' | 'store' | 'lend' | 'bind' | 'release' | 'done';

/**
 * The answer to berth-claim: a packet for every 253 descriptors, at least one, its text to the letter of
 * docs/protocol.md, because berth-claim has no JSON parser. A descriptor's name holds printable ASCII but colons. `stale`
 * are names that may be in the unit's fd store from before, and are to go.
 */
export function claimReply(
  mode: ClaimMode,
  sockets: readonly { fd: number; name: string }[],
  stale: readonly string[] = [],
): Reply[] {
  const replies: Reply[] = [];
  const removed = stale.length === 0 ? '' : `,"remove":${JSON.stringify(stale.join(':'))}`;
  for (let first = 0; first === 0 || first < sockets.length; first += maxFdsPerMessage) {
    const page = sockets.slice(first, first + maxFdsPerMessage);
    const left = sockets.length - first - page.length;
    const names = JSON.stringify(page.map(({ name }) => name).join(':'));
    replies.push({
      data: Buffer.from(
        `{"parameters":{"mode":"${mode}","fds":${page.length},"left":${left},"names":${names}${left === 0 ? removed : ''}}}`,
      ),
      fds: page.map(({ fd }) => fd),
    });
  }
  return replies;
}
