import { readFileSync } from 'node:fs';
import type { BoundAddress } from '../native/index.js';
import { constant, native } from '../native/index.js';
import type { SocketOptions, SocketSpec } from '../model/reservation.js';
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
  if (ipv6 && options.bindIPv6Only !== 'default') {
    set(fd, 'IPPROTO_IPV6', 'IPV6_V6ONLY', options.bindIPv6Only === 'ipv6-only');
  }
  if (options.bindToDevice !== undefined) {
    native.setTextOption(fd, constant('SOL_SOCKET'), constant('SO_BINDTODEVICE'), options.bindToDevice);
  }
  if (options.freeBind) set(fd, 'IPPROTO_IP', 'IP_FREEBIND', true);
  if (options.transparent) set(fd, 'IPPROTO_IP', 'IP_TRANSPARENT', true);
  if (options.reusePort) set(fd, 'SOL_SOCKET', 'SO_REUSEPORT', true);
}

/**
 * The other options of systemd.socket(5), set before listen(2) so that accepted connections inherit them. As in systemd
 * one that the kernel refuses is no reason to go without the socket: returns a message for each of those. `again` is for
 * a socket that had other options before: what is off is switched off then. Numbers come out of kernelDefaults().
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
  // In this order: the type of service brings a priority along (ip(7)).
  attempt('IPPROTO_IP', 'IP_TOS', options.ipTos);
  attempt('SOL_SOCKET', 'SO_PRIORITY', options.priority);
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

/** Where the numbers of systemd.socket(5) can be read; those of the buffers are twice what is set (socket(7)). */
const numbers = {
  sendBuffer: ['SOL_SOCKET', 'SO_SNDBUF'],
  receiveBuffer: ['SOL_SOCKET', 'SO_RCVBUF'],
  mark: ['SOL_SOCKET', 'SO_MARK'],
  priority: ['SOL_SOCKET', 'SO_PRIORITY'],
  ipTos: ['IPPROTO_IP', 'IP_TOS'],
  ipTtl: ['IPPROTO_IP', 'IP_TTL'],
  keepAliveTime: ['IPPROTO_TCP', 'TCP_KEEPIDLE'],
  keepAliveInterval: ['IPPROTO_TCP', 'TCP_KEEPINTVL'],
  keepAliveProbes: ['IPPROTO_TCP', 'TCP_KEEPCNT'],
  deferAccept: ['IPPROTO_TCP', 'TCP_DEFER_ACCEPT'],
} as const satisfies Partial<Record<keyof SocketOptions, readonly [Level, string]>>;

/**
 * The kernel's values for the options that were given before and are not any more, to be applied in their place. `fresh`
 * is a socket of the same kind that nobody has set anything on. What it does not have is left out.
 */
export function kernelDefaults(
  before: SocketOptions,
  options: SocketOptions,
  fresh: number,
): Partial<SocketOptions> {
  const found: Record<string, number | string> = {};
  for (const [key, [level, name]] of Object.entries(numbers)) {
    const number = key as keyof typeof numbers;
    if (before[number] === undefined || options[number] !== undefined) continue;
    try {
      const value = native.getOption(fresh, constant(level), constant(name));
      found[key] = key.endsWith('Buffer') ? value / 2 : value;
    } catch {
      // It could not be set either.
    }
  }
  if (before.tcpCongestion !== undefined && options.tcpCongestion === undefined)
    found['tcpCongestion'] = readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'latin1').trim();
  return found;
}

/** Lets the kernel tune the buffers again whose sizes are not given (SO_BUF_LOCK, since Linux 5.14). */
export function unlockBuffers(fd: number, { sendBuffer, receiveBuffer }: SocketOptions): void {
  const [send, receive] = [1, 2]; // SOCK_SNDBUF_LOCK and SOCK_RCVBUF_LOCK of <linux/socket.h>
  const locked = (sendBuffer === undefined ? 0 : send) + (receiveBuffer === undefined ? 0 : receive);
  try {
    set(fd, 'SOL_SOCKET', 'SO_BUF_LOCK', locked);
  } catch {
    // An older kernel: the size is the default one, and stays.
  }
}
