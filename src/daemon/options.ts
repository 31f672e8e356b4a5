import type { BoundAddress } from '../native/index.js';
import { constant, native } from '../native/index.js';
import type { SocketOptions, SocketSpec } from '../model/reservation.js';
import { mappedAny } from '../model/reservation.js';
import { messageOf } from '../model/errors.js';

type Level = 'SOL_SOCKET' | 'IPPROTO_IP' | 'IPPROTO_IPV6' | 'IPPROTO_TCP';

function set(fd: number, level: Level, name: string, value: number | boolean): void {
  native.setOption(fd, constant(level), constant(name), Number(value));
}

/**
 * What decides where a socket is bound and who may share it, set before bind(2). Any of them that fails would hold
 * something else than was asked for, so it throws.
 */
export function applyBindOptions(fd: number, address: BoundAddress, options: SocketOptions): void {
  const ipv6 = address.family === 'inet6';
  if (!ipv6 && address.family !== 'inet') return;
  const only = onlyIpv6(address, options);
  if (only !== undefined) set(fd, 'IPPROTO_IPV6', 'IPV6_V6ONLY', only);
  if (options.bindToDevice !== undefined) {
    native.setTextOption(fd, constant('SOL_SOCKET'), constant('SO_BINDTODEVICE'), options.bindToDevice);
  }
  if (options.freeBind) set(fd, 'IPPROTO_IP', 'IP_FREEBIND', true);
  if (options.transparent) set(fd, 'IPPROTO_IP', 'IP_TRANSPARENT', true);
  if (options.reusePort) set(fd, 'SOL_SOCKET', 'SO_REUSEPORT', true);
}

/** Undefined where the machine's default counts, and for IPv4. */
function onlyIpv6(address: BoundAddress, { bindIPv6Only }: SocketOptions): boolean | undefined {
  if (address.family !== 'inet6') return undefined;
  if (address.only) return true;
  if (address.host === mappedAny) return false;
  return bindIPv6Only === 'default' ? undefined : bindIPv6Only === 'ipv6-only';
}

/**
 * The other options of systemd.socket(5), set before listen(2) so that accepted connections inherit them. As in systemd
 * one that the kernel refuses is no reason to go without the socket: returns a message for each of those. `again` is for
 * a socket that had other options before: what is off is switched off then. Numbers that are no longer given stay.
 */
export function applyOptions(
  fd: number,
  spec: SocketSpec,
  address: BoundAddress,
  options: SocketOptions,
  again = false,
): string[] {
  const refused: string[] = [];
  const attempt = (
    level: Level,
    name: string,
    value: number | boolean | undefined,
    fallback?: string,
  ): void => {
    if (value === undefined || (value === false && !again)) return;
    try {
      set(fd, level, name, value);
    } catch (error) {
      if (fallback !== undefined) attempt(level, fallback, value);
      else refused.push(`cannot set ${name}: ${messageOf(error)}`);
    }
  };
  // The forced ones go beyond net.core.wmem_max, but want CAP_NET_ADMIN (socket(7)).
  attempt('SOL_SOCKET', 'SO_SNDBUFFORCE', options.sendBuffer, 'SO_SNDBUF');
  attempt('SOL_SOCKET', 'SO_RCVBUFFORCE', options.receiveBuffer, 'SO_RCVBUF');
  if (address.family === 'unix' || address.family === 'abstract') {
    attempt('SOL_SOCKET', 'SO_PASSCRED', options.passCredentials);
    return refused;
  }
  const ipv6 = address.family === 'inet6';
  attempt('SOL_SOCKET', 'SO_BROADCAST', options.broadcast);
  attempt('SOL_SOCKET', 'SO_MARK', options.mark);
  attempt('SOL_SOCKET', 'SO_PRIORITY', options.priority);
  attempt('IPPROTO_IP', 'IP_TOS', options.ipTos);
  attempt('IPPROTO_IP', 'IP_TTL', options.ipTtl);
  attempt('IPPROTO_IP', 'IP_PKTINFO', options.passPacketInfo);
  if (ipv6) {
    attempt('IPPROTO_IPV6', 'IPV6_UNICAST_HOPS', options.ipTtl);
    attempt('IPPROTO_IPV6', 'IPV6_RECVPKTINFO', options.passPacketInfo);
  }
  if (spec.type !== 'stream') return refused;
  attempt('SOL_SOCKET', 'SO_KEEPALIVE', options.keepAlive);
  attempt('IPPROTO_TCP', 'TCP_KEEPIDLE', options.keepAliveTime);
  attempt('IPPROTO_TCP', 'TCP_KEEPINTVL', options.keepAliveInterval);
  attempt('IPPROTO_TCP', 'TCP_KEEPCNT', options.keepAliveProbes);
  attempt('IPPROTO_TCP', 'TCP_NODELAY', options.noDelay);
  attempt('IPPROTO_TCP', 'TCP_DEFER_ACCEPT', options.deferAccept);
  if (options.tcpCongestion !== undefined) {
    try {
      native.setTextOption(fd, constant('IPPROTO_TCP'), constant('TCP_CONGESTION'), options.tcpCongestion);
    } catch (error) {
      refused.push(`cannot set TCP_CONGESTION: ${messageOf(error)}`);
    }
  }
  return refused;
}
