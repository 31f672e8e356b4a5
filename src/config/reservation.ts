import type {
  Address,
  Location,
  Mistake,
  Reservation,
  SocketOptions,
  SocketProtocol,
  SocketSpec,
  SocketType,
} from '../model/reservation.js';
import { onByDefault, refusalOf, refusedSwitches } from './foreign.js';
import { reservationKeys, socketKeys, type Draft, type Listen } from './keys.js';
import { parseListen } from './listen.js';
import { checkReservationName, parseServiceUnit } from './names.js';
import type { Services } from './services.js';
import { expandSpecifiers } from './specifiers.js';
import { closest } from './spelling.js';
import { excerpt, type Assignment, type ParsedFile } from './syntax.js';
import { parseBoolean, quote, ValueError } from './values.js';

export interface Built {
  /** Undefined when there is any mistake: a socket that is only half as configured is not held. */
  readonly reservation?: Reservation;
  readonly mistakes: readonly Mistake[];
}

/** More would not fit into the environment at the handoff: LISTEN_FDNAMES is limited to 128 KiB (execve(2)). */
const socketLimit = 10_000;
/** Nobody reads further, and a file that was never meant for berth would else give one for each line. */
const mistakeLimit = 100;

/** The defaults of systemd.socket(5). */
export const defaultOptions: SocketOptions = {
  bindIPv6Only: 'default',
  backlog: 2 ** 32 - 1,
  freeBind: false,
  transparent: false,
  reusePort: false,
  broadcast: false,
  keepAlive: false,
  noDelay: false,
  passCredentials: false,
  passPacketInfo: false,
  socketMode: 0o666,
  directoryMode: 0o755,
  symlinks: [],
  removeOnStop: false,
};

/**
 * Makes a reservation of its files: the main one first, then the drop-ins in their order. `at` is where the mistakes
 * go that belong to no line. Never throws; the mistakes of the files themselves are passed on.
 */
export function buildReservation(
  name: string,
  at: Location,
  files: readonly ParsedFile[],
  services: Services,
): Built {
  const mistakes = files.flatMap((file) => file.mistakes);
  const attempt = attempter(mistakes);
  const ownUnit = attempt(at, '', () => {
    checkReservationName(name);
    return parseServiceUnit(`${name}.service`);
  });
  const draft: Draft = { listens: [], options: {}, symlinks: [] };
  for (const file of files) {
    for (const { section, ...place } of file.sections) {
      if (mistakes.length < mistakeLimit) checkSection(section, place, mistakes);
    }
    for (const assignment of file.assignments) {
      if (mistakes.length >= mistakeLimit) break;
      attempt(assignment, assignment.key, () => {
        takeAssignment(draft, assignment, name);
      });
    }
  }
  const sockets = draft.listens.slice(0, socketLimit).flatMap((listen) => {
    if (mistakes.length >= mistakeLimit) return [];
    const spec = attempt(listen.at, listen.key, () => socketOf(listen, draft, services));
    return spec === undefined ? [] : [spec];
  });
  if (mistakes.length >= mistakeLimit) {
    const message = 'too many mistakes: the rest of the reservation is not looked at';
    return { mistakes: [...inOrder(mistakes, files), { ...at, key: '', message }] };
  }
  checkWhole(draft, sockets, at, mistakes);
  const unit = draft.unit ?? ownUnit;
  if (mistakes.length > 0 || unit === undefined) return { mistakes: inOrder(mistakes, files) };
  const reservation: Reservation = {
    name,
    sockets,
    options: { ...defaultOptions, ...given(draft.options), symlinks: draft.symlinks },
    fdName: draft.fdName ?? name,
    unit,
    handoff: draft.handoff ?? 'store',
    whileStopped: draft.whileStopped ?? 'refuse',
    at,
  };
  return { reservation, mistakes };
}

/** As a person reads: file by file as they count, and down each of them. */
function inOrder(mistakes: readonly Mistake[], files: readonly ParsedFile[]): Mistake[] {
  const rank = new Map(files.map(({ file }, index) => [file, index]));
  return mistakes.toSorted((a, b) => (rank.get(a.file) ?? 0) - (rank.get(b.file) ?? 0) || a.line - b.line);
}

function attempter(mistakes: Mistake[]) {
  return <T>({ file, line }: Location, key: string, action: () => T): T | undefined => {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      mistakes.push({ file, line, key: excerpt(key), message: error.message });
      return undefined;
    }
  };
}

function checkSection(section: string, at: Location, mistakes: Mistake[]): void {
  // [Install] says when a .socket unit starts, and berth holds every reservation from the start.
  if (['Socket', 'Reservation', 'Unit', 'Install'].includes(section) || section.startsWith('X-')) return;
  const near = closest(section, ['Socket', 'Reservation']);
  const hint =
    near === undefined ? 'a reservation has [Socket] and [Reservation]' : `did you mean [${near}]?`;
  mistakes.push({ ...at, key: '', message: `the section ${quote(`[${section}]`)} is unknown: ${hint}` });
}

function takeAssignment(draft: Draft, { section, key, value, file, line }: Assignment, name: string): void {
  if (key.startsWith('X-')) return;
  if (section === 'Unit') checkUnitKey(key);
  if (section !== 'Socket' && section !== 'Reservation') return;
  const take = (section === 'Socket' ? socketKeys : reservationKeys).get(key);
  if (take === undefined) refuse(section, key, value);
  else take(draft, expandSpecifiers(value, name), { file, line }, key);
}

/** Descriptions and the order of units mean nothing here and do no harm; a condition would be dropped in silence. */
function checkUnitKey(key: string): void {
  if (/^(Condition|Assert)/.test(key)) {
    throw new ValueError(
      'berth checks no conditions: a reservation is held always, or masked (see berth.conf(5))',
    );
  }
}

function refuse(section: 'Socket' | 'Reservation', key: string, value: string): void {
  if (section === 'Socket') {
    const reason = refusalOf(key);
    if (reason !== undefined) throw new ValueError(reason);
    const switchReason = refusedSwitches.get(key);
    if (switchReason !== undefined) {
      const on = !/^off$/i.test(value) && (key === 'Timestamping' || parseBoolean(value));
      if (on !== onByDefault.has(key)) throw new ValueError(switchReason);
      return;
    }
  }
  const [own, other, otherName] =
    section === 'Socket'
      ? [socketKeys, reservationKeys, 'Reservation']
      : [reservationKeys, socketKeys, 'Socket'];
  if (other.has(key)) throw new ValueError(`this key belongs to [${otherName}]`);
  const near = closest(key, own.keys());
  throw new ValueError(`unknown key in [${section}]${near === undefined ? '' : `: did you mean ${near}=?`}`);
}

function socketOf({ type, text, at }: Listen, draft: Draft, services: Services): SocketSpec {
  const wanted = protocolFor(type, draft.protocol);
  const address = parseListen(text, { type, protocol: wanted, services });
  const protocol = isIp(address) ? wanted : undefined;
  return protocol === undefined
    ? { type, address, listen: text, at }
    : { type, address, protocol, listen: text, at };
}

/** As in systemd, SocketProtocol= touches only the sockets of the type that its protocol has. */
function protocolFor(type: SocketType, protocol: SocketProtocol | undefined): SocketProtocol | undefined {
  if (protocol === undefined) return undefined;
  return (type === 'datagram') === (protocol === 'udplite') ? protocol : undefined;
}

function isIp(address: Address): boolean {
  return address.family !== 'unix' && address.family !== 'abstract';
}

/** What only the whole tells: the checks of systemd's socket_verify() that concern a reservation. */
function checkWhole(draft: Draft, sockets: readonly SocketSpec[], at: Location, mistakes: Mistake[]): void {
  // An address that is wrong would else be missed a second time.
  const incomplete = mistakes.some(({ key }) => key.startsWith('Listen'));
  if (draft.listens.length === 0 && !incomplete) {
    mistakes.push({
      ...at,
      key: '',
      message:
        'nothing to hold: there is no ListenStream=, ListenDatagram= or ListenSequentialPacket= in [Socket]',
    });
  }
  if (draft.listens.length > socketLimit) {
    mistakes.push({ ...at, key: '', message: `more than ${socketLimit} sockets in one reservation` });
  }
  const paths = sockets.filter(({ address }) => address.family === 'unix').length;
  if (draft.symlinks.length > 0 && draft.symlinksAt !== undefined && paths !== 1 && !incomplete) {
    mistakes.push({
      ...draft.symlinksAt,
      key: 'Symlinks',
      message: `the links need exactly one socket with a path to point to, and there are ${paths}`,
    });
  }
}

/** Without the options that an empty assignment took back. */
function given(options: Draft['options']): Partial<SocketOptions> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
