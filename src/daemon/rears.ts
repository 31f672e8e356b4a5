import { closeSync } from 'node:fs';
import { constant, native } from '../native/index.js';

/** Two ends of one AF_UNIX socket pair: the first one's queue has the sockets. */
export type RearKeep = readonly [number, number];

interface Rear {
  /** Undefined when there was no descriptor to spare for it. */
  readonly fd: number | undefined;
  readonly kept: boolean;
}

/**
 * The sockets that stand guard behind a program's datagram sockets (Yielding): one, and two while one takes the
 * other's place. They outlive berthd as undelivered messages in a queue whose both ends the vault has. The vault itself
 * would not do: one takes the other's place at each bind(2) of the program, and the old one would stay in the kernel's
 * list until PID 1 has dropped the old vault.
 */
export class Rears {
  readonly #keep: RearKeep | undefined;
  /** Oldest first, as in the queue. */
  #all: Rear[];

  /** Takes the ends over, and what is in the queue. Without them no socket outlives berthd. */
  constructor(keep: RearKeep | undefined) {
    this.#keep = keep;
    this.#all = keep === undefined ? [] : peekAll(keep[0]);
  }

  /** Ends for a new queue; undefined when there are no descriptors to spare. */
  static makeKeep(): RearKeep | undefined {
    try {
      return native.socketpair(constant('SOCK_SEQPACKET'));
    } catch {
      return undefined;
    }
  }

  /** Lent for the vault. */
  get keep(): RearKeep | undefined {
    return this.#keep;
  }

  get fds(): number[] {
    return this.#all.flatMap(({ fd }) => fd ?? []);
  }

  /** Takes a socket over, beside those that are there. From here on it outlives berthd, where there is a queue. */
  add(fd: number): void {
    this.#all.push({ fd, kept: this.#enqueue(fd) });
  }

  /** Closes all but the one that was added last. */
  keepNewest(): void {
    this.#drop(this.#all.length - 1);
  }

  clear(): void {
    this.#drop(this.#all.length);
  }

  /** Closes all, and the queue. */
  close(): void {
    for (const { fd } of this.#all) if (fd !== undefined) closeSync(fd);
    this.#all = [];
    this.#keep?.forEach(closeSync);
  }

  #enqueue(fd: number): boolean {
    try {
      return this.#keep !== undefined && native.send(this.#keep[1], Buffer.from('r'), [fd]);
    } catch {
      return false; // ETOOMANYREFS: then it goes with berthd
    }
  }

  #drop(count: number): void {
    for (const { fd, kept } of this.#all.slice(0, Math.max(count, 0))) {
      // Without room for it the kernel closes the one in the message. Where that fails both are there the next time.
      if (kept && this.#keep !== undefined) native.receive(this.#keep[0], 0, 0);
      this.#all.shift();
      if (fd !== undefined) closeSync(fd);
    }
  }
}

/** Duplicates of all that is in a queue, which keeps them: berthd may be killed at once again. */
function peekAll(reader: number): Rear[] {
  const found: Rear[] = [];
  peekFrom(reader, 0);
  for (;;) {
    const message = native.receive(reader, 1, constant('MSG_PEEK'));
    if (message === undefined) break;
    found.push({ fd: message.fds[0], kept: true });
  }
  peekFrom(reader, -1);
  return found;
}

/** Where MSG_PEEK begins to look, and goes on from by itself; -1 is the first message each time (socket(7)). */
function peekFrom(reader: number, offset: number): void {
  native.setOption(reader, constant('SOL_SOCKET'), constant('SO_PEEK_OFF'), offset);
}
