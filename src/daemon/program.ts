import { closeSync } from 'node:fs';
import { messageOf } from '../model/errors.js';
import { closeForeign } from '../native/close.js';
import { receiveCall, recallCall } from '../native/calls.js';
import type { Findings, SupervisedCall } from '../native/calls.js';
import { constant, Disconnected, native, Readable } from '../native/index.js';
import type { SocketFacts, Watch } from '../native/index.js';
import { commandOf } from '../systemd/processes.js';
import { makeEndpoint, match, parseAddress } from './bind-match.js';
import type { ParsedAddress } from './bind-match.js';
import { endpointsOf, fdsOf, forget } from './held-endpoints.js';
import type { HeldEndpoint } from './held-endpoints.js';
import type { HeldSocket } from './held-socket.js';
import type { Log } from './log.js';
import type { Looks } from './looks.js';
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

function isBound({ name }: SocketFacts): boolean {
  return name.length >= 4 && name.readUInt16BE(2) !== 0;
}

function isDatagram6({ domain, type }: SocketFacts): boolean {
  return type === constant('SOCK_DGRAM') && domain === constant('AF_INET6');
}

function isHeldDatagram6({ address, request }: HeldSocket): boolean {
  return request.spec.type === 'datagram' && address.family === 'inet6';
}

/** The kernel does the call itself, and gives its own error. */
const leaveIt = -1;
/** What bind(2) takes at the most (struct sockaddr_storage), and the least, which is a path. */
const maxAddress = 128;
const minAddress = 3;
/** In milliseconds: who makes a look last longer is not waited for again, not even for a moment. */
const tolerable = 100;
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
  readonly #looks: Looks;
  readonly #watch: Watch;
  readonly #said = new Set<string>();
  #state: ProgramState;
  #open = true;
  /** Its paths are in file systems that do not answer. */
  #slow = false;
  /** None of its calls has made a look last yet. */
  #prompt = true;
  /** One does, by performance.now(). */
  #lookingSince: number | undefined;

  /** Takes the listener over. */
  constructor(listener: number, state: ProgramState, events: ProgramEvents, looks: Looks, log: Log) {
    this.#listener = listener;
    this.#state = state;
    this.#events = events;
    this.#looks = looks;
    this.#log = log;
    native.wakeHere(listener);
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

  /** A look at one of its calls has not ended. */
  get looking(): boolean {
    return this.#lookingSince !== undefined;
  }

  /** Serves the call that an earlier berthd received and did not answer, if it is of this program. */
  recall(): void {
    const call = recallCall(this.#listener);
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
    if (this.looking) {
      if ((native.pollNow(this.#listener) & constant('POLLHUP')) !== 0) this.#end();
      return;
    }
    const call = receiveCall(this.#listener);
    if (call === 'ended') this.#end();
    else if (call !== undefined) this.#serve(call);
  }

  #end(): void {
    this.close();
    this.#events.ended();
  }

  #serve(call: SupervisedCall): void {
    try {
      if (call.name === 'restrict') this.#restrict(call);
      if (this.#concerns(call)) {
        const found = this.#looks.at(call.slot, this.#prompt, (late) => {
          this.#goOn(call, late);
        });
        if (found === undefined) this.#waitForLook();
        else this.#finish(call, found);
        return;
      }
    } catch (error) {
      this.#cannotServe(call, error);
    }
    this.#answer(call, leaveIt);
  }

  /** Until the look has ended it is only of interest whether the program has. */
  #waitForLook(): void {
    this.#lookingSince = performance.now();
    native.rewatch(this.#watch, Disconnected);
  }

  #goOn(call: SupervisedCall, found: Findings): void {
    // On a busy machine a look lasts, too, and that is not the program's doing.
    if (performance.now() - (this.#lookingSince ?? 0) > tolerable) this.#prompt = false;
    this.#lookingSince = undefined;
    if (this.#open) {
      native.rewatch(this.#watch, Readable);
      this.#finish(call, found);
    } else {
      if (found.fd !== undefined) closeForeign(found.fd);
      native.forgetCall(call.slot);
    }
  }

  #finish(call: SupervisedCall, found: Findings): void {
    let answer = leaveIt;
    try {
      answer = this.#decide(call, found);
    } catch (error) {
      this.#cannotServe(call, error);
    }
    this.#answer(call, answer);
  }

  #answer(call: SupervisedCall, answer: number): void {
    try {
      native.answerCall(this.#listener, call.slot, answer);
    } catch (error) {
      this.#log.err(`${this.#names}: a ${call.name}() cannot be answered: ${messageOf(error)}`);
    }
  }

  #cannotServe(call: SupervisedCall, error: unknown): void {
    this.#log.err(`${this.#names}: a ${call.name}() cannot be served: ${messageOf(error)}`);
  }

  get #names(): string {
    return this.#state.names.join(', ');
  }

  #restrict(call: SupervisedCall): void {
    if (this.#state.restricted) return;
    this.#state = { ...this.#state, restricted: true };
    this.#events.changed();
    this.#say(call, 'restricts itself (Landlock): nothing more is bound for it');
  }

  /** Whether it could be about what is reserved, and is worth a look. */
  #concerns({ name, pid, length }: SupervisedCall): boolean {
    if (this.#state.restricted || pid === 0) return false;
    return name === 'listen' || (name === 'bind' && length >= minAddress && length <= maxAddress);
  }

  #decide(call: SupervisedCall, { fd, errno, facts, bytes }: Findings): number {
    if (fd === undefined) {
      if (errno === constant('EPERM')) this.#say(call, 'does not let berthd have its sockets (ptrace(2))');
      return leaveIt;
    }
    try {
      // Else it was another process of this number whose memory and socket these are.
      if (!native.callWaits(this.#listener, call.slot)) return leaveIt;
      if (call.begun) native.undoBegun(call.slot, fd);
      return call.name === 'bind' ? this.#bind(call, fd, facts, bytes) : this.#listen(call, fd, facts);
    } finally {
      if (facts.lingers) closeForeign(fd);
      else closeSync(fd);
    }
  }

  #bind(call: SupervisedCall, fd: number, facts: SocketFacts, bytes: Buffer): number {
    const path = parsePath(bytes);
    if (path !== undefined) return this.#bindPath(call, fd, facts, path);
    const address = parseAddress(bytes, facts.domain);
    if (address === undefined) return leaveIt;
    const held = this.#heldOn(address.port);
    const found = this.#covering(call, facts, address, held);
    if (found === undefined) return leaveIt;
    if (isBound(facts)) {
      const has = parseAddress(facts.name, facts.domain);
      const done = call.begun && has?.port === address.port && has.host === address.host;
      if (!done) return leaveIt;
    } else {
      if (isDatagram6(facts)) this.#stepBehind(held);
      const error = native.bindFor(call.slot, fd, bytes, fdsOf(found));
      if (error !== 0) return error;
    }
    if (isDatagram6(facts)) this.#yield(held, found, fd);
    return 0;
  }

  #bindPath(call: SupervisedCall, fd: number, facts: SocketFacts, path: string): number {
    const held = this.#events.held(this.#state.names).filter((socket) => socket.path !== undefined);
    if (held.length === 0 || this.#slow) return leaveIt;
    const answer = servePath(call, { fd, facts, path }, held, this);
    if (answer !== 'slow') return answer ?? leaveIt;
    this.#slow = true;
    this.#say(call, 'has berthd look for a path that it cannot find in time: it gets none any more');
    return leaveIt;
  }

  #listen(call: SupervisedCall, fd: number, facts: SocketFacts): number {
    if (facts.type !== constant('SOCK_STREAM')) return leaveIt;
    if (facts.listening) return call.begun ? 0 : leaveIt;
    const address = parseAddress(facts.name, facts.domain);
    if (address === undefined || facts.lingers) return leaveIt;
    const found = this.#covering(call, facts, address, this.#heldOn(address.port));
    return found === undefined ? leaveIt : native.listenFor(call.slot, fd, call.backlog, fdsOf(found));
  }

  /** The held sockets beside which the program may bind this; undefined when it may not, or there are none. */
  #covering(
    call: SupervisedCall,
    facts: SocketFacts,
    address: ParsedAddress,
    sockets: readonly HeldSocket[],
  ): readonly HeldEndpoint[] | undefined {
    const asked = makeEndpoint(facts, address, facts.v6only);
    let held = endpointsOf(sockets, facts.netns);
    let verdict = match(asked, held);
    if (verdict.held !== undefined) return verdict.held;
    forget(sockets);
    held = endpointsOf(sockets, facts.netns);
    verdict = match(asked, held);
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
