import { readFileSync, readlinkSync } from 'node:fs';
import { BerthError, isSystemError } from '../model/errors.js';
import { describeSocket, type Reservation, type SocketSpec } from '../model/reservation.js';
import { daemonOfUnit, guessDaemon } from '../generator/daemons.js';
import type { Daemon } from '../generator/daemon-table.js';
import { unitOfProcess } from '../systemd/cgroup.js';
import { ephemeralRange, listListeners, type Listener } from '../systemd/listeners.js';
import { commandOf, describeProcess, nameProcess } from '../systemd/processes.js';
import { readUnit } from '../systemd/unit-file.js';
import type { UnitSearch } from '../systemd/unit-search.js';
import type { Imported, Skipped } from './import.js';
import type { Proposal } from './proposal.js';
import { suggestHandoff } from './suggest.js';

/** A port that was asked for; without a protocol both are meant. */
interface Wanted {
  readonly port: number;
  readonly type?: SocketSpec['type'];
}

interface Found {
  readonly listener: Listener;
  readonly spec: SocketSpec;
  readonly unit: string;
  readonly pid: number;
}

/** Proposals for what listens now, or of that for the `ports` alone. Throws BerthError. */
export function importListening(
  ports: readonly string[],
  reserved: readonly Reservation[],
  search: UnitSearch,
): Imported {
  const wanted = ports.map(parseWanted);
  const skipped: Skipped[] = [];
  const found: Found[] = [];
  const range = ephemeralRange();
  let unseen = 0;
  for (const listener of merged(look())) {
    const spec = specOf(listener);
    const asked = wanted.some(
      ({ port, type }) => port === listener.address.port && (type ?? spec.type) === spec.type,
    );
    if (wanted.length > 0 && !asked) continue;
    const owner = reserved.find(({ sockets }) => sockets.some((socket) => overlap(socket, spec)));
    const ephemeral = listener.address.port >= range.first && listener.address.port <= range.last;
    if (owner !== undefined) skip(spec, `reserved already as '${owner.name}' (${owner.at.file})`);
    else if (listener.inode === 0) skip(spec, "the kernel's own, which binds by itself");
    else if (listener.pids.length === 0) unseen++;
    else if (listener.pids.includes(1))
      skip(spec, 'systemd itself has it, for a .socket unit: see berth import socket');
    else if (ephemeral && !asked)
      skip(spec, 'in the range from which the kernel chooses ports: name it if it is a fixed one');
    else {
      const made = ofService(listener, spec);
      if (typeof made === 'string') skip(spec, made);
      else found.push(made);
    }
  }
  for (const { port, type } of wanted) {
    const listens = [...found.map(({ spec }) => spec), ...skipped.map(({ spec }) => spec)].some(
      (spec) =>
        spec !== undefined &&
        'port' in spec.address &&
        spec.address.port === port &&
        (type ?? spec.type) === spec.type,
    );
    if (!listens && unseen === 0) skipped.push({ what: `port ${port}`, reason: 'nobody listens there' });
  }
  if (unseen > 0)
    skipped.push({
      what: unseen === 1 ? '1 socket' : `${unseen} sockets`,
      reason:
        process.geteuid?.() === 0
          ? 'of processes that cannot be seen from here, as those of another container'
          : 'of processes that only root may look into',
    });
  const units = [...new Set(found.map(({ unit }) => unit))].sort();
  const taken = new Set(reserved.map(({ name }) => name));
  const proposals = units.flatMap((unit) =>
    proposalsFor(
      unit,
      found.filter((each) => each.unit === unit),
      taken,
      search,
      skipped,
    ),
  );
  return { proposals, skipped, mistakes: [] };

  function skip(spec: SocketSpec, reason: string): void {
    skipped.push({ what: describeSocket(spec), spec, reason });
  }
}

function look(): Listener[] {
  try {
    return listListeners();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new BerthError('Failed', `cannot list what listens: ${error.message}`);
  }
}

function parseWanted(text: string): Wanted {
  const [, digits = '', protocol] = /^([0-9]{1,5})(?:\/(tcp|udp))?$/.exec(text) ?? [];
  const port = Number(digits);
  if (port < 1 || port > 65535)
    throw new BerthError('Usage', `'${text}' is not a port (1 to 65535, or PORT/tcp or PORT/udp)`);
  return protocol === undefined ? { port } : { port, type: protocol === 'tcp' ? 'stream' : 'datagram' };
}

/** Sockets that share one address by SO_REUSEPORT, as the threads of one server do, count as one. */
function merged(listeners: readonly Listener[]): Listener[] {
  const byAddress = new Map<string, Listener>();
  for (const listener of listeners) {
    const { type, address, device = '' } = listener;
    const key = `${type} ${address.host} ${address.port} ${device}`;
    const first = byAddress.get(key);
    const pids = [...new Set([...(first?.pids ?? []), ...listener.pids])];
    byAddress.set(key, { ...(first ?? listener), pids });
  }
  return [...byAddress.values()].sort((a, b) => a.address.port - b.address.port);
}

function specOf({ type, address }: Listener): SocketSpec {
  const listen =
    address.family === 'inet' ? `${address.host}:${address.port}` : `[${address.host}]:${address.port}`;
  return { type, address, listen, at: { file: '', line: 0 } };
}

function overlap(a: SocketSpec, b: SocketSpec): boolean {
  if (a.type !== b.type || !('port' in a.address) || !('port' in b.address)) return false;
  const hosts = [a.address, b.address].map((each) => ('host' in each ? each.host : '::'));
  const wild = hosts.some(isWildcard);
  return a.address.port === b.address.port && (wild || hosts[0] === hosts[1]);
}

/** Whose socket it is, or why it is no service's. */
function ofService(listener: Listener, spec: SocketSpec): Found | string {
  const [pid = 0] = listener.pids;
  const units = new Set(listener.pids.map((each) => unitOfProcess(each)?.unit));
  const [unit] = units;
  if (units.size > 1)
    return `shared by ${listener.pids.map((each) => describeProcess(nameProcess(each))).join(' and ')}`;
  if (unit === undefined) return `pid ${pid} ${commandOf(pid)} belongs to no unit`;
  if (!unit.endsWith('.service')) return `pid ${pid} ${commandOf(pid)} is in ${unit}, which is no service`;
  if (unit.startsWith('user@'))
    return `pid ${pid} ${commandOf(pid)} is of a user's own service manager, whose units berth does not hand to`;
  return { listener, spec, unit, pid };
}

function proposalsFor(
  unit: string,
  found: readonly Found[],
  taken: Set<string>,
  search: UnitSearch,
  skipped: Skipped[],
): Proposal[] {
  const [first] = found;
  if (first === undefined) return [];
  const daemon = daemonOfUnit(readUnit(search, search.find(unit))) ?? guessDaemon(unit, wordsOf(first.pid));
  if (daemon?.skip !== undefined) {
    for (const { spec } of found) skipped.push({ what: describeSocket(spec), spec, reason: daemon.skip });
    return [];
  }
  const never = found.filter(({ spec }) => isNever(daemon, spec));
  const handed = found.filter((each) => !never.includes(each));
  const { handoff, reasons } = suggestHandoff(
    daemon,
    handed.map(({ spec }) => spec),
    programOf(first.pid),
  );
  // What tells its sockets by address has to be given them as it binds them.
  const exact = handoff === 'store' && daemon?.takes === 'address';
  return [
    ...groupListeners(listenersOf(handed), exact).map((group) => make(group, handoff, reasons)),
    ...groupListeners(listenersOf(never), false).map((group) =>
      make(group, 'none', [`Never handed over: ${daemon?.never?.because ?? ''}.`]),
    ),
  ];

  function make(group: Group, handoff: string, reasons: readonly string[]): Proposal {
    const name = freeName(unit, taken);
    const process = describeProcess(nameProcess(first?.pid ?? 0));
    return {
      name,
      unit,
      comments: [`Proposed by berth import, because ${process} listens there.`, ...reasons],
      socket: [
        ...group.listens,
        ...(group.v6only ? [['BindIPv6Only', 'ipv6-only'] as const] : []),
        ...(group.device === undefined ? [] : [['BindToDevice', group.device] as const]),
      ],
      reservation: [
        ...(unit === `${name}.service` ? [] : [['Service', unit] as const]),
        ['Handoff', handoff],
      ],
    };
  }
}

function listenersOf(found: readonly Found[]): Listener[] {
  return found.map(({ listener }) => listener);
}

function isNever(daemon: Daemon | undefined, { type, address }: SocketSpec): boolean {
  const never = daemon?.never;
  if (never?.type !== type || !('port' in address)) return false;
  return never.port === undefined || never.port === address.port;
}

/** Sockets that can stand in one file, whose options are for all of them. */
export interface Group {
  readonly listens: (readonly [string, string])[];
  readonly v6only: boolean;
  readonly device: string | undefined;
}

/**
 * A server's two wildcards become one bare port, unless the sockets have to be `exact`. BindIPv6Only= is for all of a
 * file, so bare ports and lone IPv6 wildcards, whose meanings it turns around, come apart.
 */
export function groupListeners(all: readonly Listener[], exact: boolean): Group[] {
  const lines = all.flatMap((listener) => {
    const { host, port } = listener.address;
    const other = host === '::' ? '0.0.0.0' : '::';
    const both =
      !exact &&
      isWildcard(host) &&
      all.some((each) => sameButHost(each, listener) && each.address.host === other);
    if (both && host === '0.0.0.0') return [];
    const bare = host === '::' && (both || !listener.v6only);
    return [
      { listener, bare, v6only: host === '::' && !bare, text: bare ? `${port}` : specOf(listener).listen },
    ];
  });
  const split = lines.some(({ v6only }) => v6only);
  const made = new Map<string, Group>();
  for (const { listener, bare, v6only, text } of lines) {
    const key = `${listener.device ?? ''} ${split && bare}`;
    const group = made.get(key);
    const line = [listener.type === 'stream' ? 'ListenStream' : 'ListenDatagram', text] as const;
    made.set(key, {
      listens: [...(group?.listens ?? []), line],
      v6only: v6only || group?.v6only === true,
      device: listener.device,
    });
  }
  return [...made.values()];
}

function sameButHost(a: Listener, b: Listener): boolean {
  return a.type === b.type && a.address.port === b.address.port && a.device === b.device;
}

function isWildcard(host: string): boolean {
  return host === '::' || host === '0.0.0.0';
}

/** The unit's name without its type, in characters that a reservation may have, and not taken yet. */
function freeName(unit: string, taken: Set<string>): string {
  const stem = unit.replace(/\.service$/, '').replaceAll(/[^A-Za-z0-9_.@-]/g, '_');
  let name = stem;
  for (let number = 2; taken.has(name); number++) name = `${stem}-${number}`;
  taken.add(name);
  return name;
}

function wordsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      .split('\0')
      .filter((word) => word !== '');
  } catch {
    return [commandOf(pid)];
  }
}

function programOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}
