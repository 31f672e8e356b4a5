import { randomInt } from 'node:crypto';
import { closeSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { isSystemError } from '../../src/model/errors.js';
import { constant, native, type BoundAddress } from '../../src/native/index.js';

export type Kind = 'stream' | 'datagram' | 'seqpacket';
const types = { stream: 'SOCK_STREAM', datagram: 'SOCK_DGRAM', seqpacket: 'SOCK_SEQPACKET' } as const;
const families = { inet: 'AF_INET', inet6: 'AF_INET6', unix: 'AF_UNIX', abstract: 'AF_UNIX' } as const;

/** An address of this machine that no other test uses: its ports are all free. */
export function randomLoopback(): string {
  return `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(1, 255)}`;
}

/** A port that is free for TCP and UDP on every address, outside the range of outgoing connections. */
export function freePort(): number {
  for (;;) {
    const port = randomInt(10_000, 32_000);
    if (
      (['stream', 'datagram'] as const).every((kind) => canBind(kind, { family: 'inet6', host: '::', port }))
    )
      return port;
  }
}

export function openSocket(kind: Kind, family: BoundAddress['family']): number {
  return native.socket(constant(families[family]), constant(types[kind]), 0);
}

/** struct sockaddr_in or sockaddr_in6, as bind(2) takes it. An IPv6 address is written with `::` and without a tail of IPv4. */
export function sockaddr(host: string, port: number, scope = 0): Buffer {
  if (!host.includes(':')) {
    const address = Buffer.alloc(16);
    address.writeUInt16LE(constant('AF_INET'), 0);
    address.writeUInt16BE(port, 2);
    Buffer.from(host.split('.').map(Number)).copy(address, 4);
    return address;
  }
  const address = Buffer.alloc(28);
  address.writeUInt16LE(constant('AF_INET6'), 0);
  address.writeUInt16BE(port, 2);
  const [head = '', tail = ''] = host.split('::');
  const words = (text: string) => text.split(':').filter((word) => word !== '');
  words(head).forEach((word, index) => address.writeUInt16BE(parseInt(word, 16), 8 + 2 * index));
  words(tail)
    .reverse()
    .forEach((word, index) => address.writeUInt16BE(parseInt(word, 16), 22 - 2 * index));
  address.writeUInt32LE(scope, 24);
  return address;
}

export function get(fd: number, option: string, level = 'SOL_SOCKET'): number {
  return native.getOption(fd, constant(level), constant(option));
}

export function set(fd: number, option: string, value: number | boolean, level = 'SOL_SOCKET'): void {
  native.setOption(fd, constant(level), constant(option), Number(value));
}

/** The errno's name that `action` throws; `ok` when it does not. */
export function outcome(action: () => unknown): string {
  try {
    action();
    return 'ok';
  } catch (error) {
    if (isSystemError(error)) return error.code;
    throw error;
  }
}

/** Closes a descriptor at the end of the test. */
export function closing(t: TestContext, fd: number): number {
  t.after(() => {
    closeSync(fd);
  });
  return fd;
}

/** A socket of the test's own that is bound, and listens where it can. */
export function serve(t: TestContext, kind: Kind, address: BoundAddress): number {
  const fd = closing(t, openSocket(kind, address.family));
  native.bind(fd, address);
  if (kind !== 'datagram') native.listen(fd, 16);
  return fd;
}

/** A socket of the test's own, connected to an address. Throws what connect(2) says. */
export function connect(t: TestContext, kind: Kind, address: BoundAddress): number {
  const fd = closing(t, openSocket(kind, address.family));
  // TCP_SYNCNT: whoever does not answer is given up after three seconds, not after two minutes.
  if (kind === 'stream' && 'port' in address) native.setOption(fd, constant('IPPROTO_TCP'), 7, 1);
  native.connect(fd, address);
  return fd;
}

/** Whether something waits to be read, or a connection to be accepted. */
export function readable(fd: number): boolean {
  return (native.pollNow(fd) & constant('POLLIN')) !== 0;
}

/** Accepts the connection that waits; throws when none does. */
export function accept(t: TestContext, listener: number): number {
  const connection = readable(listener) ? native.accept(listener) : undefined;
  if (connection === undefined) throw new Error('no connection waits');
  return closing(t, connection);
}

export function sendText(fd: number, text: string): void {
  native.send(fd, Buffer.from(text), []);
}

/** What has arrived; undefined when nothing has. */
export function receiveText(fd: number): string | undefined {
  return native.receive(fd, 0, 0)?.data.toString();
}

/** Whether a socket without any option can be bound there. */
export function canBind(kind: Kind, address: BoundAddress): boolean {
  const fd = openSocket(kind, address.family);
  try {
    return (
      outcome(() => {
        native.bind(fd, address);
      }) === 'ok'
    );
  } finally {
    closeSync(fd);
  }
}

/** How many descriptors berthd has more for a TCP socket that it has handed out once: a guard, which wants CAP_CHOWN. */
export const guardOf = process.geteuid?.() === 0 ? 1 : 0;

/** How a thief makes itself shareable before it binds. */
const disguises: readonly (readonly string[])[] = [
  [],
  ['SO_REUSEADDR'],
  ['SO_REUSEPORT'],
  ['SO_REUSEADDR', 'SO_REUSEPORT'],
];

/**
 * Without CAP_CHOWN a port that was guarded once can be shared by SO_REUSEPORT of berthd's own user from then on (see
 * src/native/addon/hold.c), and this very process is of that user.
 */
const usable =
  process.geteuid?.() === 0 ? disguises : disguises.filter((disguise) => !disguise.includes('SO_REUSEPORT'));

/**
 * Tries to get hold of an address in every disguise, and to listen there. Returns what worked, which is nothing where
 * the address is held well.
 */
export function steal(kind: Kind, address: BoundAddress, v6only = false): string[] {
  return usable.flatMap((disguise) => {
    const fd = openSocket(kind, address.family);
    try {
      for (const option of disguise) set(fd, option, true);
      if (v6only) set(fd, 'IPV6_V6ONLY', true, 'IPPROTO_IPV6');
      native.bind(fd, address);
      const listening =
        kind === 'stream' &&
        outcome(() => {
          native.listen(fd, 1);
        }) === 'ok';
      return [`${disguise.join('+') || 'plain'}: bound${listening ? ', listening' : ''}`];
    } catch (error) {
      if (!isSystemError(error) || error.code !== 'EADDRINUSE') throw error;
      return [];
    } finally {
      closeSync(fd);
    }
  });
}
