import { closeSync } from 'node:fs';
import { BerthError, isSystemError, messageOf } from '../model/errors.js';
import { closeForeign } from '../native/close.js';
import { constant, native, Readable, Writable } from '../native/index.js';
import type { Packet, Watch } from '../native/index.js';
import { maxPacket } from './messages.js';
import type { Request } from './messages.js';
import { errorReply } from './replies.js';
import type { Reply } from './replies.js';

/**
 * Answers a request. `takeFd` receives the descriptor that came with it, for the handler to close; undefined when there is
 * none, or more than one. What nobody takes is closed by the kernel, never by berthd: close(2) of a stranger's file could
 * wait for a file system of that stranger.
 */
export type Handler = (request: Request, connection: number, takeFd: () => number | undefined) => Reply[];

export interface ConnectionEvents {
  readonly handle: Handler;
  readonly report: (message: string) => void;
  /** Called once, after the descriptor is closed, if start() had returned true. */
  readonly closed: () => void;
}

/** The methods that a descriptor comes with. */
const takingMethods: readonly string[] = ['Supervise'];

/** One peer: its request comes in, its answer goes out, and the connection is closed. */
export class Connection {
  readonly since = Date.now();
  readonly #fd: number;
  readonly #events: ConnectionEvents;
  #watch: Watch | undefined;
  #uid: number | undefined;
  /** What could not be sent yet; its descriptors are duplicates, ours to close. */
  #unsent: Reply[] = [];
  #open = true;

  constructor(fd: number, events: ConnectionEvents) {
    this.#fd = fd;
    this.#events = events;
  }

  get uid(): number {
    return (this.#uid ??= native.peer(this.#fd).uid);
  }

  /** Serves at once what has arrived already, as it mostly has. True when there is something left to wait for. */
  start(): boolean {
    this.#read();
    return this.#open;
  }

  /** Tells the peer why, if it listens, and closes. */
  refuse(error: BerthError): void {
    this.#dropUnsent();
    try {
      // A request left unread would reset the connection, and the peer would not get to read why (unix_release_sock).
      native.receive(this.#fd, 0, 0);
    } catch {
      // It has gone.
    }
    this.#answer(errorReply(error));
    this.close();
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#dropUnsent();
    if (this.#watch !== undefined) {
      native.unwatch(this.#watch);
      closeSync(this.#fd);
      this.#events.closed();
    } else {
      closeSync(this.#fd);
    }
  }

  #wait(events: number): void {
    if (this.#watch !== undefined) native.rewatch(this.#watch, events);
    else {
      this.#watch = native.watch(this.#fd, events, (ready) => {
        if (this.#unsent.length === 0) this.#read();
        else if ((ready & Writable) !== 0) this.#flush();
      });
    }
  }

  #read(): void {
    try {
      // Looked at first: whether descriptors are wanted depends on what it says.
      const packet = native.receive(this.#fd, 0, constant('MSG_PEEK'));
      if (packet === undefined) this.#wait(Readable);
      else if (packet.data.length === 0) this.close();
      else this.#answer(this.#reply(packet));
    } catch (error) {
      this.#failed(error);
    }
  }

  #reply({ data, truncated, discarded }: Packet): Reply[] {
    const request = { taken: false };
    const takeFd = (): number | undefined => {
      request.taken = true;
      const { fds = [], discarded: more = false } = native.receive(this.#fd, 1, 0) ?? {};
      if (!more) return fds[0];
      fds.forEach(closeForeign);
      return undefined;
    };
    try {
      if (truncated || data.length > maxPacket) {
        throw new BerthError('BadMessage', `a request has ${maxPacket} bytes at most`);
      }
      const parsed = parseRequest(data);
      if (discarded && !takingMethods.includes(parsed.method))
        throw new BerthError('BadMessage', 'a request carries no descriptors');
      return this.#events.handle(parsed, this.#fd, takeFd);
    } catch (error) {
      if (!(error instanceof BerthError)) this.#events.report(messageOf(error));
      return errorReply(error);
    } finally {
      // One left unread would reset the connection.
      if (!request.taken) native.receive(this.#fd, 0, 0);
    }
  }

  #answer(replies: readonly Reply[]): void {
    try {
      const blocked = replies.findIndex(({ data, fds }) => !native.send(this.#fd, data, fds));
      if (blocked === -1) {
        this.close();
        return;
      }
      // What is kept outlives this call, and the sockets may not: a reload can close them.
      for (const { data, fds } of replies.slice(blocked)) {
        const copies: number[] = [];
        this.#unsent.push({ data, fds: copies });
        for (const fd of fds) copies.push(native.duplicate(fd));
      }
      this.#wait(Writable);
    } catch (error) {
      this.#failed(error);
    }
  }

  #flush(): void {
    try {
      for (let head = this.#unsent[0]; head !== undefined; head = this.#unsent[0]) {
        if (!native.send(this.#fd, head.data, head.fds)) return;
        head.fds.forEach(closeSync);
        this.#unsent.shift();
      }
      this.close();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** EPIPE, ECONNRESET: the peer has gone, which needs no word. What else there is, is the machine's. */
  #failed(error: unknown): void {
    const gone = isSystemError(error) && ['EPIPE', 'ECONNRESET'].includes(error.code);
    if (!gone) this.#events.report(`cannot answer uid ${this.uid}: ${messageOf(error)}`);
    this.close();
  }

  #dropUnsent(): void {
    for (const { fds } of this.#unsent.splice(0)) fds.forEach(closeSync);
  }
}

function parseRequest(data: Buffer): Request {
  let value: unknown;
  try {
    value = JSON.parse(data.toString('utf8'));
  } catch {
    throw new BerthError('BadMessage', 'the request is not JSON');
  }
  if (
    typeof value !== 'object' ||
    value === null ||
    !('method' in value) ||
    typeof value.method !== 'string'
  ) {
    throw new BerthError('BadMessage', 'the request has no method');
  }
  const parameters = 'parameters' in value ? value.parameters : {};
  if (typeof parameters !== 'object' || parameters === null || Array.isArray(parameters)) {
    throw new BerthError('BadMessage', 'the parameters are not an object');
  }
  return { method: value.method, parameters: parameters as Record<string, unknown> };
}
