import { closeSync } from 'node:fs';
import { messageOf } from '../model/errors.js';
import { closeForeign } from '../native/close.js';
import { constant, native, Readable } from '../native/index.js';
import type { SocketFacts, SupervisedCall, Watch } from '../native/index.js';
import { commandOf } from '../systemd/processes.js';
import { makeEndpoint, match, parseAddress } from './bind-match.js';
import type { Endpoint, ParsedAddress } from './bind-match.js';
import type { HeldSocket } from './held-socket.js';
import type { Log } from './log.js';
import { parsePath, servePath } from './program-path.js';

/** What the next berthd has to know of a supervised program. */
export interface ProgramState {
  readonly names: readonly string[];
  /** The process that was granted the claim. */
  readonly pid: number;
  readonly unit?: string;
  readonly since: number;
  /** One of its processes has restricted itself, in a way that berthd cannot see: nothing is bound for it any more. */
  readonly restricted: boolean;
}

export interface ProgramEvents {
  /** The held sockets of its reservations at this moment. */
  readonly held: (names: readonly string[]) => readonly HeldSocket[];
  /** Its state is another from here on. */
  readonly changed: () => void;
  /** The last process with its filter has ended. */
  readonly ended: () => void;
}

interface HeldEndpoint extends Endpoint {
  readonly socket: HeldSocket;
}

function isDatagram6({ domain, type }: SocketFacts): boolean {
  return type === constant('SOCK_DGRAM') && domain === constant('AF_INET6');
}

function isHeldDatagram6({ address, request }: HeldSocket): boolean {
  return request.spec.type === 'datagram' && address.family === 'inet6';
}

/** The kernel does the call itself, and gives its own error. */
const leaveIt = -1;
/** What bind(2) takes at the most (struct sockaddr_storage), the least that is an IP address, and the least of a path. */
const maxAddress = 128;
const minIpAddress = 16;
const minAddress = 3;
/** A program may ask for the wrong thing for ever; the log wants to know some of it. */
const maxHints = 10;

/**
 * A program, with all its processes, whose bind(2) and listen(2) wait for berthd. What is reserved for it is bound on its
 * own socket, beside the held one. Everything else the kernel does: since all that is reserved is closed to everybody, it
 * does not matter what the program changes about the call meanwhile.
 */
export class Program {
  readonly #listener: number;
  readonly #events: ProgramEvents;
  readonly #log: Log;
  readonly #watch: Watch;
  readonly #said = new Set<string>();
  #state: ProgramState;
  #open = true;
  /** Its paths are in file systems that do not answer. */
  #slow = false;

  /** Takes the listener over. */
  constructor(listener: number, state: ProgramState, events: ProgramEvents, log: Log) {
    this.#listener = listener;
    this.#state = state;
    this.#events = events;
    this.#log = log;
    this.#watch = native.watch(listener, Readable, () => {
      this.#wake();
    });
  }

  get state(): ProgramState {
    return this.#state;
  }

  /** Lent for the vault: it stays the program's. */
  get listener(): number {
    return this.#listener;
  }

  /** Serves the call that an earlier berthd received and did not answer, if it is of this program. */
  recall(): void {
    const call = native.recallCall(this.#listener);
    if (call !== undefined) this.#serve(call);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    native.unwatch(this.#watch);
    closeSync(this.#listener);
  }

  #wake(): void {
    if (!this.#open) return;
    const ready = native.pollNow(this.#listener);
    if ((ready & constant('POLLIN')) !== 0) {
      const call = native.receiveCall(this.#listener);
      if (call !== undefined) this.#serve(call);
    } else if ((ready & constant('POLLHUP')) !== 0) {
      this.close();
      this.#events.ended();
    }
  }

  #serve(call: SupervisedCall): void {
    let answer = leaveIt;
    try {
      answer = this.#decide(call);
    } catch (error) {
      this.#log.err(`${this.#names}: a ${call.name}() cannot be served: ${messageOf(error)}`);
    }
    try {
      native.answerCall(this.#listener, answer);
    } catch (error) {
      this.#log.err(`${this.#names}: a ${call.name}() cannot be answered: ${messageOf(error)}`);
    }
  }

  get #names(): string {
    return this.#state.names.join(', ');
  }

  #decide(call: SupervisedCall): number {
    if (call.restricts && !this.#state.restricted) {
      this.#state = { ...this.#state, restricted: true };
      this.#events.changed();
      this.#say(call, 'restricts itself (Landlock): nothing more is bound for it');
    }
    if (this.#state.restricted || call.pid === 0) return leaveIt;
    if (call.name === 'bind') return this.#bind(call);
    if (call.name === 'listen') return this.#listen(call);
    return leaveIt;
  }

  #bind(call: SupervisedCall): number {
    if (call.length < minAddress || call.length > maxAddress) return leaveIt;
    const bytes = native.readMemory(call.pid, call.address, call.length);
    if (bytes === undefined) return leaveIt;
    const path = parsePath(bytes);
    if (path !== undefined) return this.#bindPath(call, path);
    if (call.length < minIpAddress) return leaveIt;
    const held = this.#heldOn(bytes.readUInt16BE(2));
    if (held.length === 0) return leaveIt;
    return this.#withSocket(call, (fd, facts) => {
      const address = parseAddress(bytes, facts.domain);
      if (address === undefined) return leaveIt;
      const found = this.#covering(call, facts, address, held);
      if (found === undefined) return leaveIt;
      const has = parseAddress(facts.name, facts.domain);
      if (has !== undefined && has.port !== 0) {
        const done = call.begun && has.port === address.port && has.host === address.host;
        if (!done) return leaveIt;
      } else {
        if (isDatagram6(facts)) this.#stepBehind(held);
        const error = native.bindFor(
          fd,
          bytes,
          found.flatMap(({ socket }) => socket.fds),
        );
        if (error !== 0) return error;
      }
      if (isDatagram6(facts)) this.#yield(held, found, fd);
      return 0;
    });
  }

  #bindPath(call: SupervisedCall, path: string): number {
    const held = this.#events.held(this.#state.names).filter((socket) => socket.path !== undefined);
    if (held.length === 0 || this.#slow) return leaveIt;
    return this.#withSocket(call, (fd, facts) => {
      const answer = servePath(call, { fd, facts, path }, held, this);
      if (answer !== 'slow') return answer ?? leaveIt;
      this.#slow = true;
      this.#say(call, 'has berthd look for a path that it cannot find in time: it gets none any more');
      return leaveIt;
    });
  }

  #listen(call: SupervisedCall): number {
    return this.#withSocket(call, (fd, facts) => {
      if (facts.type !== constant('SOCK_STREAM')) return leaveIt;
      if (facts.listening) return call.begun ? 0 : leaveIt;
      const address = parseAddress(facts.name, facts.domain);
      if (address === undefined || facts.lingers) return leaveIt;
      const found = this.#covering(call, facts, address, this.#heldOn(address.port));
      if (found === undefined) return leaveIt;
      return native.listenFor(
        fd,
        call.backlog,
        found.flatMap(({ socket }) => socket.fds),
      );
    });
  }

  /** Runs `serve` with a duplicate of the socket that the call is about, if there is one and the call still waits. */
  #withSocket(call: SupervisedCall, serve: (fd: number, facts: SocketFacts) => number): number {
    const fd = native.takeDescriptor(call.pid, call.fd);
    if (fd < 0) {
      if (fd === -constant('EPERM')) this.#say(call, 'does not let berthd have its sockets (ptrace(2))');
      return leaveIt;
    }
    let lingers = true;
    try {
      if (call.begun) native.undoBegun(fd);
      const facts = native.socketFacts(fd);
      if (facts === undefined) return leaveIt;
      ({ lingers } = facts);
      // Else it was another process of this number whose memory and socket these are.
      return native.callWaits(this.#listener) ? serve(fd, facts) : leaveIt;
    } finally {
      if (lingers) closeForeign(fd);
      else closeSync(fd);
    }
  }

  /** The held sockets beside which the program may bind this; undefined when it may not, or there are none. */
  #covering(
    call: SupervisedCall,
    facts: SocketFacts,
    address: ParsedAddress,
    sockets: readonly HeldSocket[],
  ): readonly HeldEndpoint[] | undefined {
    const held = sockets.flatMap((socket): HeldEndpoint[] => {
      const { device } = socket.yielding;
      const of = native.socketFacts(socket.fd);
      if (of?.netns !== facts.netns) return [];
      const at = parseAddress(of.name, of.domain);
      if (at === undefined) return [];
      // A deaf one has no scope that counts.
      return [{ ...makeEndpoint({ ...of, device }, { ...at, scope: 0 }, of.v6only), socket }];
    });
    const verdict = match(makeEndpoint(facts, address, facts.v6only), held);
    if (verdict.held !== undefined) return verdict.held;
    if (verdict.hint !== undefined)
      this.#say(call, `cannot bind beside ${held[0]?.socket.describe() ?? ''}: ${verdict.hint}`);
    return undefined;
  }

  #heldOn(port: number): HeldSocket[] {
    if (port === 0) return [];
    return this.#events
      .held(this.#state.names)
      .filter(({ address }) => 'port' in address && address.port === port);
  }

  /** So that the kernel looks at the program's own sockets first, whether they are in the way of another. */
  #stepBehind(sockets: readonly HeldSocket[]): void {
    for (const socket of sockets) {
      if (!socket.yielding.ahead) continue;
      try {
        socket.yielding.stepBehind();
      } catch {
        // One over IPv4 is in the way, and that one the kernel sees first.
      }
    }
  }

  /** So that the program gets what arrives. */
  #yield(sockets: readonly HeldSocket[], found: readonly HeldEndpoint[], fd: number): void {
    for (const socket of sockets) if (isHeldDatagram6(socket)) socket.yielding.fallAhead();
    for (const { domain, socket } of found) if (domain === 'inet6') socket.yielding.to(fd);
  }

  #say(call: SupervisedCall, what: string): void {
    if (this.#said.has(what) || this.#said.size >= maxHints) return;
    this.#said.add(what);
    this.#log.notice(`${this.#names}: pid ${call.pid} ${commandOf(call.pid)} ${what}`);
  }
}
