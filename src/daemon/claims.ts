import { bindObstacle } from '../model/bind-mode.js';
import { BerthError } from '../model/errors.js';
import { describeSocket } from '../model/reservation.js';
import type { Reservation } from '../model/reservation.js';
import type { Peer } from '../protocol/peer.js';
import { claimReply } from '../protocol/replies.js';
import type { ClaimMode, Replies, Reply } from '../protocol/replies.js';
import { findUnitCgroup } from '../systemd/cgroup.js';
import { commandOf } from '../systemd/processes.js';
import { modeOf, wrongForm, type ClaimForm } from './claim-mode.js';
import { Claimants } from './claimants.js';
import type { Claimant, Follower } from './claimants.js';
import { withReserve } from './descriptor-reserve.js';
import { Events } from './events.js';
import { Handover } from './handover.js';
import type { ClaimEffects } from './handover.js';
import type { HeldSocket } from './held-socket.js';
import type { Log } from './log.js';
import type { Attested } from './policy.js';
import type { ProgramState } from './program.js';
import { Recovery } from './recovery.js';
import type { Entry, Slot, Table } from './table.js';

/** The answer to the last claim of a reservation, which is that to the next one while these are the same. */
interface Granted {
  readonly mode: ClaimMode;
  readonly fds: readonly number[];
  readonly replies: Reply[];
}

/** Grants claims, and follows each claimant to its end: then the sockets rest again. */
export class Claims {
  readonly #table: Table;
  readonly #events: Events;
  readonly #claimants = new Claimants((name, key) => {
    this.#end(name, key);
  });
  readonly #handover: Handover;
  readonly #recovery: Recovery;
  readonly #effects: ClaimEffects;
  readonly #granted = new WeakMap<Entry, Granted>();
  /** Something was released, and changed() has not been called yet: several may be released at once. */
  #unsettled = false;

  constructor(table: Table, log: Log, effects: ClaimEffects, events = new Events(log)) {
    this.#table = table;
    this.#effects = effects;
    this.#events = events;
    this.#handover = new Handover(table, log, events, effects, (name) => this.inUse(name));
    this.#recovery = new Recovery(table, this.#claimants, this.#handover);
  }

  of(name: string): Claimant[] {
    this.#recovery.finish();
    return this.#claimants.of(name);
  }

  inUse(name: string): boolean {
    this.#recovery.finish();
    return this.#claimants.inUse(name);
  }

  /** True while a claimant's end would be missed if nobody watched: a unit that says Done itself needs no watching. */
  get watching(): boolean {
    this.#recovery.finish();
    return [...this.#claimants.names].some((name) => {
      const entry = this.#table.get(name)?.reservation;
      return (
        entry?.handoff === 'exec' ||
        entry?.handoff === 'bind' ||
        this.of(name).some(({ unit }) => unit === undefined)
      );
    });
  }

  /** The reservations of which a socket is released, and the names of those that have claimants. */
  get released(): { readonly reservations: Reservation[]; readonly claimed: string[] } {
    const entries = [...this.#table.opened()].filter(({ slots }) => slots.some(isReleased));
    const reservations = entries.map(({ reservation }) => reservation);
    return {
      reservations,
      claimed: reservations.flatMap(({ name }) => (this.inUse(name) ? name : [])),
    };
  }

  /** Makes the sockets ready and hands over duplicates. Throws a BerthError when that cannot be done for all of them. */
  grant(entry: Entry, peer: Peer, form: ClaimForm): Replies {
    const { reservation } = entry;
    const mode = modeOf(reservation, form);
    if (mode === 'release') {
      const runs = form === 'exec' && peer.unit?.unit !== reservation.unit ? followerOf(peer) : undefined;
      this.release(entry, peer, runs);
      return this.settled().then(() => claimReply(mode, []));
    }
    const sockets = this.#handover.ready(entry, mode);
    this.#claimants.follow(reservation, sockets, followerOf(peer));
    this.#events.emit({
      event: 'claimed',
      reservation: reservation.name,
      pid: peer.pid,
      // berth-claim has not become the service yet.
      ...(peer.unit === undefined ? {} : { unit: peer.unit.unit }),
      mode,
    });
    return this.#answer(entry, mode, mode === 'lend' ? [] : sockets);
  }

  #answer(entry: Entry, mode: ClaimMode, sockets: readonly HeldSocket[]): Reply[] {
    const last = this.#granted.get(entry);
    if (last?.mode === mode && sockets.every(({ fd }, index) => fd === last.fds[index])) return last.replies;
    const { reservation, formerNames } = entry;
    const fds = sockets.map(({ fd }) => fd);
    const replies = claimReply(
      mode,
      fds.map((fd) => ({ fd, name: reservation.fdName })),
      mode === 'store' ? formerNames : [],
    );
    this.#granted.set(entry, { mode, fds, replies });
    return replies;
  }

  /** Makes sure that all sockets are held for a program which binds its own beside them. Throws a BerthError otherwise. */
  prepare(entries: readonly Entry[]): void {
    for (const { reservation, slots } of entries) {
      const { name, handoff } = reservation;
      if (handoff !== 'bind') throw wrongForm(reservation);
      const obstacle = bindObstacle(reservation);
      if (obstacle !== undefined)
        throw new BerthError('Failed', `'${name}' cannot be claimed: ${obstacle.key}=: ${obstacle.message}`);
      this.#handover.rest(name, this.#handover.hold(slots));
    }
  }

  /** A program has claimed reservations. It is followed elsewhere, and says when it has ended. */
  addProgram({ names, pid, unit, since }: ProgramState, key: string): void {
    for (const name of names) {
      const claimant: Claimant = {
        pid,
        get command() {
          return commandOf(pid);
        },
        ...(unit === undefined || unit !== this.#table.get(name)?.reservation.unit ? {} : { unit }),
        since,
        supervision: undefined,
      };
      this.#claimants.add(name, key, claimant);
    }
  }

  endProgram(names: readonly string[], key: string): void {
    for (const name of names) this.#end(name, key);
  }

  /**
   * Lets go of the sockets; they are free when settled() resolves. They are taken back when the reservation's unit has
   * ended, or `runs`, which becomes the service itself. Where the unit does not run they are released ahead of its start,
   * and at the longest until the files are read again: whoever asked may have gone, and nothing tells what comes after.
   */
  release({ reservation, slots }: Entry, peer: Attested, runs?: Follower): void {
    const { name, unit } = reservation;
    this.#recovery.finish();
    const freed = this.#table.release(slots);
    const cgroup = peer.unit?.unit === unit ? peer.unit : findUnitCgroup(unit);
    if (runs !== undefined) this.#claimants.follow(reservation, [], runs);
    else if (cgroup !== undefined) this.#claimants.follow(reservation, [], { pid: peer.pid, unit: cgroup });
    else this.#claimants.awaitUnit(reservation, peer);
    if (freed.length === 0) return;
    const socket = freed.map(({ request }) => describeSocket(request.spec)).join(', ');
    this.#events.emit({ event: 'released', reservation: name, socket, unit });
    this.#unsettled = true;
  }

  /** Resolves when what was released is free for others. */
  settled(): Promise<void> {
    if (this.#unsettled) this.#effects.changed();
    this.#unsettled = false;
    return this.#effects.settled();
  }

  /** The unit says that its service has ended, or, of a loan, that it has bound its own sockets. */
  done({ reservation, slots }: Entry, peer: Peer): Reply[] {
    const { name, unit } = reservation;
    this.#recovery.finish();
    const lent = slots.flatMap(({ socket }) => (socket?.lent === true ? socket : []));
    if (lent.length > 0) for (const socket of lent) socket.endLoan();
    else this.#end(name, peer.unit?.unit === unit ? unit : String(peer.pid));
    return claimReply('done', []);
  }

  /**
   * Begins to find the claimants that an earlier berthd had; `claimed` are reservations of which it had released a socket.
   */
  recover(claimed: readonly string[] = []): void {
    for (const name of claimed) {
      const entry = this.#table.get(name);
      if (entry !== undefined) this.#claimants.followUnit(entry.reservation, []);
    }
    this.#recovery.begin();
    if (this.#table.released.size > 0) this.#recovery.finish();
    this.settle();
  }

  /** Takes back what is released and has no claimant, or only one that was ahead of a unit which does not run. */
  settle(): void {
    for (const name of this.#claimants.removeAhead()) {
      const entry = this.#table.get(name);
      if (entry !== undefined) this.#claimants.followUnit(entry.reservation, []);
    }
    this.#takeBack();
  }

  /** Follows nobody any more. */
  close(): void {
    this.#recovery.close();
    this.forget(() => false);
  }

  /** Before something is made of the sockets that depends on who has claimed them. */
  finishRecovery(): void {
    this.#recovery.finish();
  }

  /** Stops following the claimants of reservations that are no longer there. */
  forget(isKnown: (name: string) => boolean): void {
    this.#claimants.forget(isKnown);
  }

  #end(name: string, key: string): void {
    const claimant = this.#claimants.remove(name, key);
    if (claimant === undefined) return;
    this.#events.emit({
      event: 'stopped',
      reservation: name,
      ...(claimant.unit === undefined ? { pid: claimant.pid } : { unit: claimant.unit }),
    });
    if (this.inUse(name)) return;
    this.#handover.rest(name, this.#table.socketsOf(name));
    this.#takeBack();
  }

  /** Of a socket that several reservations have, each one's claimants count. */
  #takeBack(): void {
    const free = new Set<Slot>(this.#table.released);
    if (free.size === 0) return;
    for (const name of this.#claimants.names)
      for (const slot of this.#table.get(name)?.slots ?? []) free.delete(slot);
    if (free.size === 0) return;
    withReserve(() => {
      this.#table.takeBack([...free]);
    });
    for (const { reservation, slots } of this.#table.opened())
      for (const slot of slots)
        if (free.has(slot) && slot.socket !== undefined)
          this.#events.emit({
            event: 'held',
            reservation: reservation.name,
            socket: slot.socket.describe(),
            unit: reservation.unit,
          });
    this.#effects.changed();
  }
}

function followerOf(peer: Peer): Follower {
  return { pid: peer.pid, unit: peer.unit, takePidfd: () => peer.takePidfd() };
}

function isReleased({ released }: Slot): boolean {
  return released !== undefined;
}
