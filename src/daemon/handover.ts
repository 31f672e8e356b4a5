import { BerthError, messageOf } from '../model/errors.js';
import type { ClaimMode } from '../protocol/replies.js';
import { withReserve } from './descriptor-reserve.js';
import type { Events } from './events.js';
import type { HeldSocket } from './held-socket.js';
import type { Log } from './log.js';
import type { Entry, Slot, Table } from './table.js';

/** What a claim has the rest of berthd do. */
export interface ClaimEffects {
  /** Other sockets are held than before, or fewer. */
  changed(): void;
  /** Other guards stand than before. The next berthd could make them anew, so this may wait to be stored. */
  guarded(): void;
  /** Resolves when nobody has the sockets any more that were closed before changed(), not even the service manager. */
  settled(): Promise<void>;
}

/** Makes a reservation's sockets ready for a service, and puts them to rest after it. */
export class Handover {
  readonly #table: Table;
  readonly #log: Log;
  readonly #events: Events;
  readonly #effects: ClaimEffects;
  readonly #inUse: (name: string) => boolean;

  constructor(
    table: Table,
    log: Log,
    events: Events,
    effects: ClaimEffects,
    inUse: (name: string) => boolean,
  ) {
    this.#table = table;
    this.#log = log;
    this.#events = events;
    this.#effects = effects;
    this.#inUse = inUse;
  }

  /** All sockets of a reservation, ready. Throws a BerthError when that cannot be done for all of them. */
  ready({ reservation, slots }: Entry, mode: ClaimMode): HeldSocket[] {
    const before = slots.map(({ socket }) => socket && { inode: socket.inode, guard: socket.guard });
    const sockets = this.hold(slots);
    this.#make(reservation.name, sockets, mode);
    if (sockets.some(({ inode }, index) => inode !== before[index]?.inode)) this.#effects.changed();
    else if (sockets.some(({ guard }, index) => guard !== before[index]?.guard)) this.#effects.guarded();
    return sockets;
  }

  /** Throws a BerthError when one of them cannot be held. */
  hold(slots: readonly Slot[]): HeldSocket[] {
    if (slots.some(({ socket }) => socket === undefined))
      withReserve(() => {
        this.#table.hold(slots);
      });
    return slots.map(({ socket, error }) => {
      if (socket === undefined) throw new BerthError('NotHeld', error ?? 'it is not held');
      return socket;
    });
  }

  #make(name: string, sockets: readonly HeldSocket[], mode: ClaimMode): void {
    try {
      for (const socket of sockets) {
        if (mode === 'lend') socket.lend();
        else
          for (const what of socket.handOver()) {
            this.#events.emit({
              event: 'repaired',
              reservation: name,
              socket: socket.describe(),
              message: what,
            });
          }
      }
    } catch (error) {
      this.rest(name, sockets);
      throw new BerthError('NotHeld', `a socket cannot be made ready: ${messageOf(error)}`, { cause: error });
    }
  }

  /** A berthd that ended before its guard was stored, or one without guards, has left a service without. */
  standGuard(sockets: readonly HeldSocket[]): void {
    const before = sockets.map(({ guard }) => guard);
    for (const socket of sockets) socket.standGuard();
    if (sockets.some(({ guard }, index) => guard !== before[index])) this.#effects.guarded();
  }

  /** Does nothing while the reservation has a claimant. */
  rest(name: string, sockets: readonly HeldSocket[]): void {
    if (this.#inUse(name)) return;
    for (const socket of sockets) {
      const { inode } = socket;
      try {
        socket.rest();
      } catch (error) {
        this.#log.warning(`${name}: ${socket.describe()} cannot be put to rest: ${messageOf(error)}`);
      }
      // It had to be replaced.
      if (socket.inode !== inode) this.#effects.guarded();
    }
  }
}
