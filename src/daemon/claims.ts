import { closeSync } from 'node:fs';
import { bindObstacle } from '../model/bind-mode.js';
import { BerthError, messageOf } from '../model/errors.js';
import { describeSocket } from '../model/reservation.js';
import type { Reservation } from '../model/reservation.js';
import { native } from '../native/index.js';
import type { ClaimantInfo } from '../protocol/messages.js';
import type { Peer } from '../protocol/peer.js';
import { claimReply } from '../protocol/replies.js';
import type { ClaimMode, Replies, Reply } from '../protocol/replies.js';
import { findUnitCgroup, firstProcessIn, unitOfProcess } from '../systemd/cgroup.js';
import type { UnitCgroup } from '../systemd/cgroup.js';
import { commandOf, processesWithSockets } from '../systemd/processes.js';
import { modeOf, wrongForm, type ClaimForm } from './claim-mode.js';
import { withReserve } from './descriptor-reserve.js';
import type { HeldSocket } from './held-socket.js';
import { Events } from './events.js';
import type { Log } from './log.js';
import type { Attested } from './policy.js';
import { superviseCgroup, superviseProcess, superviseUnit } from './supervise.js';
import type { Supervision } from './supervise.js';
import type { ProgramState } from './program.js';
import type { Entry, Slot, Table } from './table.js';

interface Claimant extends ClaimantInfo {
  readonly supervision: Supervision | undefined;
  /** It had sockets released for a unit that does not run: they are taken back with its end, or at the next reading. */
  readonly ahead?: true;
}

/** What a claim has the rest of berthd do. */
export interface ClaimEffects {
  /** Other sockets are held than before, or fewer. */
  changed(): void;
  /** Other guards stand than before. The next berthd could make them anew, so this may wait to be stored. */
  guarded(): void;
  /** Resolves when nobody has the sockets any more that were closed before changed(), not even the service manager. */
  settled(): Promise<void>;
}

/** What a claimant is followed by: its unit's cgroup, or its own process. `takePidfd` gives the pidfd away. */
interface Follower {
  readonly pid: number;
  readonly unit?: UnitCgroup;
  readonly takePidfd?: () => number;
}

/** Grants claims, and follows each claimant to its end: then the sockets rest again. */
export class Claims {
  readonly #table: Table;
  readonly #log: Log;
  readonly #events: Events;
  /** By reservation; one claimant for the reservation's unit, and one for each other process. */
  readonly #claimants = new Map<string, Map<string, Claimant>>();

  readonly #effects: ClaimEffects;
  /** Something was released, and changed() has not been called yet: several may be released at once. */
  #unsettled = false;

  constructor(table: Table, log: Log, effects: ClaimEffects, events = new Events(log)) {
    this.#table = table;
    this.#log = log;
    this.#effects = effects;
    this.#events = events;
  }

  of(name: string): Claimant[] {
    return [...(this.#claimants.get(name)?.values() ?? [])];
  }

  inUse(name: string): boolean {
    return this.#claimants.has(name);
  }

  /** True while a claimant's end would be missed if nobody watched: a unit that says Done itself needs no watching. */
  get watching(): boolean {
    return [...this.#claimants].some(([name, claimants]) => {
      const entry = this.#table.get(name)?.reservation;
      return (
        entry?.handoff === 'exec' ||
        entry?.handoff === 'bind' ||
        [...claimants.values()].some(({ unit }) => unit === undefined)
      );
    });
  }

  /** The reservations of which a socket is released, and the names of those that have claimants. */
  get released(): { readonly reservations: Reservation[]; readonly claimed: string[] } {
    const entries = [...this.#table.entries()].filter(({ slots }) => slots.some(isReleased));
    const reservations = entries.map(({ reservation }) => reservation);
    return {
      reservations,
      claimed: reservations.flatMap(({ name }) => (this.inUse(name) ? name : [])),
    };
  }

  /** Makes the sockets ready and hands over duplicates. Throws a BerthError when that cannot be done for all of them. */
  grant(entry: Entry, peer: Peer, form: ClaimForm): Replies {
    const { reservation, slots, formerNames } = entry;
    const mode = modeOf(reservation, form);
    if (mode === 'release') {
      const pid = form === 'exec' && peer.unit?.unit !== reservation.unit ? peer : undefined;
      this.release(entry, peer, pid);
      return this.settled().then(() => claimReply(mode, []));
    }
    const inodes = (): string => slots.map(({ socket }) => socket?.inode).join();
    const before = inodes();
    const guardsBefore = guardsOf(slots.map(({ socket }) => socket));
    const sockets = this.#hold(slots);
    this.#makeReady(reservation.name, sockets, mode);
    if (inodes() !== before) this.#effects.changed();
    else if (guardsOf(slots.map(({ socket }) => socket)) !== guardsBefore) this.#effects.guarded();
    this.#follow(reservation, sockets, peer);
    this.#events.emit({
      event: 'claimed',
      reservation: reservation.name,
      pid: peer.pid,
      // berth-claim has not become the service yet.
      ...(peer.unit === undefined ? {} : { unit: peer.unit.unit }),
      mode,
    });
    if (mode === 'lend') return claimReply(mode, []);
    return claimReply(
      mode,
      sockets.map(({ fd }) => ({ fd, name: reservation.fdName })),
      mode === 'store' ? formerNames : [],
    );
  }

  /** Makes sure that all sockets are held for a program which binds its own beside them. Throws a BerthError otherwise. */
  prepare(entries: readonly Entry[]): void {
    for (const { reservation, slots } of entries) {
      const { name, handoff } = reservation;
      if (handoff !== 'bind') throw wrongForm(reservation);
      const obstacle = bindObstacle(reservation);
      if (obstacle !== undefined)
        throw new BerthError('Failed', `'${name}' cannot be claimed: ${obstacle.key}=: ${obstacle.message}`);
      this.#rest(name, this.#hold(slots));
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
      this.#add(name, key, claimant);
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
    const freed = this.#table.release(slots);
    const cgroup = peer.unit?.unit === unit ? peer.unit : findUnitCgroup(unit);
    if (runs !== undefined) this.#follow(reservation, [], runs);
    else if (cgroup !== undefined) this.#follow(reservation, [], { pid: peer.pid, unit: cgroup });
    else this.#await(reservation, peer);
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
    const lent = slots.flatMap(({ socket }) => (socket?.lent === true ? socket : []));
    if (lent.length > 0) for (const socket of lent) socket.endLoan();
    else this.#end(name, peer.unit?.unit === unit ? unit : String(peer.pid));
    return claimReply('done', []);
  }

  /**
   * Finds the claimants that an earlier berthd had: whoever has the sockets open, else the reservation's unit when it has
   * a cgroup. Its processes may be of another user, whose descriptors berthd may not see (proc(5)), and while it is being
   * started PID 1 has them, or nobody, of a loan. What a running unit might serve on is never put to rest.
   */
  recover(claimed: readonly string[] = []): void {
    for (const name of claimed) {
      const entry = this.#table.get(name);
      if (entry !== undefined) this.#followUnit(entry.reservation, []);
    }
    this.#findHolders();
    this.settle();
  }

  /** Takes back what is released and has no claimant, or only one that was ahead of a unit which does not run. */
  settle(): void {
    for (const [name, claimants] of this.#claimants) {
      const entry = this.#table.get(name);
      for (const [key, { ahead }] of claimants) {
        if (ahead !== true) continue;
        claimants.delete(key);
        if (claimants.size === 0) this.#claimants.delete(name);
        if (entry !== undefined) this.#followUnit(entry.reservation, []);
      }
    }
    this.#takeBack();
  }

  #findHolders(): void {
    const inodes: number[] = [];
    for (const { socket } of this.#table.slots()) if (socket !== undefined) inodes.push(socket.inode);
    const standIns = this.#table.standIns.map(({ reservation, socket }) => ({
      reservation,
      slots: [{ socket }],
    }));
    for (const { socket } of this.#table.standIns) inodes.push(socket.inode);
    if (inodes.length === 0) return;
    const owners = processesWithSockets(inodes, process.pid);
    for (const { reservation, slots } of [...this.#table.entries(), ...standIns]) {
      // Nearly all of them, as a rule: they are left alone. A loan does not show in the hold.
      const lends = reservation.handoff === 'lend';
      if (!lends && slots.every(({ socket }) => socket?.resting === true && !owners.has(socket.inode)))
        continue;
      const sockets = slots.flatMap(({ socket }) => socket ?? []);
      const pids = new Set(sockets.flatMap(({ inode }) => owners.get(inode) ?? []));
      pids.delete(1);
      for (const pid of pids) this.#followProcess(reservation, sockets, pid);
      const handed = !['none', 'release', 'bind'].includes(reservation.handoff);
      if (!this.inUse(reservation.name) && handed) this.#followUnit(reservation, sockets);
      if (this.inUse(reservation.name)) this.#standGuard(sockets);
      else this.#rest(reservation.name, sockets);
    }
  }

  /** A berthd that ended before its guard was stored, or one without guards, has left a service without. */
  #standGuard(sockets: readonly HeldSocket[]): void {
    const before = guardsOf(sockets);
    for (const socket of sockets) socket.standGuard();
    if (guardsOf(sockets) !== before) this.#effects.guarded();
  }

  /** Stops following the claimants of reservations that are no longer there. */
  forget(isKnown: (name: string) => boolean): void {
    for (const [name, claimants] of this.#claimants) {
      if (isKnown(name)) continue;
      for (const { supervision } of claimants.values()) supervision?.close();
      this.#claimants.delete(name);
    }
  }

  #hold(slots: readonly Slot[]): HeldSocket[] {
    withReserve(() => {
      this.#table.hold(slots);
    });
    return slots.map(({ socket, error }) => {
      if (socket === undefined) throw new BerthError('NotHeld', error ?? 'it is not held');
      return socket;
    });
  }

  #makeReady(name: string, sockets: readonly HeldSocket[], mode: ClaimMode): void {
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
      this.#rest(name, sockets);
      throw new BerthError('NotHeld', `a socket cannot be made ready: ${messageOf(error)}`, { cause: error });
    }
  }

  #followProcess(reservation: Reservation, sockets: readonly HeldSocket[], pid: number): void {
    const pidfd = native.pidfdOpen(pid);
    if (pidfd === undefined) return;
    const unit = unitOfProcess(pid);
    const untaken = new Set([pidfd]);
    this.#follow(reservation, sockets, {
      pid,
      ...(unit === undefined ? {} : { unit }),
      takePidfd: () => {
        untaken.delete(pidfd);
        return pidfd;
      },
    });
    // A unit is followed by its cgroup.
    for (const fd of untaken) closeSync(fd);
  }

  #followUnit(reservation: Reservation, sockets: readonly HeldSocket[]): void {
    const unit = findUnitCgroup(reservation.unit);
    if (unit !== undefined) this.#follow(reservation, sockets, { pid: 1, unit });
  }

  #await({ name, unit }: Reservation, { pid }: Attested): void {
    const claimants = this.#claimants.get(name) ?? new Map<string, Claimant>();
    const claimant = {
      pid,
      command: commandOf(pid),
      since: Date.now(),
      supervision: undefined,
      ahead: true,
    } as const;
    // In the place of the unit, whose claim or end comes after it.
    if (!claimants.has(unit)) claimants.set(unit, claimant);
    this.#claimants.set(name, claimants);
  }

  /**
   * The reservation's own unit is followed as a whole, anybody else (root at a shell) as a process; so is a user's manager,
   * which runs on when that one of its units has stopped.
   */
  #follow({ name, unit, handoff }: Reservation, sockets: readonly HeldSocket[], follower: Follower): void {
    const cgroup = follower.unit?.unit === unit && !unit.startsWith('user@') ? follower.unit : undefined;
    const key = cgroup === undefined ? String(follower.pid) : unit;
    const ended = (): void => {
      if (this.#claimants.get(name)?.get(key) === claimant) this.#end(name, key);
    };
    // With exec the unit lives as long as it has processes. In the other modes it is claimed for before it has any.
    const supervise = handoff === 'exec' ? superviseUnit : superviseCgroup;
    const pidfd = (): Supervision | undefined =>
      follower.takePidfd &&
      superviseProcess(follower.takePidfd(), new Set(sockets.map(({ inode }) => inode)), ended);
    const claimant: Claimant = {
      // Both when somebody asks: by then berth-claim has become the service, or the unit has others in its place.
      get pid() {
        return (cgroup && firstProcessIn(cgroup)) ?? follower.pid;
      },
      get command() {
        return commandOf(this.pid);
      },
      ...(cgroup === undefined ? {} : { unit }),
      since: Date.now(),
      // The end of a berth-claim that stood in ExecStartPre= says nothing; without a watch, the unit's Done has to do.
      supervision:
        (cgroup && supervise(cgroup, ended)) ??
        (cgroup === undefined || handoff === 'exec' ? pidfd() : undefined),
    };
    this.#add(name, key, claimant);
  }

  #add(name: string, key: string, claimant: Claimant): void {
    const claimants = this.#claimants.get(name) ?? new Map<string, Claimant>();
    claimants.get(key)?.supervision?.close();
    claimants.set(key, claimant);
    this.#claimants.set(name, claimants);
  }

  #end(name: string, key: string): void {
    const claimants = this.#claimants.get(name);
    const claimant = claimants?.get(key);
    if (claimants === undefined || claimant === undefined) return;
    claimant.supervision?.close();
    claimants.delete(key);
    this.#events.emit({
      event: 'stopped',
      reservation: name,
      ...(claimant.unit === undefined ? { pid: claimant.pid } : { unit: claimant.unit }),
    });
    if (claimants.size > 0) return;
    this.#claimants.delete(name);
    this.#rest(name, this.#table.socketsOf(name));
    this.#takeBack();
  }

  /** Of a socket that several reservations have, each one's claimants count. */
  #takeBack(): void {
    const free = new Set<Slot>(this.#table.released);
    if (free.size === 0) return;
    for (const name of this.#claimants.keys())
      for (const slot of this.#table.get(name)?.slots ?? []) free.delete(slot);
    if (free.size === 0) return;
    withReserve(() => {
      this.#table.takeBack([...free]);
    });
    for (const { reservation, slots } of this.#table.entries())
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

  #rest(name: string, sockets: readonly HeldSocket[]): void {
    if (this.inUse(name)) return;
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

/** To be compared with those of another moment. */
function guardsOf(sockets: readonly (HeldSocket | undefined)[]): string {
  return sockets.map((socket) => socket?.guard).join();
}

function isReleased({ released }: Slot): boolean {
  return released !== undefined;
}
