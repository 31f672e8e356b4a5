import { native } from './index.js';
import type { SocketFacts } from './index.js';

/** A call that waits for an answer, as its process made it: numbers of that process, and nothing that can be relied on. */
export interface SupervisedCall {
  /** Where it is noted until it is answered. */
  readonly slot: number;
  /** `restrict` makes its process give up rights (landlock_restrict_self(2)). */
  readonly name: 'bind' | 'listen' | 'restrict' | 'other';
  /** The thread; 0 when it is of another pid namespace. */
  readonly pid: number;
  readonly length: number;
  readonly backlog: number;
  /** A berthd that has crashed had begun to serve it. */
  readonly begun: boolean;
}

/** What a program has put into its call. The buffers have it until the next look. */
export interface Findings {
  /** A duplicate of its socket, which is the caller's; undefined when it is none, or with an errno. */
  readonly fd: number | undefined;
  readonly errno: number;
  readonly facts: SocketFacts;
  /** The address that bind(2) was given. */
  readonly bytes: Buffer;
}

/** The structs that the addon fills in (seccomp.c, look.c, facts.h), in words of 32 bits. */
const room = Buffer.alloc(304);
const words = new Int32Array(room.buffer, room.byteOffset, room.length / 4);
const memoryAt = 8;
const factsAt = memoryAt + 128;
const nameAt = factsAt + 40;
const names = ['bind', 'listen', 'restrict', 'other'] as const;

function word(index: number): number {
  return words[index] ?? 0;
}

function describe(): SupervisedCall {
  return {
    slot: word(0),
    name: names[word(1)] ?? 'other',
    pid: word(2),
    length: word(3),
    backlog: word(4),
    begun: word(5) !== 0,
  };
}

/** The next call that waits at a seccomp listener; undefined when none does, and `ended` when none will. */
export function receiveCall(listener: number): SupervisedCall | 'ended' | undefined {
  const got = native.receiveCall(listener, room);
  if (got === 1) return describe();
  return got === 0 ? undefined : 'ended';
}

/** The call that an earlier berthd received there, if it still waits. */
export function recallCall(listener: number): SupervisedCall | undefined {
  return native.recallCall(listener, room) ? describe() : undefined;
}

/** Looks at a call, for so many microseconds. Undefined when that has not ended: lookEnded tells of it. */
export function lookAt(slot: number, microseconds: number): Findings | undefined {
  return native.lookAt(slot, microseconds, room) ? findings() : undefined;
}

/** What a look has found that was not waited for; undefined until it has ended. */
export function lookEnded(slot: number): Findings | undefined {
  return native.lookEnded(slot, room) ? findings() : undefined;
}

function findings(): Findings {
  const fd = word(0);
  const first = factsAt / 4;
  return {
    fd: fd < 0 ? undefined : fd,
    errno: fd < 0 ? -fd : 0,
    bytes: room.subarray(memoryAt, memoryAt + Math.max(word(1), 0)),
    facts: {
      domain: word(first),
      type: word(first + 1),
      protocol: word(first + 2),
      device: word(first + 3),
      v6only: word(first + 4) !== 0,
      listening: word(first + 5) !== 0,
      lingers: word(first + 6) !== 0,
      netns: room.readBigUInt64LE(factsAt + 32),
      name: room.subarray(nameAt, nameAt + word(first + 7)),
    },
  };
}
