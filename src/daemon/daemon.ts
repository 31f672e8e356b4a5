import { closeSync } from 'node:fs';
import { defaultSettings } from '../config/settings.js';
import { BerthError, isShortage, messageOf } from '../model/errors.js';
import type { Settings } from '../config/settings.js';
import { formatMistake } from '../model/reservation.js';
import { count } from '../model/text.js';
import { native } from '../native/index.js';
import { ControlServer } from '../protocol/server.js';
import type { Notifier } from '../systemd/notify.js';
import { Claims } from './claims.js';
import type { ConfigurationFiles, Memory } from './configured.js';
import { withReserve } from './descriptor-reserve.js';
import { Events } from './events.js';
import type { Guards } from './guards.js';
import { HeldChanges } from './held-changes.js';
import { Idleness } from './idleness.js';
import { readLeft, type Left } from './left.js';
import type { Log } from './log.js';
import { handleRequest } from './methods.js';
import type { MethodContext } from './methods.js';
import type { Policy } from './policy.js';
import { Programs } from './programs.js';
import { PortreserveSocket } from './portreserve-socket.js';
import { joined, releaseNamed } from './releases.js';
import { readable } from './salvage.js';
import { Shortfall } from './shortfall.js';
import { Table } from './table.js';
import type { FdStore } from '../systemd/fd-store.js';
import type { PassedFd } from '../systemd/listen-fds.js';
import type { Recovered } from './stored.js';
import { Vault } from './vault.js';

export interface DaemonOptions {
  readonly configuration: Pick<ConfigurationFiles, 'stamp' | 'load' | 'remember' | 'recall'>;
  /** The listening control socket, which the daemon takes over. */
  readonly control: number;
  /** The datagram socket of portreserve, which the daemon takes over, where there is one. */
  readonly portreserve?: number | undefined;
  readonly policy: Policy;
  /** Called while threads begin with what takes a while. */
  readonly notifier: () => Notifier;
  /**
   * Where the sockets outlive berthd, and what an earlier one left there: the vaults that were passed, and what reads them.
   * Without it they go with the process.
   */
  readonly vault?: {
    readonly store: FdStore;
    readonly passed: readonly PassedFd[];
    readonly recover: () => Recovered;
  };
  /** Ends the process so that the next request starts it again. Absent where the manager would drop the sockets. */
  readonly idleExit?: () => void;
  /** Absent where berthd is an ordinary user's. */
  readonly guards?: Guards;
  readonly log: Log;
}

/** How long what the next berthd only would have to find out again may wait to be stored. */
const saveDelayMs = 200;
const maxConnections = 1024;

/** berthd: the table of reservations, what keeps it up to date, and the control socket in front of it. */
export class Daemon {
  readonly #options: DaemonOptions;
  readonly #notifier: Notifier;
  readonly #table = new Table();
  readonly #events: Events;
  readonly #claims: Claims;
  readonly #programs: Programs;
  readonly #vault: Vault | undefined;
  readonly #shortfall: Shortfall;
  readonly #idleness: Idleness;
  #server: ControlServer | undefined;
  #portreserve: PortreserveSocket | undefined;
  #watchdogTimer: NodeJS.Timeout | undefined;
  #saveTimer: NodeJS.Timeout | undefined;
  #settings = defaultSettings;
  /** Of the files when they were read last. What was recalled has not been read: a claim of something unknown reads it. */
  #readStamp = '';
  /** What the next berthd needs to know the configuration by; undefined when it has to read it. */
  #memory: Memory | undefined;
  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#notifier = options.notifier();
    const saveSoon = (): void => {
      this.#saveTimer ??= setTimeout(() => {
        this.#save();
      }, saveDelayMs);
    };
    this.#events = new Events(options.log);
    this.#shortfall = new Shortfall(this.#table, options.log, this.#events, () => {
      this.#retry();
    });
    const { idleExit } = options;
    this.#idleness = new Idleness(options.log, {
      idleExitSec: () => this.#settings.idleExitSec,
      reasonToStay: () => this.#reasonToStay(),
      exit:
        idleExit &&
        (() => {
          this.stop(true);
          idleExit();
        }),
    });
    const effects = {
      changed: () => {
        this.#shortfall.review();
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
    const { configuration, control, policy, log, vault } = this.#options;
    const notifier = this.#notifier;
    let left: Left = { released: [], claimed: [] };
    let stamps: number | undefined;
    let unreadable = false;
    try {
      const found = vault?.recover();
      if (found !== undefined) {
        const recovered = readable(found, () => configuration.load().reservations, log);
        left = readLeft(recovered.memory);
        stamps = recovered.stamps;
        unreadable = found.unread !== undefined;
        this.#table.restore(recovered, left.released);
        if (recovered.programs !== undefined) this.#programs.restore(recovered.programs);
      }
    } catch (error) {
      // As long as nothing is saved the manager keeps all of it, for the next start to take over.
      if (isShortage(error) || (error instanceof BerthError && error.code === 'Busy'))
        throw new BerthError(
          'Failed',
          `cannot take over what an earlier berthd held, which systemd keeps: ${messageOf(error)}`,
        );
      // Better to begin anew than to hold what nobody can be handed.
      log.err(`what an earlier berthd held is lost: ${messageOf(error)}`);
    }
    this.#claims.recover(left.claimed);
    if (this.#recall(left.known, stamps)) this.#guard();
    else this.#configure();
    // What the manager has of them is in the way until then. Without its word there is another try in a while, as always.
    if (unreadable) vault?.store.settled().then(this.#shortfall.retry, () => undefined);
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
        if (this.#options.configuration.stamp() !== this.#readStamp) this.reload();
      },
    };
    this.#server = new ControlServer(control, {
      peerTimeoutSec: () => this.#settings.peerTimeoutSec,
      maxConnections,
      handle: (request, caller) => {
        this.#idleness.wait();
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
    this.#idleness.wait();
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
        this.#idleness.wait();
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
    const notifier = this.#notifier;
    notifier.reloading();
    try {
      const { mistakes } = this.#configure();
      this.#events.emit({ event: 'reloaded', count: mistakes.length, message: this.#summary() });
      return { mistakes, failures: [...this.#shortfall.complaints] };
    } finally {
      notifier.ready(this.#summary());
    }
  }

  /**
   * Before the process ends, `asleep` when the next request starts it again. With a vault all sockets stay as they are;
   * without one they go.
   */
  stop(asleep = false): void {
    this.#notifier.stopping();
    if (!asleep) this.#options.guards?.lift();
    this.#server?.close();
    this.#portreserve?.close();
    this.#shortfall.close();
    this.#idleness.close();
    if (this.#saveTimer !== undefined) this.#save();
    clearInterval(this.#watchdogTimer);
    this.#claims.close();
    this.#programs.close();
    if (this.#vault === undefined) this.#table.apply([], new Set(), () => false);
  }

  /**
   * True when the files are as they were when the vault was written. Then what it holds is what is configured, all of it,
   * and nothing is left to do; reading 10,000 files would take a second.
   */
  #recall(known = '', stamps: number | undefined): boolean {
    const { configuration, vault } = this.#options;
    if (stamps === undefined) return false;
    const memory = { known, stamps };
    const settings = configuration.recall(memory);
    // Of several vaults only one counts, and saving is what removes the others.
    if (settings === undefined || vault?.passed.length !== 1) {
      closeSync(stamps);
      return false;
    }
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
    this.#claims.finishRecovery();
    this.#readStamp = configuration.stamp();
    const loaded = configuration.load();
    const mistakes = loaded.mistakes.map(formatMistake);
    for (const mistake of mistakes) log.err(mistake);
    for (const note of loaded.notes ?? []) log.notice(formatMistake(note));
    this.#use(loaded.settings);
    const changes = new HeldChanges(this.#table, this.#events);
    native.makeRoom(
      this.#options.control,
      loaded.reservations.reduce((sum, { sockets }) => sum + sockets.length, 0),
    );
    native.roomMade();
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
    this.#shortfall.review();
    this.#guard();
    changes.tell();
    const clean = mistakes.length === 0 && loaded.broken.length === 0 && loaded.complete;
    if (this.#memory !== undefined) closeSync(this.#memory.stamps);
    this.#memory = clean && this.#vault !== undefined ? configuration.remember() : undefined;
    this.#save();
    return { mistakes };
  }

  #guard(): void {
    this.#options.guards?.apply(this.#settings, this.#table.reservations());
  }

  /** What berthd would miss if it ended now. */
  #reasonToStay(): string | undefined {
    if (this.#shortfall.complaints.size > 0) return 'there is a socket to be held yet';
    if (this.#claims.watching) return 'the end of a claimant is awaited';
    return this.#server?.busy === true ? 'there are connections' : undefined;
  }

  #retry(): void {
    const before = this.#table.count().held;
    const changes = new HeldChanges(this.#table, this.#events);
    withReserve(() => {
      this.#table.hold();
    });
    this.#shortfall.review();
    changes.tell();
    const { held, wanted } = this.#table.count();
    if (held !== before) this.#save();
    this.#events.emit({ event: 'retried', count: wanted - held });
    this.#notifier.status(this.#summary());
  }

  #save(): void {
    const { wanted, held } = this.#table.count();
    clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    try {
      const { reservations: released, claimed } = this.#claims.released;
      const files = wanted === held ? this.#memory : undefined;
      const left: Left = { ...(files === undefined ? {} : { known: files.known }), released, claimed };
      this.#vault?.save(this.#table.stored(), JSON.stringify(left), this.#programs.stored(), files?.stamps);
    } catch (error) {
      // Without a descriptor to spare, say. What was stored before is there yet.
      this.#options.log.err(`cannot store the sockets with the manager: ${messageOf(error)}`);
    }
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
