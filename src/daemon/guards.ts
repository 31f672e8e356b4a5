import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Settings } from '../config/settings.js';
import { isSystemError, messageOf } from '../model/errors.js';
import type { Reservation } from '../model/reservation.js';
import { updateBlacklist } from './blacklist-file.js';
import type { Log } from './log.js';
import { formatPortList, parsePortList } from './port-list.js';

/** Guards beside the hold, each of them off unless berthd.conf(5) says otherwise. */
export interface Guards {
  /** Makes them what the settings and the reservations want. Never throws: the hold does not depend on them. */
  apply(settings: Settings, reservations: Iterable<Reservation>): void;
  /** Takes back what would outlive berthd to nobody's use. */
  lift(): void;
}

/** What berth has changed outside of itself, so that the next berthd takes back that and nothing else. */
interface State {
  /** Ports that were not in the kernel's list before. */
  readonly ports: readonly number[];
  readonly blacklist?: string;
}

export interface GuardFiles {
  readonly reservedPorts: string;
  readonly ephemeralRange: string;
  /** Goes at a reboot, as the kernel's list does. */
  readonly state: string;
}

export const guardFiles: GuardFiles = {
  reservedPorts: '/proc/sys/net/ipv4/ip_local_reserved_ports',
  ephemeralRange: '/proc/sys/net/ipv4/ip_local_port_range',
  state: '/run/berth/guards.json',
};

/** The ports below this one are for root, and what bindresvport(3) chooses from. */
const firstOrdinaryPort = 1024;

const sandboxed: readonly string[] = ['EROFS', 'EACCES', 'EPERM'];

export class SystemGuards implements Guards {
  readonly #log: Log;
  readonly #files: GuardFiles;

  constructor(log: Log, files: GuardFiles = guardFiles) {
    this.#log = log;
    this.#files = files;
  }

  apply(settings: Settings, reservations: Iterable<Reservation>): void {
    const { reserveEphemeral, bindresvportBlacklist: path } = settings;
    const ports = reserveEphemeral || path !== undefined ? portsOf(reservations) : new Set<number>();
    this.#attempt('net.ipv4.ip_local_reserved_ports', () => {
      this.#reserve(reserveEphemeral ? ports : new Set());
    });
    const { blacklist: before } = this.#state();
    for (const file of new Set([before, path]))
      if (file !== undefined)
        this.#attempt(file, () => {
          // Remembered first: a file that is never cleaned up would be worse than one that is looked at in vain.
          this.#remember({ ...this.#state(), blacklist: file });
          updateBlacklist(file, file === path ? [...ports].filter((port) => port < firstOrdinaryPort) : []);
          if (file !== path) this.#remember({ ports: this.#state().ports });
        });
  }

  /** The lines of the blacklist stay: they help at the next boot, before berthd is there. */
  lift(): void {
    this.#attempt('net.ipv4.ip_local_reserved_ports', () => {
      this.#reserve(new Set());
    });
  }

  /** Puts those of the ports that are in the ephemeral range into the kernel's list, and takes out what berth put there. */
  #reserve(wanted: ReadonlySet<number>): void {
    const state = this.#state();
    const ours = new Set(state.ports);
    if (wanted.size === 0 && ours.size === 0) return;
    const [first = 0, last = 0] = readFileSync(this.#files.ephemeralRange, 'utf8')
      .trim()
      .split(/\s+/)
      .map(Number);
    const inRange = new Set([...wanted].filter((port) => port >= first && port <= last));
    const current = parsePortList(readFileSync(this.#files.reservedPorts, 'utf8'));
    const kept = [...current].filter((port) => !ours.has(port) || inRange.has(port));
    const next = new Set([...kept, ...inRange]);
    const owned = [...inRange].filter((port) => ours.has(port) || !current.has(port));
    // Before and after: whenever berthd is killed, what it has added is known.
    this.#remember({ ...state, ports: [...new Set([...ours, ...owned])] });
    if (formatPortList(next) !== formatPortList(current))
      writeFileSync(this.#files.reservedPorts, `${formatPortList(next)}\n`);
    this.#remember({ ...state, ports: owned });
  }

  #state(): State {
    try {
      return JSON.parse(readFileSync(this.#files.state, 'utf8')) as State;
    } catch (error) {
      if (isSystemError(error) && error.code === 'ENOENT') return { ports: [] };
      throw error;
    }
  }

  #remember(state: State): void {
    const { state: file } = this.#files;
    if (JSON.stringify(state) === JSON.stringify(this.#state())) return;
    if (state.ports.length === 0 && state.blacklist === undefined) {
      rmSync(file, { force: true });
      return;
    }
    writeFileSync(`${file}.new`, JSON.stringify(state));
    renameSync(`${file}.new`, file);
  }

  #attempt(what: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      const hint =
        isSystemError(error) && sandboxed.includes(error.code)
          ? '; berth.service is opened for it by systemctl daemon-reload and a restart'
          : '';
      this.#log.warning(`cannot change ${what}: ${messageOf(error)}${hint}`);
    }
  }
}

function portsOf(reservations: Iterable<Reservation>): Set<number> {
  const ports = new Set<number>();
  for (const { sockets } of reservations)
    for (const { address } of sockets) if ('port' in address) ports.add(address.port);
  return ports;
}
