import { closeSync, readlinkSync } from 'node:fs';
import { needsNetwork } from '../model/bind-mode.js';
import { BerthError, messageOf } from '../model/errors.js';
import { closeForeign } from '../native/close.js';
import { native } from '../native/index.js';
import type { Peer } from '../protocol/peer.js';
import { claimReply } from '../protocol/replies.js';
import type { Reply } from '../protocol/replies.js';
import type { Claims } from './claims.js';
import type { HeldSocket } from './held-socket.js';
import type { Log } from './log.js';
import { Looks } from './looks.js';
import { Program } from './program.js';
import type { ProgramState } from './program.js';
import type { Entry, Table } from './table.js';
import type { StoredPrograms } from './vault.js';

/** Each has a descriptor of berthd's, and lives as long as its processes like. */
const maxForOneReservation = 256;
/** A look at a program's call can last longer than the program, and has a thread. */
const maxLeftLooks = 8;

/** The programs whose bind(2) and listen(2) berthd serves (seccomp_unotify(2)). */
export class Programs {
  readonly #table: Table;
  readonly #claims: Claims;
  readonly #log: Log;
  readonly #changed: () => void;
  readonly #programs = new Set<Program>();
  /** Those that have ended, and were looked at then. */
  readonly #left = new Set<Program>();
  #journal: number | undefined;
  #looks: Looks | undefined;
  #count = 0;

  /** `changed` is called when the vault has to be written anew, at leisure. */
  constructor(table: Table, claims: Claims, log: Log, changed: () => void) {
    this.#table = table;
    this.#claims = claims;
    this.#log = log;
    this.#changed = changed;
  }

  /**
   * Serves a peer's program from here on. `takeListener` gives the descriptor that came with the request, if one did.
   * `save` has the vault know of it before the program runs.
   */
  add(
    entries: readonly Entry[],
    peer: Peer,
    takeListener: () => number | undefined,
    save: () => void,
  ): Reply[] {
    if (entries.some(({ reservation }) => needsNetwork(reservation))) checkNetwork(peer.pid);
    for (const { reservation } of entries) this.#checkRoom(reservation.name);
    this.#journal ??= native.journal(-1);
    this.#claims.prepare(entries);
    const listener = takeListener();
    if (listener === undefined || !isListener(listener)) {
      if (listener !== undefined) closeForeign(listener);
      throw new BerthError('BadMessage', 'the listener of a seccomp filter was expected');
    }
    const { pid, unit } = peer;
    this.#follow(listener, {
      names: entries.map(({ reservation }) => reservation.name),
      pid,
      ...(unit === undefined ? {} : { unit: unit.unit }),
      since: Date.now(),
      restricted: false,
    });
    save();
    return claimReply('bind', []);
  }

  /** Goes on with those of an earlier berthd. Takes the descriptors over. */
  restore({ journal, programs }: StoredPrograms): void {
    this.#journal = native.journal(journal);
    for (const { listener, state } of programs) {
      native.adopt(listener);
      this.#follow(listener, state);
    }
    // It may have ended in the midst of a call.
    for (const { state } of programs)
      for (const socket of state.names.flatMap((name) => this.#heldFor(name))) socket.reseal();
    for (const program of this.#programs) program.recall();
  }

  /** What the next berthd needs. The descriptors stay here. */
  stored(): StoredPrograms | undefined {
    if (this.#journal === undefined || this.#programs.size === 0) return undefined;
    return {
      journal: this.#journal,
      programs: [...this.#programs].map(({ listener, state }) => ({ listener, state })),
    };
  }

  close(): void {
    for (const program of this.#programs) program.close();
    this.#looks?.close();
    if (this.#journal !== undefined) closeSync(this.#journal);
  }

  #follow(listener: number, state: ProgramState): void {
    const key = `program ${this.#count++}`;
    const program = new Program(
      listener,
      state,
      {
        held: (names) => names.flatMap((name) => this.#heldFor(name)),
        changed: this.#changed,
        ended: () => {
          this.#programs.delete(program);
          this.#leave(program);
          if (program.looking) this.#left.add(program);
          this.#claims.endProgram(state.names, key);
          this.#changed();
        },
      },
      (this.#looks ??= new Looks()),
      this.#log,
    );
    this.#programs.add(program);
    this.#claims.addProgram(state, key);
  }

  /** At once, and not with the last of several programs: the file of its socket leads nowhere any more. */
  #leave(program: Program): void {
    for (const socket of program.state.names.flatMap((name) => this.#table.socketsOf(name))) {
      try {
        if (socket.leave(program)) this.#changed();
      } catch (error) {
        this.#log.warning(`${socket.describe()} cannot be put back: ${messageOf(error)}`);
      }
    }
  }

  #checkRoom(name: string): void {
    if (this.#claims.of(name).length >= maxForOneReservation)
      throw new BerthError('Busy', `'${name}' has ${maxForOneReservation} claimants already`);
    let left = 0;
    for (const program of this.#left)
      if (!program.looking) this.#left.delete(program);
      else if (program.state.names.includes(name)) left++;
    if (left >= maxLeftLooks)
      throw new BerthError('Busy', `'${name}' has ${left} ended programs that cannot be looked at yet`);
  }

  #heldFor(name: string): HeldSocket[] {
    const entry = this.#table.get(name);
    if (entry?.reservation.handoff !== 'bind') return [];
    return entry.slots.flatMap(({ socket }) => socket ?? []);
  }
}

function isListener(fd: number): boolean {
  return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:seccomp notify';
}

/** A socket is bound in the network namespace that it was made in, and the reservation is one of berthd's. */
function checkNetwork(pid: number): void {
  let other: string;
  try {
    other = readlinkSync(`/proc/${pid}/ns/net`);
  } catch (error) {
    throw new BerthError('Denied', `pid ${pid} does not let berthd look at it`, { cause: error });
  }
  if (other !== readlinkSync('/proc/self/ns/net'))
    throw new BerthError(
      'Failed',
      `pid ${pid} has another network namespace than berthd (PrivateNetwork=, a container): what is reserved here cannot be bound there`,
    );
}
