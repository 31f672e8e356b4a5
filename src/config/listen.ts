import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import type { Address, SocketProtocol, SocketType } from '../model/reservation.js';
import type { Services } from './services.js';
import { parseInteger, quote, ValueError } from './values.js';

/** What a Listen address depends on beyond its own text. */
export interface ListenContext {
  readonly type: SocketType;
  readonly protocol?: SocketProtocol | undefined;
  readonly services: Services;
}

/**
 * Reads an address of ListenStream=, ListenDatagram= or ListenSequentialPacket= (systemd.socket(5)), and additionally
 * the names of services(5) in place of a port. Throws ValueError for what systemd would not take.
 */
export function parseListen(text: string, context: ListenContext): Address {
  const address = parseAddress(text, context);
  if (context.type === 'seqpacket' && address.family !== 'unix' && address.family !== 'abstract') {
    throw new ValueError('sequential packets exist for AF_UNIX only (/PATH or @NAME), as in systemd');
  }
  return address;
}

function parseAddress(text: string, context: ListenContext): Address {
  if (text.startsWith('/')) return { family: 'unix', path: unixPath(text) };
  if (text.startsWith('@')) return { family: 'abstract', name: abstractName(text) };
  if (/^vsock(-[a-z]+)?:/.test(text)) {
    throw new ValueError(
      'berth holds no AF_VSOCK sockets: nothing else takes their ports, so leave this to a .socket unit',
    );
  }
  if (text.startsWith('[')) return inet6Address(text, context);
  if (isIPv6(text)) {
    throw new ValueError(`an IPv6 address needs brackets and a port: [${bareAddress(text)}]:PORT`);
  }
  if (isIPv4(text)) throw new ValueError(`the port is missing: ${text}:PORT`);
  const colon = text.lastIndexOf(':');
  if (colon === -1) return { family: 'any', port: parsePort(text, context) };
  return inetAddress(text, colon, context);
}

function inetAddress(text: string, colon: number, context: ListenContext): Address {
  const host = text.slice(0, colon);
  const rest = text.slice(colon + 1);
  if (host === '' || host === '*') {
    throw new ValueError(
      `${quote(text)} has no address: for all addresses write the port alone, ${quote(rest)}`,
    );
  }
  if (isIPv6(host))
    throw new ValueError(`an IPv6 address needs brackets: [${bareAddress(host)}]:${quoteless(rest)}`);
  if (!isIPv4(host)) {
    throw new ValueError(`${quote(host)} is not an IP address (names of hosts are not looked up)`);
  }
  if (rest.includes('%'))
    throw new ValueError('only an IPv6 address has a %scope; see BindToDevice= for the rest');
  return { family: 'inet', host, port: parsePort(rest, context) };
}

function inet6Address(text: string, context: ListenContext): Address {
  const [, host, port, scope] = /^\[([^\]]*)\]:([^%]*)(?:%(.*))?$/.exec(text) ?? [];
  if (host === undefined || port === undefined) {
    throw new ValueError(`${quote(text)} is not of the form [ADDRESS]:PORT`);
  }
  if (host.includes('%')) {
    throw new ValueError(
      `the scope stands after the port: [${bareAddress(host)}]:${quoteless(port)}%${quoteless(host.replace(/^.*%/, ''))}`,
    );
  }
  if (!isIPv6(host)) throw new ValueError(`${quote(host)} is not an IPv6 address`);
  const address = {
    family: 'inet6',
    host: new SocketAddress({ address: host, family: 'ipv6' }).address,
    port: parsePort(port, context),
  } as const;
  return scope === undefined ? address : { ...address, scope: scopeName(scope) };
}

/** An interface's name, alternative name or index, as systemd takes it (ifname_valid_full()). */
function scopeName(text: string): string {
  if (text === '' || text.length > 127 || /[^\x21-\x7e]|[/:%]/.test(text) || text === '.' || text === '..') {
    throw new ValueError(`${quote(text)} is not a network interface`);
  }
  return text;
}

function parsePort(text: string, context: ListenContext): number {
  if (/^[+0-9]/.test(text)) {
    if (/^\+?0[0-9]/.test(text)) {
      throw new ValueError(`${quote(text)} would be octal: write the port without leading zeros`);
    }
    let port: number;
    try {
      port = parseInteger(text, 0, 65535);
    } catch (error) {
      if (error instanceof ValueError && /^[0-9]+$/.test(text)) {
        throw new ValueError(`${quote(text)} is not a port (1 to 65535)`);
      }
      throw new ValueError(`${quote(text)} is not a port: neither a number nor a name of services(5)`);
    }
    if (port === 0) throw new ValueError('port 0 means any free port, and cannot be reserved');
    return port;
  }
  return namedPort(text, context);
}

function namedPort(name: string, { type, protocol, services }: ListenContext): number {
  if (!/^[A-Za-z0-9][A-Za-z0-9._+/-]*$/.test(name)) {
    throw new ValueError(
      `${quote(name)} is not an address: expected PORT, ADDRESS:PORT, [ADDRESS]:PORT, /PATH, @NAME or a name of services(5)`,
    );
  }
  // IANA assigns one number for all protocols, and services(5) seldom lists the rarer ones.
  const common = type === 'datagram' ? 'udp' : 'tcp';
  const port =
    (protocol === undefined ? undefined : services.port(name, protocol)) ?? services.port(name, common);
  if (port !== undefined) return port;
  const others = services.protocols(name);
  throw new ValueError(
    others.length === 0
      ? `services(5) knows no ${quote(name)}`
      : `services(5) knows ${quote(name)} for ${others.join(', ')} only, not for ${common}`,
  );
}

/** Like systemd, one byte stricter than the kernel, which would do without the NUL at the end (unix(7)). */
const unixPathLimit = 107;

function unixPath(text: string): string {
  if (text.length < 2) throw new ValueError("'/' is not the path of a socket");
  if (Buffer.byteLength(text) > unixPathLimit) {
    throw new ValueError(
      `the path has ${Buffer.byteLength(text)} bytes, and a socket's may have ${unixPathLimit} at most`,
    );
  }
  if (text.split('/').includes('..')) throw new ValueError(`${quote(text)} must not contain '..'`);
  // The same rewriting as in systemd: /var/run is a link to /run, and may not be mounted yet.
  return text.replace(/^\/+var\/+run\/+/, '/run/');
}

function abstractName(text: string): string {
  if (text.length < 2) throw new ValueError('the name after the @ is missing');
  if (Buffer.byteLength(text) > unixPathLimit) {
    throw new ValueError(
      `the name has ${Buffer.byteLength(text) - 1} bytes, and may have ${unixPathLimit - 1} at most`,
    );
  }
  return text.slice(1);
}

function bareAddress(text: string): string {
  return text.replace(/%.*$/, '');
}

function quoteless(text: string): string {
  return quote(text).slice(1, -1);
}
