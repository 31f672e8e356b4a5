import { closeSync, statSync } from 'node:fs';
import type { Configuration } from '../config/load.js';
import { defaultSettings } from '../config/settings.js';
import { messageOf } from '../model/errors.js';
import { formatMistake } from '../model/reservation.js';
import type { Mistake } from '../model/reservation.js';
import { count } from '../model/text.js';
import { native, Readable } from '../native/index.js';
import type { Watch } from '../native/index.js';
import { ControlServer } from '../protocol/server.js';
import type { Notifier } from '../systemd/notify.js';
import { Claims } from './claims.js';
import { withReserve } from './descriptor-reserve.js';
import type { Log } from './log.js';
import { handleRequest } from './methods.js';
import type { MethodContext } from './methods.js';
import type { Policy } from './policy.js';
import { Table } from './table.js';
import type { FdStore } from '../systemd/fd-store.js';
import type { PassedFd } from '../systemd/listen-fds.js';
import { recover, Vault } from './vault.js';

export interface DaemonOptions {
  /** Reads the configuration: at the start and at each reload. */
  readonly load: () => Configuration & { readonly notes?: readonly Mistake[] };
  /** The directories of which one changes when it may have changed. */
  readonly directories: readonly string[];
  /** The listening control socket, which the daemon takes over. */
  readonly control: number;
  readonly policy: Policy;
  readonly notifier: Notifier;
  /** Where the sockets outlive berthd, and what an earlier one left there. Without it they go with the process. */
  readonly vault?: { readonly store: FdStore; readonly passed: readonly PassedFd[] };
  /** Ends the process so that the next request starts it again. Absent where the manager would drop the sockets. */
  readonly idleExit?: () => void;
  readonly log: Log;
}

/** How long to wait before another try at what cannot be held, when nothing tells that it could work now. */
const retryMs = 5000;
const maxConnections = 1024;

/** berthd: the table of reservations, what keeps it up to date, and the control socket in front of it. */
export class Daemon {
  readonly #options: DaemonOptions;
  readonly #table = new Table();
  readonly #claims: Claims;
  readonly #vault: Vault | undefined;
  #server: ControlServer | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #watchdogTimer: NodeJS.Timeout | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #saidNoIdleExit = false;
  #settings = defaultSettings;
  #readStamp = '';
  /** Waits for the ends of the processes that are in the way, by pid. */
  readonly #obstacles = new Map<number, { watch: Watch; pidfd: number }>();
  /** What has been said of sockets that cannot be held, so that a retry does not say it again. */
  #complaints = new Set<string>();

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#claims = new Claims(this.#table, options.log, () => {
      this.#save();
    });
    this.#vault = options.vault && new Vault(options.vault.store, options.vault.passed);
  }

  /** Holds all that can be held, opens the control socket, and says READY=1. */
  start(): void {
    const { control, policy, notifier, log, vault } = this.#options;
    try {
      this.#table.restore(recover(vault?.passed ?? []));
    } catch (error) {
      // Better to begin anew than to hold what nobody can be handed.
      log.err(`what an earlier berthd held is lost: ${messageOf(error)}`);
    }
    this.#claims.recover();
    this.#configure();
    const context: MethodContext = {
      table: this.#table,
      claims: this.#claims,
      policy,
      reload: () => this.reload(),
      refresh: () => {
        if (this.#stampOfFiles() !== this.#readStamp) this.reload();
      },
    };
    this.#server = new ControlServer(control, {
      peerTimeoutSec: () => this.#settings.peerTimeoutSec,
      maxConnections,
      handle: (request, connection) => {
        this.#awaitIdleness();
        return handleRequest(context, request, connection);
      },
      report: (message) => {
        log.warning(message);
      },
    });
    notifier.ready(this.#summary());
    log.info(this.#summary());
    this.#awaitIdleness();
    if (notifier.watchdogInterval > 0) {
      this.#watchdogTimer = setInterval(() => {
        notifier.watchdog();
      }, notifier.watchdogInterval / 2);
    }
  }

  /** Re-reads the files. A reservation with a mistake stays as it was. */
  reload(): { mistakes: readonly string[]; failures: readonly string[] } {
    const { notifier, log } = this.#options;
    notifier.reloading();
    try {
      const { mistakes } = this.#configure();
      log.info(`Reloaded. ${this.#summary()}`);
      return { mistakes, failures: this.#failures() };
    } finally {
      notifier.ready(this.#summary());
    }
  }

  /** Before the process ends. With a vault all sockets stay as they are; without one they go. */
  stop(): void {
    this.#options.notifier.stopping();
    this.#server?.close();
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#idleTimer);
    clearInterval(this.#watchdogTimer);
    this.#forgetObstacles();
    this.#claims.forget(() => false);
    if (this.#vault === undefined) this.#table.apply([], new Set(), () => false);
  }

  #configure(): { mistakes: string[] } {
    const { load, log } = this.#options;
    this.#readStamp = this.#stampOfFiles();
    const loaded = load();
    const mistakes = loaded.mistakes.map(formatMistake);
    for (const mistake of mistakes) log.err(mistake);
    for (const note of loaded.notes ?? []) log.notice(formatMistake(note));
    this.#settings = loaded.settings;
    log.level = loaded.settings.logLevel;
    withReserve(() => {
      const keep = loaded.complete
        ? loaded.broken
        : [...this.#table.entries()].map((entry) => entry.reservation.name);
      this.#table.apply(loaded.reservations, new Set(keep), (name) => this.#claims.inUse(name));
    });
    this.#claims.forget((name) => this.#table.get(name) !== undefined);
    this.#afterHolding();
    this.#save();
    return { mistakes };
  }

  /** Tells whether anything may have come since it was read last: a file changes the directory that it is in. */
  #stampOfFiles(): string {
    return this.#options.directories
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
        this.stop();
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
    const before = this.#heldCount();
    withReserve(() => {
      this.#table.hold();
    });
    this.#afterHolding();
    if (this.#heldCount() !== before) this.#save();
    this.#options.notifier.status(this.#summary());
  }

  #save(): void {
    this.#vault?.save(this.#table.stored());
  }

  /** Says what is new about sockets that cannot be held, and arranges for the next try. */
  #afterHolding(): void {
    const { log } = this.#options;
    const complaints = new Set<string>();
    let missing = false;
    clearTimeout(this.#retryTimer);
    this.#forgetObstacles();
    for (const { reservation, slots } of this.#table.entries()) {
      for (const slot of slots) {
        for (const warning of slot.socket?.warnings.splice(0) ?? [])
          log.warning(`${reservation.name}: ${warning}`);
        if (slot.error !== undefined) complaints.add(`${reservation.name}: ${slot.error}`);
        if (slot.holder !== undefined) this.#awaitEnd(slot.holder);
        missing ||= slot.socket === undefined;
      }
    }
    for (const complaint of complaints) if (!this.#complaints.has(complaint)) log.err(complaint);
    for (const settled of this.#complaints)
      if (!complaints.has(settled)) log.notice(`No longer so: ${settled}`);
    this.#complaints = complaints;
    if (missing)
      this.#retryTimer = setTimeout(() => {
        this.#retry();
      }, retryMs);
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

  #heldCount(): number {
    return [...this.#table.slots()].filter(({ socket }) => socket !== undefined).length;
  }

  #summary(): string {
    const reservations = [...this.#table.entries()].length;
    const held = this.#heldCount();
    const missing = [...this.#table.slots()].length - held;
    const rest = missing === 0 ? '' : `; ${missing} cannot be held`;
    return `Holding ${count(held, 'socket')} of ${count(reservations, 'reservation')}${rest}`;
  }
}
