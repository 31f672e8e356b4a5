import { closeSync } from 'node:fs';
import type { BoundAddress } from '../native/index.js';
import { constant, Listening, native, ReuseAddr, ReusePort } from '../native/index.js';
import { isShortage, isSystemError, messageOf } from '../model/errors.js';
import type { SocketOptions, SocketSpec } from '../model/reservation.js';
import { describeSocket } from '../model/reservation.js';
import { hasIpv6 } from './hold-request.js';
import type { HoldRequest } from './hold-request.js';
import { Rears } from './rears.js';
import type { RearKeep } from './rears.js';
import { applyBindOptions, applyOptions, kernelDefaults, unlockBuffers } from './options.js';
import { bindPath, bindPathInstead, linkPath, removePath, updatePath } from './unix-path.js';

const protocols = {
  tcp: 'IPPROTO_TCP',
  udp: 'IPPROTO_UDP',
  udplite: 'IPPROTO_UDPLITE',
  sctp: 'IPPROTO_SCTP',
  mptcp: 'IPPROTO_MPTCP',
} as const;
const types = { stream: 'SOCK_STREAM', datagram: 'SOCK_DGRAM', seqpacket: 'SOCK_SEQPACKET' } as const;
const families = { inet: 'AF_INET', inet6: 'AF_INET6', unix: 'AF_UNIX', abstract: 'AF_UNIX' } as const;

/** A bare port is dual-stack where the kernel speaks IPv6 (systemd.socket(5), ListenStream=). */
function resolveAddress({ address }: SocketSpec): BoundAddress {
  if (address.family !== 'any') return address;
  return hasIpv6()
    ? { family: 'inet6', host: '::', port: address.port }
    : { family: 'inet', host: '0.0.0.0', port: address.port };
}

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
  /** Behind the datagram sockets of a program that binds by itself: see yieldTo. */
  #rears = new Rears(undefined);
  #ahead = false;
  /** Of a TCP socket: what native.readiness said when it had been handed over by its present settings. */
  #handedAs: number | undefined;
  /** What the kernel refused of its options, for the log. */
  readonly warnings: string[] = [];

  /** Without an address it is the one that the socket has. */
  private constructor(
    request: HoldRequest,
    address: BoundAddress | undefined,
    open: (socket: HeldSocket) => number,
  ) {
    this.#request = request;
    this.#address = address;
    this.#fd = open(this);
    this.#inode = native.inode(this.#fd);
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
      if (request.whileStopped === 'queue') held.#receive();
      return held;
    } catch (error) {
      held.#closeAll();
      throw error;
    }
  }

  /** Takes descriptors over that an earlier berthd bound by this request, in whatever state they are. */
  static adopt(request: HoldRequest, fd: number, guard?: number, rears?: RearKeep): HeldSocket {
    const held = new HeldSocket(request, undefined, () => fd);
    held.#guard = guard;
    held.#rears = new Rears(rears);
    held.#watchOver();
    return held;
  }

  get address(): BoundAddress {
    return (this.#address ??= this.#boundAddress());
  }

  #boundAddress(): BoundAddress {
    const { address } = this.#request.spec;
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

  /** What has to outlive berthd for its guards behind a program's sockets to do so, where it may have some. */
  get rearKeep(): RearKeep | undefined {
    return this.#rears.keep;
  }

  /** All that stands on the address. */
  get fds(): number[] {
    const fds = this.#rears.fds;
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
    return (native.sharing(this.#fd) & Listening) !== 0;
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
    this.warnings.push(...this.#applyAgain(before.options));
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
    const repaired = this.#repair();
    this.standGuard();
    native.setBlocking(this.#fd);
    this.#receive();
    // Without its guard there is another try each time.
    const complete = !this.#request.guarded || this.#guard !== undefined;
    this.#handedAs = complete && this.#isTcp ? native.readiness(this.#fd) : undefined;
    return repaired;
  }

  /** Before a service has the socket, or once berthd knows that one does. Where there can be no guard there is none. */
  standGuard(others: readonly number[] = []): void {
    if (!this.#request.guarded) return;
    this.#guard ??= this.#isStream
      ? native.guardStream(this.#fd, others)
      : native.guardDatagrams(this.#fd, others);
  }

  /**
   * Lets a service that sets SO_REUSEADDR bind beside the hold, until endLoan() or rest(). The hold stays bound; whoever
   * else sets SO_REUSEADDR could bind beside it, too.
   */
  lend(): void {
    this.#set('SO_REUSEADDR', true);
  }

  /** Closed to everybody again; what has been bound beside the hold stays so. */
  endLoan(): void {
    this.#closeSharing();
  }

  /**
   * Of datagram sockets over IPv6 a program's has to come before the held ones in the kernel's list. So this one is made
   * deaf, and another one stands guard for it at the end of the list: against sockets that are bound to an interface, which
   * a deaf one does not keep out. It outlives berthd, and there is one before the hold is deaf and before the last one
   * goes. `program` has been bound beside them just now. Where nothing can be bound behind, because another socket of the
   * program is in the way, there is no guard.
   */
  yieldTo(program: number): void {
    try {
      this.stepBehind(program);
    } catch {
      native.setDevice(this.#fd, -1);
      this.#rears.clear();
    }
  }

  /** The same before a program's next socket is bound, behind those that are there (-1). Throws where that is not possible. */
  stepBehind(program = -1): void {
    const rear = this.#make((fd) => {
      native.bindBehind(fd, this.fds, program);
    });
    this.#rears.add(rear);
    native.setDevice(this.#fd, -1);
    this.#rears.keepNewest();
    this.#ahead = false;
  }

  /** Tells of a datagram socket over IPv6 that a program has bound since the guard was, on the same port. */
  fallAhead(): void {
    this.#ahead = true;
  }

  get ahead(): boolean {
    return this.#ahead;
  }

  /** The index of the interface that it is reserved on, or 0. */
  get device(): number {
    const { address } = this.#request.spec;
    const name =
      this.#request.options.bindToDevice ?? (address.family === 'inet6' ? address.scope : undefined);
    return name === undefined ? 0 : native.interfaceIndex(name);
  }

  /** Closed to everybody, after a berthd that may have ended in the midst of a call of a program that still runs. */
  reseal(): void {
    this.#closeSharing();
    for (const fd of this.#rears.fds)
      native.setOption(fd, constant('SOL_SOCKET'), constant('SO_REUSEPORT'), 0);
    if (!this.#isDeaf) {
      this.#rears.clear();
      return;
    }
    try {
      this.stepBehind();
    } catch {
      // The one of the earlier berthd stays: better too far ahead than none.
      this.#ahead = true;
    }
  }

  get #isDeaf(): boolean {
    return this.#isInet && !this.#isStream && native.isDeaf(this.#fd);
  }

  /** Whether it is lent at this moment. */
  get lent(): boolean {
    return this.#isInet && (native.sharing(this.#fd) & (ReuseAddr | Listening)) === ReuseAddr;
  }

  /** True of a TCP socket on which rest() would change nothing. Of another one it is not known. */
  get resting(): boolean {
    const { spec, options, whileStopped } = this.#request;
    if (spec.type !== 'stream' || whileStopped !== 'refuse' || !this.#isInet) return false;
    return native.sharing(this.#fd) === (options.reusePort ? ReusePort : 0);
  }

  /** The service has stopped: clients are refused, or wait for its next start. The port stays bound throughout. */
  rest(): void {
    this.#closeSharing();
    if (this.#isDeaf) native.setDevice(this.#fd, this.device);
    this.#rears.clear();
    this.#ahead = false;
    this.#dismissKeep();
    if (!this.#isStream) this.#filter();
    else if (this.#request.whileStopped === 'queue') this.#receive();
    else this.#unlisten();
  }

  /** Lets go of the address, for good. `keepPath` is for a path at which there is another socket by now. */
  close(keepPath = false): void {
    const { address } = this; // a closed descriptor could not be asked any more
    this.#closeAll();
    const { options } = this.#request;
    if (address.family === 'unix' && options.removeOnStop && !keepPath)
      removePath(address.path, options.symlinks);
  }

  /** Lets go of the address for somebody else to bind: with an AF_UNIX path, its file goes too. */
  letGo(): void {
    const { address } = this;
    this.close();
    if (address.family === 'unix') removePath(address.path, []);
  }

  get #isStream(): boolean {
    return this.#request.spec.type !== 'datagram';
  }

  /** Plain TCP is what shutdown(2) puts back to bound and silent. An AF_UNIX socket that was shut down stays so. */
  get #isTcp(): boolean {
    return this.#isInet && this.#get('SO_PROTOCOL') === constant('IPPROTO_TCP');
  }

  get #isInet(): boolean {
    const { family } = this.#request.spec.address;
    return family !== 'unix' && family !== 'abstract';
  }

  #get(option: string): number {
    return native.getOption(this.#fd, constant('SOL_SOCKET'), constant(option));
  }

  #set(option: string, value: boolean): void {
    native.setOption(this.#fd, constant('SOL_SOCKET'), constant(option), Number(value));
  }

  /** A socket of its kind on which nothing is set. */
  #fresh(): number {
    const { type, protocol } = this.#request.spec;
    const family = constant(families[this.address.family]);
    return native.socket(
      family,
      constant(types[type]),
      protocol === undefined ? 0 : constant(protocols[protocol]),
    );
  }

  /** Sets its options where others were set before; what is no longer given is as the kernel has it. */
  #applyAgain(before: SocketOptions): string[] {
    const { spec, options } = this.#request;
    const fresh = this.#fresh();
    try {
      const all = { ...options, ...kernelDefaults(before, options, fresh) };
      const refused = applyOptions(this.#fd, spec, this.address, all, true);
      if (all.sendBuffer !== options.sendBuffer || all.receiveBuffer !== options.receiveBuffer)
        unlockBuffers(this.#fd, options);
      return refused;
    } finally {
      closeSync(fresh);
    }
  }

  #open(siblings: readonly number[]): number {
    const { spec, options } = this.#request;
    return this.#make((fd) => {
      if (this.address.family === 'unix') {
        const bind = siblings.length > 0 ? bindPathInstead : bindPath;
        bind(fd, this.address.path, constant(types[spec.type]), options);
      } else bindAlone(fd, this.address, spec, siblings);
      this.warnings.push(...applyOptions(fd, spec, this.address, options));
      if (this.address.family === 'unix')
        this.warnings.push(...linkPath(this.address.path, options.symlinks));
    });
  }

  /** A socket with all that has to be set before bind(2). */
  #make(bind: (fd: number) => void): number {
    const { spec, options, whileStopped } = this.#request;
    const fd = this.#fresh();
    try {
      applyBindOptions(fd, this.address, options);
      if (this.#isInet && !options.reusePort) native.disown(fd);
      // Before bind(2), so that no datagram slips in.
      if (spec.type === 'datagram' && whileStopped === 'refuse') native.attachDrop(fd);
      bind(fd);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Has a guard where one is due already and can be had, and none where not. `others` are sockets of ours on the address. */
  #watchOver(others: readonly number[] = []): void {
    if (!this.#request.guarded) this.#dismissGuard();
    else if (!this.#isStream) this.standGuard(others);
    if (!this.#request.yields || this.#rears.keep !== undefined || this.#rears.fds.length > 0) return;
    this.#rears = new Rears(Rears.makeKeep());
    if (this.#rears.keep === undefined)
      this.warnings.push(
        `${this.describe()}: there are no descriptors to spare for what guards it beside a program: that ends with berthd`,
      );
  }

  #dismissGuard(): void {
    if (this.#guard !== undefined) closeSync(this.#guard);
    this.#guard = undefined;
  }

  /** At rest only: a program may be there yet when the mode is another one already. */
  #dismissKeep(): void {
    if (this.#request.yields || this.#rears.keep === undefined) return;
    this.#rears.close();
    this.#rears = new Rears(undefined);
  }

  #closeAll(): void {
    this.#own.forEach(closeSync);
    this.#rears.close();
  }

  #receive(): void {
    if (this.#isStream) native.listenHeld(this.#fd, this.#backlog, this.#guard ?? -1);
    else native.detachDrop(this.#fd);
  }

  /** listen(2) takes an int; systemd's default is the most that an unsigned one holds, and the kernel caps either. */
  get #backlog(): number {
    return Math.min(this.#request.options.backlog, 0x7fffffff);
  }

  #filter(): void {
    try {
      if (this.#request.whileStopped === 'queue') native.detachDrop(this.#fd);
      else native.attachDrop(this.#fd);
    } catch (error) {
      if (isShortage(error)) throw error;
      this.#replace(); // EPERM: the service has locked a filter of its own
    }
  }

  /** SO_REUSEADDR goes off while the socket still listens, so that there is no moment in which it could be shared. */
  #unlisten(): void {
    if (this.#isTcp && this.listening) native.shutdownRead(this.#fd);
  }

  /** A service that got a duplicate may have made the address shareable for itself; it is shareable for nobody. */
  #closeSharing(): void {
    if (!this.#isInet) return;
    this.#set('SO_REUSEADDR', false);
    this.#set('SO_REUSEPORT', this.#request.options.reusePort);
  }

  /** A service can connect its duplicate, shut it down or filter it, and with it every other one. */
  #repair(): string[] {
    const done: string[] = [];
    try {
      // On a datagram socket at rest it is ours.
      if (native.detachDrop(this.#fd) && this.#isStream) done.push('had a filter of the service');
      if (native.disconnect(this.#fd)) {
        applyBindOptions(this.#fd, this.address, this.#request.options);
        done.push('was connected or shut down by the service');
      }
    } catch (error) {
      if (isShortage(error)) throw error;
      // SO_LOCK_FILTER, or an AF_UNIX stream that was connected: there is no way back.
      this.#replace();
      return [...done, `was left unusable by the service (${messageOf(error)}) and had to be replaced`];
    }
    if ((native.pollNow(this.#fd) & constant('POLLRDHUP')) !== 0) {
      this.#replace();
      done.push('was shut down by the service and had to be replaced');
    }
    // While a stream listens nobody can bind beside it, and its connections have to inherit SO_REUSEADDR.
    if (!this.#isStream || this.lent) this.#closeSharing();
    return done;
  }

  /** A socket that cannot be revived: another one takes its place, of an IP address while it is still bound. */
  #replace(): void {
    if (this.#isInet) {
      const before = this.#own;
      const beside = this.fds;
      this.#fd = this.#open(beside);
      // The guard has to come after the hold (native.guardDatagrams), so another one replaces it, too.
      const guarded = this.#guard !== undefined;
      this.#guard = undefined;
      if (guarded && this.#isStream) this.standGuard(beside);
      this.#watchOver(beside);
      before.forEach(closeSync);
    } else {
      const { family } = this.address;
      if (this.address.family === 'unix') removePath(this.address.path, []);
      // An abstract name goes with its socket only. Its number stays taken, should the name be, too.
      const old = this.#fd;
      this.#fd = native.socket(constant(families[family]), constant(types[this.#request.spec.type]), 0);
      closeSync(old);
      const placeholder = this.#fd;
      this.#fd = this.#open([]);
      closeSync(placeholder);
    }
    this.#inode = native.inode(this.#fd);
  }
}

/**
 * Binds so that nothing else is bound there. For streams that may take SO_REUSEADDR, else a connection of before, open or
 * in TIME_WAIT, would be in the way; bindBeside has it on for the call alone: with it, a thief that sets it too could bind
 * and listen. Datagrams never have it: there it would share (socket(7)).
 */
function bindAlone(fd: number, address: BoundAddress, spec: SocketSpec, siblings: readonly number[]): void {
  if (address.family !== 'abstract' && siblings.length > 0) {
    native.bindBeside(fd, address, siblings);
    return;
  }
  try {
    native.bind(fd, address);
  } catch (error) {
    const inUse = isSystemError(error) && error.code === 'EADDRINUSE';
    if (!inUse || spec.type === 'datagram' || address.family === 'abstract') throw error;
    native.bindBeside(fd, address, []);
  }
}
