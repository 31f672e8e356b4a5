import { existsSync, readFileSync } from 'node:fs';
import { BerthError, isSystemError, messageOf } from '../model/errors.js';
import type { Reservation, SocketOptions, SocketSpec, WhileStopped } from '../model/reservation.js';
import { describeSocket, mappedAny } from '../model/reservation.js';

/** What is asked of one held socket: a socket of a reservation with the settings that it shares with the others. */
export interface HoldRequest {
  readonly spec: SocketSpec;
  readonly options: SocketOptions;
  readonly whileStopped: WhileStopped;
  /** Whether a service gets it that might make its address shareable, which it needs a guard against. */
  readonly guarded: boolean;
  /**
   * Whether a program's own sockets may come before it in the kernel's list (Yielding), or in its place at a path
   * (HeldPath).
   */
  readonly yields: boolean;
}

export function holdRequests(reservation: Reservation): HoldRequest[] {
  const { options, whileStopped, handoff } = reservation;
  const specs =
    handoff === 'bind' ? reservation.sockets.flatMap((spec) => split(spec, options)) : reservation.sockets;
  // In the other modes services bind beside it, or there are none.
  const handedOut = (handoff === 'store' || handoff === 'exec') && !options.reusePort;
  return specs.map((spec) => {
    const guarded = handedOut && 'port' in spec.address && guardable(spec);
    const yields = handoff === 'bind' && (spec.address.family === 'unix' || isDatagram6(spec));
    return { spec, options, whileStopped, guarded, yields };
  });
}

/** Guards are for what can be taken back to bound and shareable: datagram sockets, and TCP by shutdown(2). */
function guardable({ type, protocol }: SocketSpec): boolean {
  return type === 'datagram' || (type === 'stream' && (protocol === undefined || protocol === 'tcp'));
}

/**
 * Datagrams of both families beside a program's sockets: of each family one, so that a program can bind them one after the
 * other, and both of AF_INET6, because the kernel prefers one of AF_INET to a program's for both (docs/design.md). The
 * halves of one that has been split stay as they are.
 */
function split(spec: SocketSpec, { bindIPv6Only }: SocketOptions): SocketSpec[] {
  const { address, type } = spec;
  const wildcard =
    address.family === 'any' || (address.family === 'inet6' && address.host === '::' && !address.only);
  if (type !== 'datagram' || !wildcard || !hasIpv6() || !isDual(bindIPv6Only)) return [spec];
  const { port } = address;
  return [
    { ...spec, address: { family: 'inet6', host: '::', port, only: true } },
    { ...spec, address: { family: 'inet6', host: mappedAny, port } },
  ];
}

function isDatagram6({ type, address: { family } }: SocketSpec): boolean {
  return type === 'datagram' && (family === 'any' || family === 'inet6');
}

/** Whether the kernel speaks IPv6. */
export function hasIpv6(): boolean {
  return existsSync('/proc/net/if_inet6');
}

/** Whether the wildcard of IPv6 takes IPv4, too. */
export function isDual(bindIPv6Only: SocketOptions['bindIPv6Only']): boolean {
  if (bindIPv6Only !== 'default') return bindIPv6Only === 'both';
  return readFileSync('/proc/sys/net/ipv6/bindv6only', 'latin1').trim() === '0';
}

/**
 * What makes two requests the same kernel socket: whatever bind(2) depends on. A request whose key is already held
 * never needs another bind(2), so a reload keeps its socket.
 */
export function holdKey({ spec, options }: HoldRequest): string {
  const { type, protocol, address } = spec;
  if (address.family === 'unix' || address.family === 'abstract') return JSON.stringify([type, address]);
  const { bindIPv6Only, bindToDevice, freeBind, transparent } = options;
  return JSON.stringify([type, protocol, address, bindIPv6Only, bindToDevice, freeBind, transparent]);
}

/** `cannot bind 'tcp 127.0.0.1:631': address already in use (EADDRINUSE, held by pid 812 rpcbind)` */
export function holdError({ spec }: HoldRequest, error: unknown, holder: string | undefined): BerthError {
  const what = describeSocket(spec);
  if (!isSystemError(error)) return new BerthError('Failed', `cannot hold '${what}': ${messageOf(error)}`);
  const details = [error.code, ...(holder === undefined ? [] : [`held by ${holder}`])].join(', ');
  const hint = hints[error.code];
  return new BerthError(
    'Failed',
    `cannot ${error.syscall} '${what}': ${error.reason ?? error.message} (${details})${hint === undefined ? '' : `; ${hint}`}`,
  );
}

const hints: Readonly<Record<string, string>> = {
  EADDRNOTAVAIL: 'no interface has that address yet; FreeBind=yes binds it all the same',
  EMFILE: 'raise LimitNOFILE= of berth.service',
  EROFS: 'berth.service may not write there yet: systemctl daemon-reload, then systemctl restart berth',
};
