import { closeSync } from 'node:fs';
import { isSystemError } from '../model/errors.js';
import { ipProtocolOf } from '../model/reservation.js';
import type { SocketOptions, SocketSpec } from '../model/reservation.js';
import { constant, native } from '../native/index.js';
import type { BoundAddress } from '../native/index.js';
import { hasIpv6 } from './hold-request.js';
import type { HoldRequest } from './hold-request.js';
import { applyBindOptions, applyOptions, kernelDefaults, unlockBuffers } from './options.js';
import { bindPath, bindPathInstead, linkPath } from './unix-path.js';

const protocols = {
  tcp: 'IPPROTO_TCP',
  udp: 'IPPROTO_UDP',
  udplite: 'IPPROTO_UDPLITE',
  sctp: 'IPPROTO_SCTP',
  mptcp: 'IPPROTO_MPTCP',
} as const;
const types = { stream: 'SOCK_STREAM', datagram: 'SOCK_DGRAM', seqpacket: 'SOCK_SEQPACKET' } as const;
const families = { inet: 'AF_INET', inet6: 'AF_INET6', unix: 'AF_UNIX', abstract: 'AF_UNIX' } as const;

/** The kernel's number of the type. */
export function typeOf({ type }: SocketSpec): number {
  return constant(types[type]);
}

/** The kernel's number of the protocol of an IP socket. */
export function protocolOf(spec: SocketSpec): number {
  return constant(protocols[ipProtocolOf(spec)]);
}

/** False of AF_UNIX. */
export function isInet({ address }: SocketSpec): boolean {
  return address.family !== 'unix' && address.family !== 'abstract';
}

/** A bare port is dual-stack where the kernel speaks IPv6 (systemd.socket(5), ListenStream=). */
export function resolveAddress({ address }: SocketSpec): BoundAddress {
  if (address.family !== 'any') return address;
  return hasIpv6()
    ? { family: 'inet6', host: '::', port: address.port }
    : { family: 'inet', host: '0.0.0.0', port: address.port };
}

/** A socket of its kind on which nothing is set. */
export function freshSocket(spec: SocketSpec, address: BoundAddress): number {
  const { protocol } = spec;
  return native.socket(
    constant(families[address.family]),
    typeOf(spec),
    protocol === undefined ? 0 : constant(protocols[protocol]),
  );
}

/** A socket with all that has to be set before bind(2). */
export function makeSocket(request: HoldRequest, address: BoundAddress, bind: (fd: number) => void): number {
  const { spec, options, whileStopped } = request;
  const fd = freshSocket(spec, address);
  try {
    applyBindOptions(fd, address, options);
    if (isInet(spec) && !options.reusePort) native.disown(fd);
    // Before bind(2), so that no datagram slips in.
    if (spec.type === 'datagram' && whileStopped === 'refuse') native.attachDrop(fd);
    bind(fd);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * A bound socket, which is the caller's. `siblings` are sockets of ours that are on the address; at an AF_UNIX path they, or
 * `instead`, let it take the place of what is there. What the kernel refuses of its options is added to `warnings`.
 */
export function openSocket(
  request: HoldRequest,
  address: BoundAddress,
  siblings: readonly number[],
  warnings: string[],
  instead = siblings.length > 0,
): number {
  const { spec, options } = request;
  return makeSocket(request, address, (fd) => {
    if (address.family !== 'unix') bindAlone(fd, address, spec, siblings);
    else if (instead) bindPathInstead(fd, address.path, options);
    else bindPath(fd, address.path, typeOf(spec), options);
    warnings.push(...applyOptions(fd, spec, address, options));
    if (address.family === 'unix') warnings.push(...linkPath(address.path, options.symlinks));
  });
}

/**
 * Sets a socket's options where others were set before; what is no longer given is as the kernel has it. Returns what the
 * kernel refuses.
 */
export function applyAgain(
  fd: number,
  { spec, options }: HoldRequest,
  address: BoundAddress,
  before: SocketOptions,
): string[] {
  const fresh = freshSocket(spec, address);
  try {
    const all = { ...options, ...kernelDefaults(before, options, fresh) };
    const refused = applyOptions(fd, spec, address, all, true);
    if (all.sendBuffer !== options.sendBuffer || all.receiveBuffer !== options.receiveBuffer)
      unlockBuffers(fd, options);
    return refused;
  } finally {
    closeSync(fresh);
  }
}

/**
 * Binds so that nothing else is bound there. For streams that may take SO_REUSEADDR, else a connection of before, open or
 * in TIME_WAIT, would be in the way; bindBeside has it on for the call alone: with it, a thief that sets it too could bind
 * and listen. Datagrams never have it: there it would share (socket(7)).
 */
function bindAlone(fd: number, address: BoundAddress, spec: SocketSpec, siblings: readonly number[]): void {
  if (address.family !== 'abstract' && siblings.length > 0) {
    native.bindBeside(fd, address, siblings);
    return;
  }
  try {
    native.bind(fd, address);
  } catch (error) {
    const inUse = isSystemError(error) && error.code === 'EADDRINUSE';
    if (!inUse || spec.type === 'datagram' || address.family === 'abstract') throw error;
    native.bindBeside(fd, address, []);
  }
}
