import {
  handoffs,
  whileStoppedChoices,
  type Handoff,
  type Location,
  type SocketOptions,
  type SocketProtocol,
  type SocketType,
  type WhileStopped,
} from '../model/reservation.js';
import { parseServiceUnit } from './names.js';
import {
  parseAbsolutePath,
  parseBoolean,
  parseChoice,
  parseFdName,
  parseInteger,
  parseInterfaceName,
  parseKernelSeconds,
  parseMode,
  parseSize,
  parseTypeOfService,
  parseUserName,
  ValueError,
} from './values.js';
import { splitWords } from './words.js';

/** One Listen line, kept as text until the whole section is read: what it means depends on SocketProtocol=. */
export interface Listen {
  readonly type: SocketType;
  readonly key: string;
  readonly text: string;
  readonly at: Location;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] | undefined };

/** A reservation while its files are read. Undefined is the default, and what an empty assignment goes back to. */
export interface Draft {
  listens: Listen[];
  readonly options: Partial<Mutable<Omit<SocketOptions, 'symlinks'>>>;
  symlinks: string[];
  protocol?: SocketProtocol | undefined;
  fdName?: string | undefined;
  unit?: string | undefined;
  handoff?: Handoff | undefined;
  whileStopped?: WhileStopped | undefined;
  symlinksAt?: Location | undefined;
}

/** Takes one value (specifiers resolved) into the draft; throws ValueError. */
export type Take = (draft: Draft, value: string, at: Location, key: string) => void;

/** mptcp is systemd's since version 257; the two others are older than 252. */
const socketProtocols = ['udplite', 'sctp', 'mptcp'] as const;
const int = 2 ** 31 - 1;

/** Keys whose empty assignment systemd 252 refuses; for all others it means the default. */
function filled(take: Take): Take {
  return (draft, value, at, key) => {
    if (value === '') throw new ValueError('the value is missing');
    take(draft, value, at, key);
  };
}

function listen(type: SocketType): Take {
  return (draft, text, at, key) => {
    // As in systemd, an empty one forgets the addresses of every kind.
    if (text === '') draft.listens = [];
    else draft.listens.push({ type, key, text, at });
  };
}

function option<K extends keyof Draft['options'] & keyof SocketOptions>(
  name: K,
  parse: (text: string) => SocketOptions[K] | undefined,
): Take {
  return filled((draft, value) => {
    draft.options[name] = parse(value);
  });
}

function optional<K extends keyof Draft['options'] & keyof SocketOptions>(
  name: K,
  parse: (text: string) => SocketOptions[K] | undefined,
): Take {
  return (draft, value) => {
    draft.options[name] = value === '' ? undefined : parse(value);
  };
}

const whole = (minimum: number, maximum: number) => (text: string) => parseInteger(text, minimum, maximum);
/** systemd.socket's integers whose negative values leave the kernel's default. */
const signed = (minimum: number, maximum: number) => (text: string) => {
  const value = parseInteger(text, -int - 1, maximum);
  if (value >= 0 && value < minimum)
    throw new ValueError(`${text} is out of range (${minimum} to ${maximum})`);
  return value < 0 ? undefined : value;
};
const size = (text: string) => parseSize(text, int) || undefined;

/** The limits are MAX_TCP_KEEPIDLE, _KEEPINTVL and _KEEPCNT of the kernel (include/net/tcp.h). */
const keepAliveSeconds = (text: string) => parseKernelSeconds(text, 32767);

function bindIPv6Only(text: string): SocketOptions['bindIPv6Only'] {
  if (text === 'default' || text === 'both' || text === 'ipv6-only') return text;
  try {
    return parseBoolean(text) ? 'ipv6-only' : 'both';
  } catch {
    return parseChoice(text, ['default', 'both', 'ipv6-only']);
  }
}

function congestion(text: string): string {
  if (Buffer.byteLength(text) > 15)
    throw new ValueError('the kernel knows no such names: they have 15 bytes at most');
  return text;
}

const symlinks: Take = (draft, value, at) => {
  if (value === '') draft.symlinks = [];
  for (const { text } of splitWords(value, { escapes: 'plain' }))
    draft.symlinks.push(parseAbsolutePath(text));
  draft.symlinksAt = at;
};

/** [Socket], in the order of berth.conf(5). Meanings and defaults are those of systemd.socket(5). */
export const socketKeys: ReadonlyMap<string, Take> = new Map(
  Object.entries<Take>({
    ListenStream: listen('stream'),
    ListenDatagram: listen('datagram'),
    ListenSequentialPacket: listen('seqpacket'),
    SocketProtocol: filled((draft, value) => {
      draft.protocol = parseChoice(value.toLowerCase(), socketProtocols);
    }),
    BindIPv6Only: option('bindIPv6Only', bindIPv6Only),
    Backlog: option('backlog', whole(0, 2 ** 32 - 1)),
    BindToDevice: optional('bindToDevice', (text) => (text === '*' ? undefined : parseInterfaceName(text))),
    FreeBind: option('freeBind', parseBoolean),
    Transparent: option('transparent', parseBoolean),
    ReusePort: option('reusePort', parseBoolean),
    Broadcast: option('broadcast', parseBoolean),
    KeepAlive: option('keepAlive', parseBoolean),
    KeepAliveTimeSec: option('keepAliveTime', keepAliveSeconds),
    KeepAliveIntervalSec: option('keepAliveInterval', keepAliveSeconds),
    KeepAliveProbes: option('keepAliveProbes', (text) => parseInteger(text, 0, 127) || undefined),
    NoDelay: option('noDelay', parseBoolean),
    DeferAcceptSec: option('deferAccept', (text) => parseKernelSeconds(text, int)),
    TCPCongestion: optional('tcpCongestion', congestion),
    IPTOS: optional('ipTos', parseTypeOfService),
    IPTTL: option('ipTtl', signed(1, 255)),
    Mark: option('mark', signed(0, int)),
    Priority: option('priority', signed(0, int)),
    SendBuffer: option('sendBuffer', size),
    ReceiveBuffer: option('receiveBuffer', size),
    PassCredentials: option('passCredentials', parseBoolean),
    PassPacketInfo: option('passPacketInfo', parseBoolean),
    SocketUser: optional('socketUser', parseUserName),
    SocketGroup: optional('socketGroup', parseUserName),
    SocketMode: option('socketMode', parseMode),
    DirectoryMode: option('directoryMode', parseMode),
    Symlinks: symlinks,
    RemoveOnStop: option('removeOnStop', parseBoolean),
    FileDescriptorName: (draft, value) => {
      draft.fdName = value === '' ? undefined : parseFdName(value);
    },
  }),
);

/** [Reservation]: what berth adds. */
export const reservationKeys: ReadonlyMap<string, Take> = new Map(
  Object.entries<Take>({
    Service: (draft, value) => {
      draft.unit = value === '' ? undefined : parseServiceUnit(value);
    },
    Handoff: (draft, value) => {
      draft.handoff = value === '' ? undefined : parseChoice(value, handoffs);
    },
    WhileStopped: (draft, value) => {
      draft.whileStopped = value === '' ? undefined : parseChoice(value, whileStoppedChoices);
    },
  }),
);
