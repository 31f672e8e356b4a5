/** Where something was written: the file as named on the search path, and its line, counted from 1. */
export interface Location {
  readonly file: string;
  readonly line: number;
}

export function formatLocation({ file, line }: Location): string {
  return `${file}:${line}`;
}

/** A configuration mistake. Printed as `FILE:LINE: KEY: what is wrong`. */
export interface Mistake extends Location {
  readonly key: string;
  readonly message: string;
}

export function formatMistake({ file, line, key, message }: Mistake): string {
  return `${file}:${line}: ${key === '' ? '' : `${key}: `}${message}`;
}

/** How the sockets reach the service: section 5 of docs/design.md, one word each. */
export const handoffs = ['store', 'exec', 'bind', 'lend', 'release', 'none'] as const;
export type Handoff = (typeof handoffs)[number];

/** What a client meets while the service is stopped. */
export const whileStoppedChoices = ['refuse', 'queue'] as const;
export type WhileStopped = (typeof whileStoppedChoices)[number];

export type SocketType = 'stream' | 'datagram' | 'seqpacket';
export type SocketProtocol = 'tcp' | 'udp' | 'udplite' | 'sctp' | 'mptcp';

/**
 * What a socket is bound to. `any` is a bare port: dual-stack where the kernel speaks IPv6, else 0.0.0.0, as
 * systemd.socket(5) has it. `scope` is the interface of a link-local IPv6 address (`fe80::1%eth0`). An abstract
 * name comes without its leading NUL.
 */
export type Address =
  | { readonly family: 'any'; readonly port: number }
  | { readonly family: 'inet'; readonly host: string; readonly port: number }
  | {
      readonly family: 'inet6';
      readonly host: string;
      readonly port: number;
      readonly scope?: string;
      /** Of the wildcard: IPv6 alone, whatever BindIPv6Only= says. */
      readonly only?: true;
    }
  | { readonly family: 'unix'; readonly path: string }
  | { readonly family: 'abstract'; readonly name: string };

/**
 * The socket options of systemd.socket(5), with its meanings and defaults. Undefined means that the kernel's
 * default stands. Sizes are bytes, times are whole seconds unless the name says otherwise, modes are permission bits.
 */
export interface SocketOptions {
  readonly bindIPv6Only: 'default' | 'both' | 'ipv6-only';
  readonly backlog: number;
  readonly bindToDevice?: string;
  readonly freeBind: boolean;
  readonly transparent: boolean;
  readonly reusePort: boolean;
  readonly broadcast: boolean;
  readonly keepAlive: boolean;
  readonly keepAliveTime?: number;
  readonly keepAliveInterval?: number;
  readonly keepAliveProbes?: number;
  readonly noDelay: boolean;
  readonly ipTos?: number;
  readonly ipTtl?: number;
  readonly mark?: number;
  readonly priority?: number;
  readonly sendBuffer?: number;
  readonly receiveBuffer?: number;
  readonly deferAccept?: number;
  readonly tcpCongestion?: string;
  readonly passCredentials: boolean;
  readonly passPacketInfo: boolean;
  readonly socketUser?: string;
  readonly socketGroup?: string;
  readonly socketMode: number;
  readonly directoryMode: number;
  readonly symlinks: readonly string[];
  readonly removeOnStop: boolean;
}

/** All of IPv4, as a socket of IPv6 has it. */
export const mappedAny = '::ffff:0.0.0.0';

/** One socket to hold. `listen` is the address as written (`631`, `[::1]:631`, `/run/x`), for people. */
export interface SocketSpec {
  readonly type: SocketType;
  readonly address: Address;
  readonly protocol?: SocketProtocol;
  readonly listen: string;
  readonly at: Location;
}

/** A configured name with its sockets and its unit. `at` is the head of the file that defines it. */
export interface Reservation {
  readonly name: string;
  readonly sockets: readonly SocketSpec[];
  readonly options: SocketOptions;
  readonly fdName: string;
  readonly unit: string;
  readonly handoff: Handoff;
  readonly whileStopped: WhileStopped;
  /** Of a file of portreserve's: several of those may have one port, and share the socket. */
  readonly legacy?: true;
  readonly at: Location;
}

/** `tcp 127.0.0.1:631`, `udp [::]:631`, `unix /run/x`: what people call a socket in lists and messages. */
export function describeSocket(spec: SocketSpec): string {
  return `${protocolName(spec)} ${describeAddress(spec.address)}`;
}

/** Of an IP socket: its own, or what the kernel takes for its type. */
export function ipProtocolOf({ type, protocol }: SocketSpec): SocketProtocol {
  return protocol ?? ({ stream: 'tcp', datagram: 'udp', seqpacket: 'sctp' } as const)[type];
}

function protocolName(spec: SocketSpec): string {
  const { type, address } = spec;
  if (address.family === 'unix' || address.family === 'abstract') {
    return { stream: 'unix', datagram: 'unix-dgram', seqpacket: 'unix-seqpacket' }[type];
  }
  return ipProtocolOf(spec);
}

function describeAddress(address: Address): string {
  switch (address.family) {
    case 'any':
      return `*:${address.port}`;
    case 'inet':
      return `${address.host}:${address.port}`;
    case 'inet6':
      if (address.host === mappedAny) return `0.0.0.0:${address.port}`;
      return `[${address.host}${address.scope === undefined ? '' : `%${address.scope}`}]:${address.port}`;
    case 'unix':
      return address.path;
    case 'abstract':
      return `@${address.name}`;
  }
}
