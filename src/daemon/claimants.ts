import { closeSync } from 'node:fs';
import type { Reservation } from '../model/reservation.js';
import { native } from '../native/index.js';
import type { ClaimantInfo } from '../protocol/messages.js';
import { findUnitCgroup, firstProcessIn, unitOfProcess } from '../systemd/cgroup.js';
import type { UnitCgroup } from '../systemd/cgroup.js';
import { commandOf } from '../systemd/processes.js';
import type { HeldSocket } from './held-socket.js';
import type { Attested } from './policy.js';
import { superviseCgroup, superviseProcess, superviseUnit } from './supervise.js';
import type { ProcessSupervision, Supervision } from './supervise.js';

export interface Claimant extends ClaimantInfo {
  /** Of the last claim. */
  since: number;
  readonly supervision: Supervision | undefined;
  /** The supervision, where it is that of a process. */
  readonly process?: ProcessSupervision | undefined;
  /** It had sockets released for a unit that does not run: they are taken back with its end, or at the next reading. */
  readonly ahead?: true;
}

/** What a claimant is followed by: its unit's cgroup, or its own process. `takePidfd` gives the pidfd away. */
export interface Follower {
  readonly pid: number;
  readonly unit?: UnitCgroup | undefined;
  readonly takePidfd?: () => number;
}

/** Who has claimed what, each followed to its end. */
export class Claimants {
  /** By reservation; one claimant for the reservation's unit, and one for each other process. */
  readonly #claimants = new Map<string, Map<string, Claimant>>();
  readonly #ended: (name: string, key: string) => void;

  /** `ended` is called once a claimant's supervision has seen its end; it is still among the claimants then. */
  constructor(ended: (name: string, key: string) => void) {
    this.#ended = ended;
  }

  of(name: string): Claimant[] {
    return [...(this.#claimants.get(name)?.values() ?? [])];
  }

  inUse(name: string): boolean {
    return this.#claimants.has(name);
  }

  get names(): IterableIterator<string> {
    return this.#claimants.keys();
  }

  add(name: string, key: string, claimant: Claimant): void {
    const claimants = this.#claimants.get(name) ?? new Map<string, Claimant>();
    claimants.get(key)?.supervision?.close();
    claimants.set(key, claimant);
    this.#claimants.set(name, claimants);
  }

  /** Follows it no longer. Undefined when there is no such claimant. */
  remove(name: string, key: string): Claimant | undefined {
    const claimants = this.#claimants.get(name);
    const claimant = claimants?.get(key);
    claimant?.supervision?.close();
    claimants?.delete(key);
    if (claimants?.size === 0) this.#claimants.delete(name);
    return claimant;
  }

  /** Removes those that were ahead of their unit, and returns the names of their reservations. */
  removeAhead(): Set<string> {
    const names = new Set<string>();
    for (const [name, claimants] of this.#claimants)
      for (const [key, { ahead }] of claimants)
        if (ahead === true) {
          this.remove(name, key);
          names.add(name);
        }
    return names;
  }

  /** Stops following the claimants of reservations that are no longer there. */
  forget(isKnown: (name: string) => boolean): void {
    for (const [name, claimants] of this.#claimants) {
      if (isKnown(name)) continue;
      for (const { supervision } of claimants.values()) supervision?.close();
      this.#claimants.delete(name);
    }
  }

  /**
   * The reservation's own unit is followed as a whole, anybody else (root at a shell) as a process; so is a user's manager,
   * which runs on when that one of its units has stopped.
   */
  follow(reservation: Reservation, sockets: readonly HeldSocket[], follower: Follower): void {
    const { name, unit, handoff } = reservation;
    const cgroup = follower.unit?.unit === unit && !unit.startsWith('user@') ? follower.unit : undefined;
    const key = cgroup === undefined ? String(follower.pid) : unit;
    const present = this.#claimants.get(name)?.get(key);
    if (cgroup === undefined && present !== undefined && isFollowed(present, follower, sockets)) {
      present.since = Date.now();
      return;
    }
    const ended = (): void => {
      if (this.#claimants.get(name)?.get(key) === claimant) this.#ended(name, key);
    };
    // With exec the unit lives as long as it has processes. In the other modes it is claimed for before it has any.
    const supervise = handoff === 'exec' ? superviseUnit : superviseCgroup;
    const whole = cgroup && supervise(cgroup, ended);
    // The end of a berth-claim that stood in ExecStartPre= says nothing; without a watch, the unit's Done has to do.
    const process =
      whole === undefined && (cgroup === undefined || handoff === 'exec') && follower.takePidfd
        ? superviseProcess(follower.takePidfd(), new Set(sockets.map(({ inode }) => inode)), ended)
        : undefined;
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
      supervision: whole ?? process,
      process,
    };
    this.add(name, key, claimant);
  }

  followProcess(reservation: Reservation, sockets: readonly HeldSocket[], pid: number): void {
    const pidfd = native.pidfdOpen(pid);
    if (pidfd === undefined) return;
    const unit = unitOfProcess(pid);
    const untaken = new Set([pidfd]);
    this.follow(reservation, sockets, {
      pid,
      unit,
      takePidfd: () => {
        untaken.delete(pidfd);
        return pidfd;
      },
    });
    // A unit is followed by its cgroup.
    for (const fd of untaken) closeSync(fd);
  }

  /** Follows the reservation's unit where it has a cgroup. */
  followUnit(reservation: Reservation, sockets: readonly HeldSocket[]): void {
    const unit = findUnitCgroup(reservation.unit);
    if (unit !== undefined) this.follow(reservation, sockets, { pid: 1, unit });
  }

  /** Somebody who asked ahead of the unit's start stands in its place, until its claim or end. */
  awaitUnit({ name, unit }: Reservation, { pid }: Attested): void {
    if (this.#claimants.get(name)?.has(unit) === true) return;
    this.add(name, unit, {
      pid,
      command: commandOf(pid),
      since: Date.now(),
      supervision: undefined,
      ahead: true,
    });
  }
}

/**
 * Whether it is the very process that is followed already: that one still lives, so nobody else can have its number. A
 * process of a pid namespace that is not below ours has none (0).
 */
function isFollowed({ process }: Claimant, { pid }: Follower, sockets: readonly HeldSocket[]): boolean {
  return pid > 0 && process?.follows(sockets.map(({ inode }) => inode)) === true;
}
