import { closeSync } from 'node:fs';
import { BerthError, isSystemError, messageOf } from '../model/errors.js';
import { closeForeign } from '../native/close.js';
import { constant, native, Readable, Writable } from '../native/index.js';
import type { Watch } from '../native/index.js';
import { maxPacket } from './messages.js';
import type { Request } from './messages.js';
import { identifyPeer } from './peer.js';
import type { Peer } from './peer.js';
import { errorReply } from './replies.js';
import type { Leisurely, Replies, Reply } from './replies.js';
import { parseRequest } from './request.js';
import type { Arrival } from './request.js';
import type { Stream } from './stream.js';

/** Whose request it is. */
export interface Caller {
  readonly uid: number;
  /** Who connected, for as long as the request is not answered. Throws `Denied` when it has gone. */
  identify(): Peer;
  /**
   * Receives the descriptor that came with the request, for the handler to close; undefined when there is none, or more
   * than one. What nobody takes is closed by the kernel, never by berthd: close(2) of a stranger's file could wait for a
   * file system of that stranger.
   */
  takeFd(): number | undefined;
}

/** Answers a request. */
export type Handler = (request: Request, caller: Caller) => Replies | Leisurely | Stream;

export interface ConnectionEvents {
  readonly handle: Handler;
  readonly report: (message: string) => void;
  /** Has a piece of work done when others have been served; it answers whether there was anything to be done. */
  readonly atLeisure: (piece: () => boolean) => void;
  /** Called once, after the descriptor is closed, if start() had returned true. */
  readonly closed: () => void;
}

/** The methods that a descriptor comes with. */
const takingMethods: readonly string[] = ['Supervise'];

/** One peer: its request comes in, its answer goes out, and the connection is closed. */
export class Connection implements Caller {
  /** When it came, in milliseconds of performance.now(). */
  readonly since: number;
  readonly #fd: number;
  readonly #events: ConnectionEvents;
  #watch: Watch | undefined;
  #uid: number | undefined;
  #peer: Peer | undefined;
  /** What could not be sent yet; its descriptors are duplicates, ours to close. */
  #unsent: Reply[] = [];
  #open = true;
  #stream: Stream | undefined;
  #endStream: () => void = () => undefined;
  /** Of a stream whose peer does not read: packets that were not sent, and since when. */
  #lost = 0;
  #blockedSince = 0;
  /** Somebody waits for closed(). */
  #waitedFor = false;
  /** The request has been looked at, and is still to be received: left there, it would reset the connection. */
  #unread = false;
  /** Descriptors came with the request. It is not received then: the kernel would close them, which can take long. */
  #laden = false;

  constructor(fd: number, since: number, events: ConnectionEvents) {
    this.#fd = fd;
    this.since = since;
    this.#events = events;
  }

  get uid(): number {
    return (this.#uid ??= native.peer(this.#fd).uid);
  }

  /** From when on the peer has kept us waiting; undefined of a stream, which may last, while its peer reads. */
  get waitingSince(): number | undefined {
    if (this.#stream === undefined) return this.since;
    return this.#lost > 0 ? this.#blockedSince : undefined;
  }

  /** Serves at once what has arrived already, as it mostly has. True when there is something left to wait for. */
  start(arrival?: Arrival): boolean {
    if (arrival === undefined) this.#read();
    else this.#serve(arrival);
    this.#waitedFor = this.#open;
    return this.#open;
  }

  /** Tells the peer why, if it listens, and closes. */
  refuse(error: BerthError): void {
    this.#dropUnsent();
    if (this.#lost > 0) {
      this.close();
      return;
    }
    try {
      // Mostly nothing else is there, and it can be closed at once: berthd may be short of descriptors.
      if (native.receive(this.#fd, 0, constant('MSG_PEEK'))?.discarded === false)
        native.receive(this.#fd, 0, 0);
      this.#unread = false;
    } catch {
      // It has gone.
    }
    this.#answer(errorReply(error));
    this.close();
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#endStream();
    this.#dropUnsent();
    if (this.#watch !== undefined) native.unwatch(this.#watch);
    native.closeConnection(this.#fd);
    this.#closed();
  }

  #closed(): void {
    this.#open = false;
    this.#releasePeer();
    if (this.#waitedFor) this.#events.closed();
  }

  #wait(events: number): void {
    if (this.#watch !== undefined) native.rewatch(this.#watch, events);
    else {
      this.#watch = native.watch(this.#fd, events, (ready) => {
        if (this.#stream !== undefined) this.#attend(ready);
        else if (this.#unsent.length === 0) this.#read();
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
      else {
        const { data, truncated, discarded } = packet;
        const tooLong = truncated || data.length > maxPacket;
        this.#serve({ text: tooLong ? '' : data.toString('utf8'), discarded, tooLong });
      }
    } catch (error) {
      this.#failed(error);
    }
  }

  #serve(arrival: Arrival): void {
    try {
      this.#unread = !arrival.discarded;
      this.#laden = arrival.discarded;
      const reply = this.#reply(arrival);
      if (Array.isArray(reply)) this.#answer(reply);
      else if ('start' in reply) this.#begin(reply);
      else if ('make' in reply) this.#answerAtLeisure(reply);
      else this.#answerWhenReady(reply);
    } catch (error) {
      this.#failed(error);
    }
  }

  #reply({ text, discarded, tooLong }: Arrival): ReturnType<Handler> {
    return this.#guarded(() => {
      if (tooLong) throw new BerthError('BadMessage', `a request has ${maxPacket} bytes at most`);
      const request = parseRequest(text);
      if (discarded && !takingMethods.includes(request.method))
        throw new BerthError('BadMessage', 'a request carries no descriptors');
      return this.#events.handle(request, this);
    });
  }

  #guarded<T>(make: () => T): T | Reply[] {
    try {
      return make();
    } catch (error) {
      if (!(error instanceof BerthError)) this.#events.report(messageOf(error));
      return errorReply(error);
    }
  }

  identify(): Peer {
    return (this.#peer ??= identifyPeer(this.#fd));
  }

  #releasePeer(): void {
    this.#peer?.release();
    this.#peer = undefined;
  }

  takeFd(): number | undefined {
    if (!this.#laden) return undefined;
    // A duplicate, so that the message can go without the last of them.
    const { fds = [], discarded: more = false } = native.receive(this.#fd, 1, constant('MSG_PEEK')) ?? {};
    if (!more) {
      native.receive(this.#fd, 0, 0);
      this.#laden = false;
      return fds[0];
    }
    fds.forEach(closeForeign);
    return undefined;
  }

  /** Root could stop berthd as well, and is not looked at twice. */
  get #trusted(): boolean {
    return this.#peer?.uid === 0 && !this.#laden;
  }

  #receiveRequest(): void {
    if (this.#unread) native.receive(this.#fd, 0, 0);
    this.#unread = false;
  }

  #begin(stream: Stream): void {
    this.#receiveRequest();
    this.#stream = stream;
    // Readable at the end of the peer, which asks for nothing more.
    this.#wait(Readable);
    const end = stream.start((packet) => {
      this.#push(packet);
    });
    if (this.#open) this.#endStream = end;
    else end();
  }

  /** The queue of the kernel is all the room that a slow peer gets. */
  #push(packet: Buffer): void {
    if (!this.#open) return;
    try {
      if (this.#lost === 0 && native.send(this.#fd, packet, [])) return;
      if (this.#lost++ > 0) return;
      this.#blockedSince = performance.now();
      this.#wait(Readable | Writable);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** The peer of a stream has gone, says what nobody asked, or has caught up after it was too slow. */
  #attend(ready: number): void {
    try {
      if ((ready & Writable) !== 0 && this.#lost > 0 && this.#stream !== undefined) {
        if (!native.send(this.#fd, this.#stream.lost(this.#lost), [])) return;
      }
      this.close();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** One request a connection: nothing more is read from then on. */
  #endReading(): void {
    this.#receiveRequest();
    if (this.#watch !== undefined) native.unwatch(this.#watch);
    this.#watch = undefined;
  }

  #answerAtLeisure({ make }: Leisurely): void {
    this.#endReading();
    this.#events.atLeisure(() => {
      if (!this.#open) return false;
      this.#answer(this.#guarded(make));
      return true;
    });
  }

  #answerWhenReady(replies: Promise<Reply[]>): void {
    this.#endReading();
    const finish = (ready: readonly Reply[]): void => {
      if (this.#open) this.#answer(ready);
    };
    replies.then(finish, (error: unknown) => {
      this.#events.report(messageOf(error));
      finish(errorReply(error));
    });
  }

  #answer(replies: readonly Reply[]): void {
    try {
      const [only] = replies;
      if (this.#watch === undefined && only !== undefined && replies.length === 1) {
        const unread = this.#unread;
        this.#unread = false;
        if (native.answerRequest(this.#fd, only.data, only.fds, unread, this.#trusted)) {
          this.#closed();
          return;
        }
      } else this.#receiveRequest();
      this.#releasePeer();
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
