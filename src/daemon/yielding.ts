import { describeSocket } from '../model/reservation.js';
import { constant, native } from '../native/index.js';
import type { BoundAddress } from '../native/index.js';
import { isInet, makeSocket } from './hold-open.js';
import type { HoldRequest } from './hold-request.js';
import { Rears } from './rears.js';
import type { RearKeep } from './rears.js';

/** What of a held socket is needed to have it step behind a program's. `fds` is all that stands on the address. */
export interface Ground {
  readonly fd: number;
  readonly fds: readonly number[];
  readonly request: HoldRequest;
  readonly address: BoundAddress;
}

/**
 * How a held datagram socket gives way to those of a program that binds by itself: over IPv6 the program's has to come before
 * the held one in the kernel's list. So that one is made deaf, and another one stands guard for it at the end of the list:
 * against sockets that are bound to an interface, which a deaf one does not keep out. It outlives berthd, and there is one
 * before the hold is deaf and before the last one goes.
 */
export class Yielding {
  readonly #ground: Ground;
  #rears: Rears;
  #ahead = false;

  /** Takes over what an earlier berthd had. */
  constructor(ground: Ground, keep?: RearKeep) {
    this.#ground = ground;
    this.#rears = new Rears(keep);
  }

  /** Lent for the vault. */
  get keep(): RearKeep | undefined {
    return this.#rears.keep;
  }

  /** The guards. */
  get fds(): number[] {
    return this.#rears.fds;
  }

  /** Whether a program's socket comes after the guard. */
  get ahead(): boolean {
    return this.#ahead;
  }

  /** The index of the interface that the socket is reserved on, or 0. */
  get device(): number {
    const { spec, options } = this.#ground.request;
    const { address } = spec;
    const name = options.bindToDevice ?? (address.family === 'inet6' ? address.scope : undefined);
    return name === undefined ? 0 : native.interfaceIndex(name);
  }

  /** Makes ready for what may have to outlive berthd, where a program may come. Returns a warning where that cannot be. */
  prepare(): string[] {
    const { spec, yields } = this.#ground.request;
    if (!yields || !isInet(spec) || this.keep !== undefined || this.fds.length > 0) return [];
    const keep = Rears.makeKeep();
    this.#rears = new Rears(keep);
    if (keep !== undefined) return [];
    return [
      `${describeSocket(spec)}: there are no descriptors to spare for what guards it beside a program: that ends with berthd`,
    ];
  }

  /**
   * `program` has been bound beside the held sockets just now. Where nothing can be bound behind, because another socket of
   * the program is in the way, there is no guard.
   */
  to(program: number): void {
    try {
      this.stepBehind(program);
    } catch {
      native.setDevice(this.#ground.fd, -1);
      this.#rears.clear();
    }
  }

  /** The same before a program's next socket is bound, behind those that are there (-1). Throws where that is not possible. */
  stepBehind(program = -1): void {
    const { request, address, fds } = this.#ground;
    const rear = makeSocket(request, address, (fd) => {
      native.bindBehind(fd, fds, program);
    });
    this.#rears.add(rear);
    native.setDevice(this.#ground.fd, -1);
    this.#rears.keepNewest();
    this.#ahead = false;
  }

  /** Tells of a datagram socket over IPv6 that a program has bound since the guard was, on the same port. */
  fallAhead(): void {
    this.#ahead = true;
  }

  /** After a berthd that may have ended in the midst of a call of a program that still runs. */
  reseal(): void {
    for (const fd of this.fds) native.setOption(fd, constant('SOL_SOCKET'), constant('SO_REUSEPORT'), 0);
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

  /** No program has a socket there any more. */
  end(): void {
    if (this.#isDeaf) native.setDevice(this.#ground.fd, this.device);
    this.#rears.clear();
    this.#ahead = false;
    // Here only: a program may be there yet when the mode is another one already.
    if (this.#ground.request.yields || this.keep === undefined) return;
    this.#rears.close();
    this.#rears = new Rears(undefined);
  }

  close(): void {
    this.#rears.close();
  }

  get #isDeaf(): boolean {
    const { spec } = this.#ground.request;
    return isInet(spec) && spec.type === 'datagram' && native.isDeaf(this.#ground.fd);
  }
}
