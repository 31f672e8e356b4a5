import { closeSync, openSync } from 'node:fs';
import { BerthError, isSystemError, messageOf } from '../model/errors.js';
import { Discarded, HasText, native, Readable, TooLong } from '../native/index.js';
import type { Watch } from '../native/index.js';
import { Connection } from './connection.js';
import type { Handler } from './connection.js';
import { Leisure } from './leisure.js';
import { maxPacket } from './messages.js';
import { Patience } from './patience.js';
import type { Arrival } from './request.js';

export interface ServerOptions {
  /** Seconds that a peer may stay silent, or leave its answer unread. Asked for each time, so it may change. */
  readonly peerTimeoutSec: () => number;
  /** Connections at a time; beyond them the longest waiting one of the user who has most makes room. */
  readonly maxConnections: number;
  /** Answers one request, in packets, or with a stream of them. May throw; a BerthError goes to the peer as it is. */
  readonly handle: Handler;
  /** What a peer did or the machine lacked; nothing that stops the server. */
  readonly report: (message: string) => void;
}

/** Connections that are accepted before the loop sees to those that are open already. */
const acceptBatch = 64;

/**
 * The daemon's end of the control socket. One request a connection: berthd answers and closes. A peer that is silent,
 * slow or hostile costs one descriptor for a bounded time, and delays nobody.
 */
export class ControlServer {
  readonly #listener: number;
  readonly #options: ServerOptions;
  readonly #watch: Watch;
  /** What native.acceptRequest tells, for as long as it is looked at. */
  readonly #facts = new Int32Array(2);
  readonly #connections = new Set<Connection>();
  readonly #patience = new Patience();
  readonly #leisure = new Leisure();
  #spare: number | undefined;
  #sweep: NodeJS.Timeout | undefined;

  /** Takes the listening socket over, which must not block. */
  constructor(listener: number, options: ServerOptions) {
    this.#listener = listener;
    this.#options = options;
    this.#spare = openSpare();
    native.prepareDiscard();
    this.#watch = native.watch(listener, Readable, () => {
      this.#acceptAll();
    });
  }

  /** Whether a peer is being served right now. */
  get busy(): boolean {
    return this.#connections.size > 0;
  }

  close(): void {
    native.unwatch(this.#watch);
    closeSync(this.#listener);
    for (const connection of this.#connections) connection.close();
    if (this.#spare !== undefined) closeSync(this.#spare);
    clearInterval(this.#sweep);
  }

  #acceptAll(): void {
    this.#patience.turn();
    for (let count = 0; count < acceptBatch; count++) {
      try {
        const text = native.acceptRequest(this.#listener, this.#facts, maxPacket);
        if (text === undefined) {
          if (this.#awaitNext()) continue;
          return;
        }
        const now = performance.now();
        this.#patience.came(now);
        const [fd = -1, bits = 0] = this.#facts;
        this.#serve(
          fd,
          now,
          (bits & HasText) === 0
            ? undefined
            : { text, discarded: (bits & Discarded) !== 0, tooLong: (bits & TooLong) !== 0 },
        );
      } catch (error) {
        if (!this.#refuseOne(error)) return;
      }
    }
  }

  /** Whether a peer that asks again at once has done so. */
  #awaitNext(): boolean {
    const { look } = this.#patience;
    if (look === 0) return false;
    const start = performance.now();
    const found = native.lookFor(this.#listener, look);
    this.#patience.looked(found, (performance.now() - start) * 1000);
    return found;
  }

  /** `arrival` is undefined of a peer that has said nothing yet. */
  #serve(fd: number, since: number, arrival?: Arrival): void {
    this.#makeRoom();
    const connection = new Connection(fd, since, {
      handle: this.#options.handle,
      report: this.#options.report,
      atLeisure: this.#atLeisure,
      closed: () => {
        this.#connections.delete(connection);
      },
    });
    if (connection.start(arrival)) {
      this.#connections.add(connection);
      this.#sweep ??= setInterval(() => {
        this.#closeSilent();
      }, 1000).unref();
    }
  }

  readonly #atLeisure = (piece: () => boolean): void => {
    this.#leisure.add(piece);
  };

  /** So that no user's open connections keep another one's claim out. */
  #makeRoom(): void {
    if (this.#connections.size < this.#options.maxConnections) return;
    const byUser = new Map<number, Connection[]>();
    for (const connection of this.#connections) {
      const list = byUser.get(connection.uid);
      if (list === undefined) byUser.set(connection.uid, [connection]);
      else list.push(connection);
    }
    // A Set keeps the order of arrival, so the first of a list has waited longest.
    const [most] = [...byUser.values()].sort((a, b) => b.length - a.length);
    most?.[0]?.refuse(new BerthError('Busy', 'too many connections are open'));
  }

  #closeSilent(): void {
    const seconds = this.#options.peerTimeoutSec();
    const deadline = performance.now() - seconds * 1000;
    for (const connection of this.#connections) {
      if (connection.since > deadline) break;
      const { waitingSince } = connection;
      if (waitingSince === undefined || waitingSince > deadline) continue;
      connection.refuse(new BerthError('BadMessage', `no request in ${seconds} s`));
    }
    if (this.#connections.size > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  /**
   * With a full descriptor table accept4(2) fails and the loop would spin on the waiting connection: the spare descriptor
   * makes room to tell it so. False when even that is not possible, until the next turn of the loop.
   */
  #refuseOne(error: unknown): boolean {
    this.#options.report(`cannot accept a connection: ${messageOf(error)}`);
    // What was closed last may not have been by the time that it was opened again.
    this.#spare ??= openSpare();
    if (!isSystemError(error) || this.#spare === undefined) return false;
    closeSync(this.#spare);
    try {
      const fd = native.accept(this.#listener);
      if (fd === undefined) return false;
      const { handle, report } = this.#options;
      const events = { handle, report, atLeisure: this.#atLeisure, closed: () => undefined };
      new Connection(fd, performance.now(), events).refuse(
        new BerthError('Busy', 'berthd is out of descriptors'),
      );
      return true;
    } catch {
      return false;
    } finally {
      this.#spare = openSpare();
    }
  }
}

function openSpare(): number | undefined {
  try {
    return openSync('/dev/null', 'r');
  } catch {
    return undefined;
  }
}
