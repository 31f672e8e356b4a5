import { BerthError, messageOf } from '../model/errors.js';
import type { Reservation } from '../model/reservation.js';
import type { ClaimantInfo } from '../protocol/messages.js';
import type { Peer } from '../protocol/peer.js';
import { claimReply } from '../protocol/replies.js';
import type { Reply } from '../protocol/replies.js';
import { commandOf } from '../systemd/processes.js';
import type { HeldSocket } from './held-socket.js';
import type { Log } from './log.js';
import { superviseProcess, superviseUnit } from './supervise.js';
import type { Supervision } from './supervise.js';
import type { Entry, Table } from './table.js';

interface Claimant extends ClaimantInfo {
  supervision: Supervision;
}

/** Grants claims, and follows each claimant to its end: then the sockets rest again. */
export class Claims {
  readonly #table: Table;
  readonly #log: Log;
  /** By reservation; one claimant for each unit, or for each process where there is no unit. */
  readonly #claimants = new Map<string, Map<string, Claimant>>();

  constructor(table: Table, log: Log) {
    this.#table = table;
    this.#log = log;
  }

  of(name: string): Claimant[] {
    return [...(this.#claimants.get(name)?.values() ?? [])];
  }

  inUse(name: string): boolean {
    return this.#claimants.has(name);
  }

  /** Makes the sockets ready and hands over duplicates. Throws a BerthError when that cannot be done for all of them. */
  grant({ reservation, slots }: Entry, peer: Peer): Reply[] {
    const { name, handoff, fdName } = reservation;
    if (handoff === 'none') throw new BerthError('Denied', `'${name}' is held for nobody (Handoff=none)`);
    this.#table.hold([], slots);
    const sockets = slots.map(({ socket, error }) => {
      if (socket === undefined) throw new BerthError('NotHeld', error ?? 'it is not held');
      return socket;
    });
    this.#makeReady(name, sockets);
    this.#follow(reservation, sockets, peer);
    this.#log.debug(`${name}: handed to pid ${peer.pid}`);
    return claimReply(
      'exec',
      sockets.map(({ fd }) => ({ fd, name: fdName })),
    );
  }

  /** Stops following the claimants of reservations that are no longer there. */
  forget(isKnown: (name: string) => boolean): void {
    for (const [name, claimants] of this.#claimants) {
      if (isKnown(name)) continue;
      for (const { supervision } of claimants.values()) supervision.close();
      this.#claimants.delete(name);
    }
  }

  #makeReady(name: string, sockets: readonly HeldSocket[]): void {
    try {
      for (const socket of sockets) {
        for (const what of socket.handOver()) {
          this.#log.warning(`${name}: ${socket.describe()} ${what}; repaired`);
        }
      }
    } catch (error) {
      this.#rest(name, sockets);
      throw new BerthError('NotHeld', `a socket cannot be made ready: ${messageOf(error)}`, { cause: error });
    }
  }

  /** The reservation's own unit is followed as a whole, anybody else (root at a shell) as a process. */
  #follow({ name, unit }: Reservation, sockets: readonly HeldSocket[], peer: Peer): void {
    const claimants = this.#claimants.get(name) ?? new Map<string, Claimant>();
    const cgroup = peer.unit?.unit === unit ? peer.unit : undefined;
    const key = cgroup?.path ?? String(peer.pid);
    const ended = (): void => {
      if (claimants.get(key) !== claimant) return;
      claimants.delete(key);
      if (claimants.size > 0) return;
      this.#claimants.delete(name);
      this.#log.debug(`${name}: ${cgroup?.unit ?? `pid ${peer.pid}`} has ended`);
      const entry = this.#table.get(name);
      if (entry !== undefined)
        this.#rest(
          name,
          entry.slots.flatMap(({ socket }) => socket ?? []),
        );
    };
    const supervision =
      (cgroup === undefined ? undefined : superviseUnit(cgroup, ended)) ??
      superviseProcess(peer.takePidfd(), new Set(sockets.map(({ inode }) => inode)), ended);
    const claimant: Claimant = {
      pid: peer.pid,
      // When somebody asks: by then berth-claim has become the service.
      get command() {
        return commandOf(peer.pid);
      },
      ...(peer.unit === undefined ? {} : { unit: peer.unit.unit }),
      since: Date.now(),
      supervision,
    };
    claimants.get(key)?.supervision.close();
    claimants.set(key, claimant);
    this.#claimants.set(name, claimants);
  }

  #rest(name: string, sockets: readonly HeldSocket[]): void {
    if (this.inUse(name)) return;
    for (const socket of sockets) {
      try {
        socket.rest();
      } catch (error) {
        this.#log.warning(`${name}: ${socket.describe()} cannot be put to rest: ${messageOf(error)}`);
      }
    }
  }
}
