import { closeSync } from 'node:fs';
import type { BoundAddress } from '../native/index.js';
import { native } from '../native/index.js';
import { messageOf } from '../model/errors.js';
import { describeSocket } from '../model/reservation.js';
import { HeldPath } from './held-path.js';
import { applyAgain, freshSocket, isInet, openSocket, resolveAddress } from './hold-open.js';
import type { HoldRequest } from './hold-request.js';
import {
  closeSharing,
  isLent,
  isListening,
  isResting,
  isStream,
  isTcp,
  lend,
  receive,
  refuse,
  undoMisuse,
} from './openness.js';
import type { RearKeep } from './rears.js';
import { linkPath, removePath, updatePath } from './unix-path.js';
import { Yielding } from './yielding.js';

/**
 * One bound descriptor, berthd's own. It is bound from the constructor to close(), through every handoff: services get
 * duplicates. While it rests nobody can bind beside it, and its clients are refused or wait as WhileStopped= says.
 */
export class HeldSocket {
  #request: HoldRequest;
  #address: BoundAddress | undefined;
  #fd: number;
  #inode: number;
  /**
   * Beside what services are handed (native.guardDatagrams, guardStream): whatever they do to their duplicates, nobody else
   * can bind. A TCP socket has one from its first handoff on.
   */
  #guard: number | undefined;
  /** How it gives way to the datagram sockets of a program that binds by itself. */
  readonly yielding: Yielding;
  /** What it does about its path, where it has one. */
  readonly path: HeldPath | undefined;
  /** Of a TCP socket: what native.readiness said when it had been handed over by its present settings. */
  #handedAs: number | undefined;
  /** What the kernel refused of its options, for the log. */
  readonly warnings: string[] = [];

  /** Without an address it is the one that the socket has. */
  private constructor(
    request: HoldRequest,
    address: BoundAddress | undefined,
    open: (socket: HeldSocket) => number,
    rears?: RearKeep,
  ) {
    this.#request = request;
    this.#address = address;
    this.#fd = open(this);
    this.#inode = native.inode(this.#fd);
    this.yielding = new Yielding(this, rears);
    const { spec } = request;
    if (spec.address.family === 'unix') this.path = new HeldPath(spec.address.path, this);
  }

  /**
   * Binds. `siblings` are held sockets that this one overlaps with and will replace: they stay bound meanwhile. Throws
   * the SystemError of the call that failed; then nothing is held.
   */
  static bind(request: HoldRequest, siblings: readonly HeldSocket[] = []): HeldSocket {
    const others = siblings.flatMap(({ fds }) => fds);
    const held = new HeldSocket(request, resolveAddress(request.spec), (socket) => socket.#open(others));
    try {
      held.#watchOver(others);
      held.path?.renew();
      if (request.whileStopped === 'queue') receive(held);
      return held;
    } catch (error) {
      held.#closeAll();
      throw error;
    }
  }

  /** Takes descriptors over that an earlier berthd bound by this request, in whatever state they are. */
  static adopt(request: HoldRequest, fd: number, guard?: number, rears?: RearKeep): HeldSocket {
    const held = new HeldSocket(request, undefined, () => fd, rears);
    held.#guard = guard;
    held.#watchOver();
    return held;
  }

  get address(): BoundAddress {
    return (this.#address ??= this.#boundAddress());
  }

  #boundAddress(): BoundAddress {
    const { address } = this.#request.spec;
    if (address.family === 'unix') return address;
    const bound = native.getsockname(this.#fd);
    return address.family === 'inet6' && address.only && bound.family === 'inet6'
      ? { ...bound, only: true }
      : bound;
  }

  /** Lent for a handoff: it stays berthd's. */
  get fd(): number {
    return this.#fd;
  }

  /** The one that stands guard beside it, if there is one. It stays berthd's, and nobody is handed it. */
  get guard(): number | undefined {
    return this.#guard;
  }

  /** All that stands on the address. */
  get fds(): number[] {
    const { fds } = this.yielding;
    if (this.#guard !== undefined) fds.unshift(this.#guard);
    fds.unshift(this.#fd);
    return fds;
  }

  get #own(): number[] {
    return [this.#fd, this.#guard].filter((fd) => fd !== undefined);
  }

  get inode(): number {
    return this.#inode;
  }

  get request(): HoldRequest {
    return this.#request;
  }

  get listening(): boolean {
    return isListening(this);
  }

  describe(): string {
    return describeSocket(this.#request.spec);
  }

  /** Takes over the settings of a re-read file that a bound socket can still take; what it cannot is a warning. */
  update(request: HoldRequest, inUse: boolean): void {
    const before = this.#request;
    this.#request = request;
    this.#handedAs = undefined;
    if (JSON.stringify(before) === JSON.stringify(request)) return;
    const { options } = request;
    this.#watchOver();
    this.warnings.push(...applyAgain(this.#fd, request, this.address, before.options));
    try {
      if (this.address.family === 'unix') {
        updatePath(this.#fd, this.address.path, options);
        this.warnings.push(...linkPath(this.address.path, options.symlinks));
      }
      if (!inUse) this.rest();
    } catch (error) {
      this.warnings.push(`${this.describe()} cannot take its new settings: ${messageOf(error)}`);
    }
  }

  /**
   * Makes the socket ready for a service, however the last one left it: a stream listens, datagrams come through, reads
   * block as systemd's passed sockets do. Returns what had to be repaired. Throws when it cannot be made ready.
   */
  handOver(): string[] {
    if (this.#handedAs !== undefined && native.readiness(this.#fd) === this.#handedAs) return [];
    const repaired = undoMisuse(this, () => {
      this.#replace();
    });
    try {
      if (this.#findPath()) repaired.push('was no longer at its path and had to be replaced');
    } catch (error) {
      repaired.push(`is not at its path: ${messageOf(error)}`);
    }
    // While a stream listens nobody can bind beside it, and its connections have to inherit SO_REUSEADDR.
    if (!isStream(this) || this.lent) closeSharing(this);
    this.standGuard();
    native.setBlocking(this.#fd);
    receive(this);
    // Without its guard there is another try each time.
    const complete = !this.#request.guarded || this.#guard !== undefined;
    this.#handedAs = complete && isTcp(this) ? native.readiness(this.#fd) : undefined;
    return repaired;
  }

  /** Before a service has the socket, or once berthd knows that one does. Where there can be no guard there is none. */
  standGuard(others: readonly number[] = []): void {
    if (!this.#request.guarded) return;
    this.#guard ??= isStream(this)
      ? native.guardStream(this.#fd, others)
      : native.guardDatagrams(this.#fd, others);
  }

  /**
   * Lets a service that sets SO_REUSEADDR bind beside the hold, until endLoan() or rest(). The hold stays bound; whoever
   * else sets SO_REUSEADDR could bind beside it, too.
   */
  lend(): void {
    lend(this);
  }

  /** Closed to everybody again; what has been bound beside the hold stays so. */
  endLoan(): void {
    closeSharing(this);
  }

  /** A program has ended. What it had in the place of this one is no longer there. True when this is another socket now. */
  leave(program: object): boolean {
    if (this.path?.leave(program) !== false) return false;
    this.#replace();
    return true;
  }

  /** Closed to everybody, after a berthd that may have ended in the midst of a call of a program that still runs. */
  reseal(): void {
    closeSharing(this);
    this.yielding.reseal();
  }

  /** Whether it is lent at this moment. */
  get lent(): boolean {
    return isLent(this);
  }

  /** True of a TCP socket on which rest() would change nothing. Of another one it is not known. */
  get resting(): boolean {
    return isResting(this);
  }

  /** The service has stopped: clients are refused, or wait for its next start. The port stays bound throughout. */
  rest(): void {
    const replace = (): void => {
      this.#replace();
    };
    closeSharing(this);
    try {
      this.yielding.end();
    } finally {
      refuse(this, replace);
    }
    if (this.#findPath()) refuse(this, replace);
  }

  /** Lets go of the address, for good. `keepPath` is for a path at which there is another socket by now. */
  close(keepPath = false): void {
    const { address } = this; // a closed descriptor could not be asked any more
    const kept = keepPath || this.path?.admits === true;
    this.path?.forget();
    this.#closeAll();
    const { options } = this.#request;
    if (address.family === 'unix' && options.removeOnStop && !kept)
      removePath(address.path, options.symlinks);
  }

  /** Lets go of the address for somebody else to bind: with an AF_UNIX path, its file goes too. */
  letGo(): void {
    const { address } = this;
    this.close();
    if (address.family === 'unix') removePath(address.path, []);
  }

  #open(siblings: readonly number[], instead?: boolean): number {
    return openSocket(this.#request, this.address, siblings, this.warnings, instead);
  }

  /** Has a guard where one is due already and can be had, and none where not. `others` are sockets of ours on the address. */
  #watchOver(others: readonly number[] = []): void {
    if (!this.#request.guarded) this.#dismissGuard();
    else if (!isStream(this)) this.standGuard(others);
    this.warnings.push(...this.yielding.prepare());
  }

  #dismissGuard(): void {
    if (this.#guard !== undefined) closeSync(this.#guard);
    this.#guard = undefined;
  }

  #closeAll(): void {
    this.#own.forEach(closeSync);
    this.yielding.close();
  }

  /** Services and programs remove the file of what they take for theirs. True when another socket had to be bound. */
  #findPath(): boolean {
    if (this.path?.restore() !== false) return false;
    this.#replace();
    return true;
  }

  /**
   * A socket that cannot be revived: another one takes its place, of an IP address while it is still bound, of a path by
   * rename(2). An abstract name is free for a moment.
   */
  #replace(): void {
    const before = this.#own;
    if (isInet(this.#request.spec)) {
      const beside = this.fds;
      this.#fd = this.#open(beside);
      // The guard has to come after the hold (native.guardDatagrams), so another one replaces it, too.
      const guarded = this.#guard !== undefined;
      this.#guard = undefined;
      if (guarded && isStream(this)) this.standGuard(beside);
      this.#watchOver(beside);
      before.forEach(closeSync);
    } else if (this.path !== undefined) {
      this.#fd = this.#open([], true);
      before.forEach(closeSync);
      this.path.renew();
    } else {
      // It goes with its socket only, and another takes no place of it. Its number stays taken, should the name be, too.
      this.#fd = freshSocket(this.#request.spec, this.address);
      before.forEach(closeSync);
      const placeholder = this.#fd;
      this.#fd = this.#open([]);
      closeSync(placeholder);
    }
    this.#inode = native.inode(this.#fd);
  }
}
