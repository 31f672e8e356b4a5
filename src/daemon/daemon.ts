import { closeSync, statSync } from 'node:fs';
import { defaultSettings } from '../config/settings.js';
import { messageOf } from '../model/errors.js';
import type { Settings } from '../config/settings.js';
import { describeSocket, formatMistake, type Reservation } from '../model/reservation.js';
import { count } from '../model/text.js';
import { native, Readable } from '../native/index.js';
import type { Watch } from '../native/index.js';
import { ControlServer } from '../protocol/server.js';
import type { Notifier } from '../systemd/notify.js';
import { Claims } from './claims.js';
import type { ConfigurationFiles } from './configured.js';
import { withReserve } from './descriptor-reserve.js';
import { Events } from './events.js';
import type { Happening } from './events.js';
import type { Guards } from './guards.js';
import type { Log } from './log.js';
import { handleRequest } from './methods.js';
import type { MethodContext } from './methods.js';
import type { Policy } from './policy.js';
import { Programs } from './programs.js';
import { PortreserveSocket } from './portreserve-socket.js';
import { joined, releaseNamed } from './releases.js';
import { Table } from './table.js';
import type { Slot } from './table.js';
import { commandOf } from '../systemd/processes.js';
import type { FdStore } from '../systemd/fd-store.js';
import type { PassedFd } from '../systemd/listen-fds.js';
import { recover, Vault } from './vault.js';

export interface DaemonOptions {
  readonly configuration: Pick<ConfigurationFiles, 'directories' | 'load' | 'remember' | 'recall'>;
  /** The listening control socket, which the daemon takes over. */
  readonly control: number;
  /** The datagram socket of portreserve, which the daemon takes over, where there is one. */
  readonly portreserve?: number | undefined;
  readonly policy: Policy;
  readonly notifier: Notifier;
  /** Where the sockets outlive berthd, and what an earlier one left there. Without it they go with the process. */
  readonly vault?: { readonly store: FdStore; readonly passed: readonly PassedFd[] };
  /** Ends the process so that the next request starts it again. Absent where the manager would drop the sockets. */
  readonly idleExit?: () => void;
  /** Absent where berthd is an ordinary user's. */
  readonly guards?: Guards;
  readonly log: Log;
}

/** A socket that cannot be held: `taken` when somebody else has its address. */
function complaintOf(reservation: string, { request, error, errno, holder }: Slot): Happening {
  return {
    event: errno === 'EADDRINUSE' ? 'taken' : 'failed',
    reservation,
    socket: describeSocket(request.spec),
    ...(holder === undefined ? {} : { pid: holder, command: commandOf(holder) }),
    ...(error === undefined ? {} : { message: error }),
  };
}

/** How long to wait before another try at what cannot be held, when nothing tells that it could work now. */
const retryMs = 5000;
/** How long what the next berthd only would have to find out again may wait to be stored. */
const saveDelayMs = 200;
const maxConnections = 1024;

/** berthd: the table of reservations, what keeps it up to date, and the control socket in front of it. */
export class Daemon {
  readonly #options: DaemonOptions;
  readonly #table = new Table();
  readonly #events: Events;
  readonly #claims: Claims;
  readonly #programs: Programs;
  readonly #vault: Vault | undefined;
  #server: ControlServer | undefined;
  #portreserve: PortreserveSocket | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #watchdogTimer: NodeJS.Timeout | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #saveTimer: NodeJS.Timeout | undefined;
  #saidNoIdleExit = false;
  #settings = defaultSettings;
  #readStamp = '';
  /** What the next berthd needs to know the configuration by; undefined when it has to read it. */
  #memory: string | undefined;
  /** Waits for the ends of the processes that are in the way, by pid. */
  readonly #obstacles = new Map<number, { watch: Watch; pidfd: number }>();
  /** What has been said of sockets that cannot be held, so that a retry does not say it again. */
  #complaints = new Set<string>();

  constructor(options: DaemonOptions) {
    this.#options = options;
    const saveSoon = (): void => {
      this.#saveTimer ??= setTimeout(() => {
        this.#save();
      }, saveDelayMs);
    };
    this.#events = new Events(options.log);
    const effects = {
      changed: () => {
        this.#afterHolding();
        this.#save();
      },
      guarded: saveSoon,
      settled: () => options.vault?.store.settled() ?? Promise.resolve(),
    };
    this.#claims = new Claims(this.#table, options.log, effects, this.#events);
    this.#programs = new Programs(this.#table, this.#claims, options.log, saveSoon);
    this.#vault = options.vault && new Vault(options.vault.store, options.vault.passed);
  }

  /** Holds all that can be held, opens the control socket, and says READY=1. */
  start(): void {
    const { control, policy, notifier, log, vault } = this.#options;
    let left: Left = { released: [], claimed: [] };
    try {
      const recovered = recover(vault?.passed ?? []);
      left = readLeft(recovered.memory);
      this.#table.restore(recovered.stored, left.released);
      if (recovered.programs !== undefined) this.#programs.restore(recovered.programs);
    } catch (error) {
      // Better to begin anew than to hold what nobody can be handed.
      log.err(`what an earlier berthd held is lost: ${messageOf(error)}`);
    }
    this.#claims.recover(left.claimed);
    if (this.#recall(left.files)) this.#guard();
    else this.#configure();
    const context: MethodContext = {
      table: this.#table,
      claims: this.#claims,
      programs: this.#programs,
      save: () => {
        this.#save();
      },
      policy,
      events: this.#events,
      reload: () => this.reload(),
      refresh: () => {
        if (this.#stampOfFiles() !== this.#readStamp) this.reload();
      },
    };
    this.#server = new ControlServer(control, {
      peerTimeoutSec: () => this.#settings.peerTimeoutSec,
      maxConnections,
      handle: (request, caller) => {
        this.#awaitIdleness();
        return handleRequest(context, request, caller);
      },
      report: (message) => {
        log.warning(message);
      },
    });
    this.#portreserve = this.#servePortreserve(context);
    const summary = this.#summary();
    notifier.ready(summary);
    log.info(summary);
    this.#awaitIdleness();
    if (notifier.watchdogInterval > 0) {
      this.#watchdogTimer = setInterval(() => {
        notifier.watchdog();
      }, notifier.watchdogInterval / 2);
    }
  }

  #servePortreserve(context: MethodContext): PortreserveSocket | undefined {
    const { portreserve, log } = this.#options;
    if (portreserve === undefined) return undefined;
    return new PortreserveSocket(portreserve, {
      release: (name, peer) => {
        this.#awaitIdleness();
        const { refusals } = releaseNamed(context, [name], peer);
        // Nobody waits for it: what remains to be said is for the log.
        this.#claims.settled().catch((error: unknown) => {
          log.warning(`systemd does not answer: ${messageOf(error)}`);
        });
        return refusals.length === 0 ? undefined : joined(refusals).message;
      },
      report: (message) => {
        log.warning(message);
      },
    });
  }

  /** Re-reads the files. A reservation with a mistake stays as it was. */
  reload(): { mistakes: readonly string[]; failures: readonly string[] } {
    const { notifier } = this.#options;
    notifier.reloading();
    try {
      const { mistakes } = this.#configure();
      this.#events.emit({ event: 'reloaded', count: mistakes.length, message: this.#summary() });
      return { mistakes, failures: this.#failures() };
    } finally {
      notifier.ready(this.#summary());
    }
  }

  /**
   * Before the process ends, `asleep` when the next request starts it again. With a vault all sockets stay as they are;
   * without one they go.
   */
  stop(asleep = false): void {
    this.#options.notifier.stopping();
    if (!asleep) this.#options.guards?.lift();
    this.#server?.close();
    this.#portreserve?.close();
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#idleTimer);
    if (this.#saveTimer !== undefined) this.#save();
    clearInterval(this.#watchdogTimer);
    this.#forgetObstacles();
    this.#claims.forget(() => false);
    this.#programs.close();
    if (this.#vault === undefined) this.#table.apply([], new Set(), () => false);
  }

  /**
   * True when the files are as they were when the vault was written. Then what it holds is what is configured, all of it,
   * and nothing is left to do; reading 10,000 files would take a second.
   */
  #recall(memory: string | undefined): boolean {
    const { configuration, vault } = this.#options;
    // Of several vaults only one counts, and saving is what removes the others.
    if (memory === undefined || vault?.passed.length !== 1) return false;
    const readStamp = this.#stampOfFiles();
    const settings = configuration.recall(memory);
    if (settings === undefined) return false;
    this.#readStamp = readStamp;
    this.#memory = memory;
    this.#use(settings);
    return true;
  }

  #use(settings: Settings): void {
    this.#settings = settings;
    this.#options.log.level = settings.logLevel;
  }

  #configure(): { mistakes: string[] } {
    const { configuration, log } = this.#options;
    this.#readStamp = this.#stampOfFiles();
    const loaded = configuration.load();
    const mistakes = loaded.mistakes.map(formatMistake);
    for (const mistake of mistakes) log.err(mistake);
    for (const note of loaded.notes ?? []) log.notice(formatMistake(note));
    this.#use(loaded.settings);
    const before = this.#whatIsHeld();
    native.makeRoom(
      this.#options.control,
      loaded.reservations.reduce((sum, { sockets }) => sum + sockets.length, 0),
    );
    withReserve(() => {
      const keep = loaded.complete
        ? loaded.broken
        : [...this.#table.entries()].map((entry) => entry.reservation.name);
      this.#table.apply(loaded.reservations, new Set(keep), (name) => this.#claims.inUse(name));
    });
    this.#claims.forget(
      (name) => this.#table.get(name) !== undefined || this.#table.socketsOf(name).length > 0,
    );
    this.#claims.settle();
    this.#afterHolding();
    this.#guard();
    this.#tellChanges(before);
    const clean = mistakes.length === 0 && loaded.broken.length === 0 && loaded.complete;
    this.#memory = clean && this.#vault !== undefined ? configuration.remember() : undefined;
    this.#save();
    return { mistakes };
  }

  #guard(): void {
    const reservations = [...this.#table.entries()].map(({ reservation }) => reservation);
    this.#options.guards?.apply(this.#settings, reservations);
  }

  /** Tells whether anything may have come since it was read last: a file changes the directory that it is in. */
  #stampOfFiles(): string {
    return this.#options.configuration.directories
      .map((directory) => String(statSync(directory, { bigint: true, throwIfNoEntry: false })?.mtimeNs))
      .join();
  }

  /** Begins to wait anew for the time in which nobody needs berthd. */
  #awaitIdleness(): void {
    const { log, idleExit } = this.#options;
    const { idleExitSec } = this.#settings;
    clearTimeout(this.#idleTimer);
    if (idleExitSec === 0) return;
    if (idleExit === undefined) {
      if (!this.#saidNoIdleExit) log.notice('IdleExitSec= needs a service manager of systemd 254 or later');
      this.#saidNoIdleExit = true;
      return;
    }
    this.#idleTimer = setTimeout(() => {
      const reason = this.#reasonToStay();
      if (reason !== undefined) {
        log.debug(`Nobody has asked for anything, but ${reason}`);
        this.#awaitIdleness();
      } else {
        log.info('Nobody needs berthd: ending until the next request');
        this.stop(true);
        idleExit();
      }
    }, idleExitSec * 1000);
  }

  /** What berthd would miss if it ended now. */
  #reasonToStay(): string | undefined {
    if (this.#complaints.size > 0) return 'there is a socket to be held yet';
    if (this.#claims.watching) return 'the end of a claimant is awaited';
    return this.#server?.busy === true ? 'there are connections' : undefined;
  }

  #retry(): void {
    const before = this.#table.count().held;
    const heldBefore = this.#whatIsHeld();
    withReserve(() => {
      this.#table.hold();
    });
    this.#afterHolding();
    this.#tellChanges(heldBefore);
    const { held, wanted } = this.#table.count();
    if (held !== before) this.#save();
    this.#events.emit({ event: 'retried', count: wanted - held });
    this.#options.notifier.status(this.#summary());
  }

  #save(): void {
    const { wanted, held } = this.#table.count();
    clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    try {
      const { reservations: released, claimed } = this.#claims.released;
      const files = wanted === held ? this.#memory : undefined;
      const left: Left = { ...(files === undefined ? {} : { files }), released, claimed };
      this.#vault?.save(this.#table.stored(), JSON.stringify(left), this.#programs.stored());
    } catch (error) {
      // Without a descriptor to spare, say. What was stored before is there yet.
      this.#options.log.err(`cannot store the sockets with the manager: ${messageOf(error)}`);
    }
  }

  /** Says what is new about sockets that cannot be held, and arranges for the next try. */
  #afterHolding(): void {
    const { log } = this.#options;
    const complaints = new Map<string, Happening>();
    let missing = false;
    clearTimeout(this.#retryTimer);
    this.#forgetObstacles();
    for (const { reservation, slots } of this.#table.entries()) {
      for (const slot of slots) {
        for (const warning of slot.socket?.warnings.splice(0) ?? [])
          log.warning(`${reservation.name}: ${warning}`);
        if (slot.error !== undefined)
          complaints.set(`${reservation.name}: ${slot.error}`, complaintOf(reservation.name, slot));
        if (slot.holder !== undefined) this.#awaitEnd(slot.holder);
        missing ||= slot.socket === undefined && slot.released === undefined;
      }
    }
    for (const [complaint, happening] of complaints)
      if (!this.#complaints.has(complaint)) this.#events.emit(happening);
    for (const settled of this.#complaints)
      if (!complaints.has(settled)) log.notice(`No longer so: ${settled}`);
    this.#complaints = new Set(complaints.keys());
    if (missing)
      this.#retryTimer = setTimeout(() => {
        this.#retry();
      }, retryMs);
  }

  /** What is held, by inode, with whom it is for; nothing while nobody watches. */
  #whatIsHeld(): Map<number, Happening> {
    const held = new Map<number, Happening>();
    if (!this.#events.watched) return held;
    for (const { reservation, slots } of this.#table.entries()) {
      for (const { socket } of slots) {
        if (socket === undefined) continue;
        held.set(socket.inode, {
          event: 'held',
          reservation: reservation.name,
          socket: socket.describe(),
          ...(reservation.unit === '' ? {} : { unit: reservation.unit }),
        });
      }
    }
    return held;
  }

  #tellChanges(before: ReadonlyMap<number, Happening>): void {
    const after = this.#whatIsHeld();
    for (const [inode, happening] of before)
      if (!after.has(inode)) this.#events.emit({ ...happening, event: 'dropped' });
    for (const [inode, happening] of after) if (!before.has(inode)) this.#events.emit(happening);
  }

  /** The port may be free the moment that whoever has it ends. */
  #awaitEnd(pid: number): void {
    if (this.#obstacles.has(pid)) return;
    const pidfd = native.pidfdOpen(pid);
    if (pidfd === undefined) return;
    const watch = native.watch(pidfd, Readable, () => {
      this.#retry();
    });
    this.#obstacles.set(pid, { watch, pidfd });
  }

  #forgetObstacles(): void {
    for (const { watch, pidfd } of this.#obstacles.values()) {
      native.unwatch(watch);
      closeSync(pidfd);
    }
    this.#obstacles.clear();
  }

  #failures(): string[] {
    return [...this.#complaints];
  }

  #summary(): string {
    const { wanted, held, released } = this.#table.count();
    const rest = [
      ...(released > 0 ? [`${released} released`] : []),
      ...(wanted === held ? [] : [`${wanted - held} cannot be held`]),
    ];
    return [`Holding ${count(held, 'socket')} of ${count(this.#table.size, 'reservation')}`, ...rest].join(
      '; ',
    );
  }
}

/** What one berthd leaves to the next one beside the sockets. */
interface Left {
  /** By which it knows the configuration; without it, it has to read it. */
  readonly files?: string;
  /** The reservations of which a socket is released, and the names of those that have claimants. */
  readonly released: readonly Reservation[];
  readonly claimed: readonly string[];
}

/** An earlier version left other things, which are of no use to this one. */
function readLeft(memory: string | undefined): Left {
  const nothing: Left = { released: [], claimed: [] };
  try {
    return { ...nothing, ...(JSON.parse(memory ?? '{}') as Partial<Left>) };
  } catch {
    return nothing;
  }
}
