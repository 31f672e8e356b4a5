import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { HeldSocket } from '../../../src/daemon/held-socket.js';
import { holdRequests } from '../../../src/daemon/hold-request.js';
import { salvage } from '../../../src/daemon/salvage.js';
import type { Address, Reservation, SocketSpec } from '../../../src/model/reservation.js';
import { native } from '../../../src/native/index.js';
import { scratch } from '../../support/files.js';
import { defaultOptions, inet, inet6, reservation, spec } from '../../support/holds.js';
import { freePort, guardOf, openSocket, randomLoopback } from '../../support/sockets.js';

const any = (port: number): Address => ({ family: 'any', port });

/** Holds all of them, and gives duplicates in the order of a vault, a guard behind its socket, and the inodes. */
function stored(t: TestContext, all: readonly Reservation[]): { fds: number[]; inodes: number[][] } {
  const fds: number[] = [];
  const inodes = all.map((each) =>
    holdRequests(each).map((request) => {
      const held = HeldSocket.bind(request);
      if (request.guarded) held.standGuard();
      fds.push(native.duplicate(held.fd));
      if (held.guard !== undefined) fds.push(native.duplicate(held.guard));
      t.after(() => {
        held.close();
      });
      return held.inode;
    }),
  );
  return { fds, inodes };
}

describe('salvage', () => {
  it('knows every kind of socket again, with its guard, among others', (t) => {
    const path = `${scratch(t)}/path`;
    const host = randomLoopback();
    const [everywhere, loopback, loopback6, split, bound6] = [
      freePort(),
      freePort(),
      freePort(),
      freePort(),
      freePort(),
    ];
    const kinds: Record<string, readonly SocketSpec[]> = {
      wildcards: [spec('stream', any(everywhere)), spec('datagram', any(everywhere))],
      loopback: [spec('stream', inet(host, loopback)), spec('datagram', inet(host, loopback))],
      loopback6: [spec('stream', inet6('::1', loopback6)), spec('datagram', inet6('::1', loopback6))],
      paths: [spec('stream', { family: 'unix', path }), spec('datagram', { family: 'abstract', name: path })],
    };
    const all = Object.entries(kinds).map(([name, sockets]) => reservation(name, sockets));
    const only = reservation('only', [spec('stream', inet6('::', split))], {
      options: { ...defaultOptions, bindIPv6Only: 'ipv6-only' },
    });
    const four = reservation('four', [spec('stream', inet('0.0.0.0', split))]);
    const bound = reservation('bound', [spec('datagram', any(bound6))], { handoff: 'bind' });
    const reservations = [...all, only, four, bound];
    const { fds, inodes } = stored(t, reservations);
    const unbound = openSocket('stream', 'inet');
    const [one, other] = native.socketpair(1);
    const found = salvage([unbound, one, ...fds, other], reservations);
    assert.deepEqual(
      found.map((each) => [each.reservation.name, each.fds.map((fd) => native.inode(fd))]),
      reservations.map(({ name }, index) => [name, inodes[index]]),
    );
    const guards = found.map((each) => each.guards?.filter((fd) => fd !== undefined).length);
    const two = 2 * guardOf;
    assert.deepEqual(guards, [two, two, two, 0, guardOf, guardOf, 0]);
    for (const { fds: own, guards: theirs = [] } of found)
      for (const fd of [...own, ...theirs]) if (fd !== undefined) closeSync(fd);
    for (const fd of [unbound, one, other]) assert.throws(() => native.inode(fd), /EBADF/);
  });

  it('closes what no file asks for, and what two vaults have', (t) => {
    const port = freePort();
    const [host, elsewhere] = [randomLoopback(), randomLoopback()];
    const wanted = reservation('wanted', [spec('stream', inet(host, port))]);
    const dropped = reservation('dropped', [spec('stream', inet(elsewhere, port))]);
    const { fds, inodes } = stored(t, [wanted, dropped]);
    const again = fds.map((fd) => native.duplicate(fd));
    const found = salvage([...fds, ...again], [wanted]);
    const kept = found.flatMap((each) => [...each.fds, ...(each.guards ?? [])]);
    assert.deepEqual([native.inode(kept[0] ?? -1)], inodes[0]);
    assert.equal(new Set(kept.flatMap((fd) => fd ?? []).map((fd) => native.inode(fd))).size, 1 + guardOf);
    const left = [...fds, ...again].filter((fd) => !kept.includes(fd));
    for (const fd of left) assert.throws(() => native.inode(fd), /EBADF/);
    for (const fd of kept) if (fd !== undefined) closeSync(fd);
  });
});
