/** What a socket is, or is to be, bound to: parts of the two address spaces. `any` is the wildcard. */
export interface Coverage {
  readonly v4?: string;
  readonly v6?: string;
}

export const any = 'any';

/** An address as bind(2) is given it. The hosts are hexadecimal bytes, so that one address has one form. */
export interface ParsedAddress {
  readonly domain: 'inet' | 'inet6';
  readonly port: number;
  readonly host: string;
  readonly scope: number;
}

/** A socket as far as it matters here. `type` and `protocol` are the kernel's numbers, `device` an index or 0. */
export interface Endpoint {
  readonly domain: 'inet' | 'inet6';
  readonly type: number;
  readonly protocol: number;
  readonly device: number;
  readonly port: number;
  readonly coverage: Coverage;
}

const afUnspec = 0;
const afInet = 2;
const afInet6 = 10;
const v4Any = '00000000';
const v6Any = '0'.repeat(32);
const mappedPrefix = `${'0'.repeat(20)}ffff`;

/**
 * Reads a struct sockaddr the way bind(2) of a socket of that domain does (ip(7), ipv6(7)). Undefined when the kernel would
 * refuse it, or when it is no IP address.
 */
export function parseAddress(bytes: Buffer, domain: number): ParsedAddress | undefined {
  if (bytes.length < 16) return undefined;
  const family = bytes.readUInt16LE(0);
  const port = bytes.readUInt16BE(2);
  if (domain === afInet) {
    const host = bytes.toString('hex', 4, 8);
    // Programs of old leave the family out where they mean the wildcard.
    if (family !== afInet && (family !== afUnspec || host !== v4Any)) return undefined;
    return { domain: 'inet', port, host, scope: 0 };
  }
  // sin6_scope_id came later than the rest, and may be missing (RFC 2133).
  if (domain !== afInet6 || family !== afInet6 || bytes.length < 24) return undefined;
  const scope = bytes.length < 28 ? 0 : bytes.readUInt32LE(24);
  return { domain: 'inet6', port, host: bytes.toString('hex', 8, 24), scope };
}

/** The parts of the address spaces that a socket at this address has. */
export function coverageOf({ domain, host }: ParsedAddress, v6only: boolean): Coverage {
  if (domain === 'inet') return { v4: host === v4Any ? any : host };
  if (host === v6Any) return v6only ? { v6: any } : { v4: any, v6: any };
  if (!host.startsWith(mappedPrefix)) return { v6: host };
  const mapped = host.slice(mappedPrefix.length);
  return { v4: mapped === v4Any ? any : mapped };
}

export function makeEndpoint(
  socket: { readonly type: number; readonly protocol: number; readonly device: number },
  address: ParsedAddress,
  v6only: boolean,
): Endpoint {
  const { domain, port, host, scope } = address;
  const { type, protocol } = socket;
  // With a link-local address bind(2) binds to the interface, too.
  const device = isLinkLocal(host) && scope !== 0 ? scope : socket.device;
  return { domain, type, protocol, device, port, coverage: coverageOf(address, v6only) };
}

function isLinkLocal(host: string): boolean {
  return host.length === v6Any.length && /^fe[89ab]/.test(host);
}

/** What is to be done about a call: nothing, or to bind beside these held sockets. `hint` is for the administrator. */
export type Verdict<Held> =
  { readonly held: readonly Held[] } | { readonly held?: undefined; readonly hint?: string };

const parts = ['v4', 'v6'] as const;
/** SOCK_DGRAM. */
const datagram = 2;

/**
 * Whether held sockets cover all that is asked for, so that it may be bound beside them. Each part must be within one held
 * socket; a wildcard is within wildcards only. The held sockets of a verdict are all those that the asked one overlaps.
 */
export function match<Held extends Endpoint>(asked: Endpoint, reserved: readonly Held[]): Verdict<Held> {
  const related = reserved.filter((held) => isRelated(asked, held));
  if (asked.port === 0 || related.length === 0) return {};
  const missing = parts.find(
    (part) => asked.coverage[part] !== undefined && !related.some((held) => covers(held, asked, part)),
  );
  if (missing !== undefined) return { hint: missingHint(asked, missing) };
  const overlapping = related.filter((held) => parts.some((part) => overlaps(held, asked, part)));
  const swallowing = overlapping.find((held) => swallows(held, asked));
  if (swallowing !== undefined)
    return {
      hint: 'the datagrams over IPv4 would go to the held socket: reserve the port alone, for IPv4 and IPv6 in one',
    };
  return { held: overlapping };
}

function isRelated(asked: Endpoint, held: Endpoint): boolean {
  const { type, protocol, port, device } = held;
  return (
    type === asked.type &&
    protocol === asked.protocol &&
    port === asked.port &&
    (device === 0 || device === asked.device)
  );
}

function covers(held: Endpoint, asked: Endpoint, part: 'v4' | 'v6'): boolean {
  const of = held.coverage[part];
  return of === any || (of !== undefined && of === asked.coverage[part]);
}

function overlaps(held: Endpoint, asked: Endpoint, part: 'v4' | 'v6'): boolean {
  const of = held.coverage[part];
  const wanted = asked.coverage[part];
  return of !== undefined && wanted !== undefined && (of === any || wanted === any || of === wanted);
}

/** Of sockets on one address the kernel prefers that of AF_INET for what comes over IPv4 (compute_score in net/ipv4/udp.c). */
function swallows(held: Endpoint, asked: Endpoint): boolean {
  return (
    asked.type === datagram &&
    asked.domain === 'inet6' &&
    held.domain === 'inet' &&
    overlaps(held, asked, 'v4')
  );
}

function missingHint({ coverage, domain }: Endpoint, part: 'v4' | 'v6'): string {
  const wildcard = coverage[part] === any;
  if (wildcard && coverage.v4 === any && coverage.v6 === any)
    return 'it asks for all addresses of IPv4 and IPv6: reserve the port alone';
  if (wildcard)
    return `it asks for all addresses: reserve ${part === 'v4' ? '0.0.0.0' : '[::]'} and the port`;
  return `it asks for an address of ${domain === 'inet' ? 'IPv4' : 'IPv6'} that is not among those reserved`;
}
