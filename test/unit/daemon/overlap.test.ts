import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { describe, it } from 'node:test';
import { overlaps } from '../../../src/daemon/overlap.js';
import type { HoldRequest } from '../../../src/daemon/hold-request.js';
import type { Address, SocketSpec } from '../../../src/model/reservation.js';
import { inet, inet6, request, spec } from '../../support/holds.js';
import { canBind, freePort, openSocket } from '../../support/sockets.js';
import { native } from '../../../src/native/index.js';

const any: Address = { family: 'any', port: 631 };
const tcp = (address: Address, options: Partial<HoldRequest['options']> = {}) =>
  request(spec('stream', address), options);
const other = (type: SocketSpec['type'], protocol?: SocketSpec['protocol']) =>
  request(spec(type, any, protocol));

describe('overlaps', () => {
  const cases: [string, HoldRequest, HoldRequest, boolean][] = [
    ['all addresses and one', tcp(any), tcp(inet('127.0.0.1', 631)), true],
    ['all addresses and one of IPv6', tcp(any), tcp(inet6('::1', 631)), true],
    ['another port', tcp(any), tcp(inet('127.0.0.1', 632)), false],
    ['two addresses', tcp(inet('127.0.0.1', 631)), tcp(inet('127.0.0.2', 631)), false],
    ['the families', tcp(inet('0.0.0.0', 631)), tcp(inet6('::1', 631)), false],
    ['IPv6 only', tcp(any, { bindIPv6Only: 'ipv6-only' }), tcp(inet('127.0.0.1', 631)), false],
    ['IPv6 only, and IPv6', tcp(any, { bindIPv6Only: 'ipv6-only' }), tcp(inet6('::1', 631)), true],
    ['a mapped address', tcp(inet6('::ffff:127.0.0.1', 631)), tcp(inet('127.0.0.1', 631)), true],
    ['the protocols', tcp(any), other('datagram'), false],
    ['SCTP, which has its own ports', tcp(any), other('stream', 'sctp'), false],
    ['MPTCP, which has those of TCP', tcp(any), other('stream', 'mptcp'), true],
    ['two devices', tcp(any, { bindToDevice: 'a' }), tcp(any, { bindToDevice: 'b' }), false],
    ['a device and all', tcp(any, { bindToDevice: 'a' }), tcp(any), true],
    [
      'one path, whatever the type',
      tcp({ family: 'unix', path: '/run/a' }),
      request(spec('datagram', { family: 'unix', path: '/run/a' })),
      true,
    ],
    ['two paths', tcp({ family: 'unix', path: '/run/a' }), tcp({ family: 'unix', path: '/run/b' }), false],
    [
      'one abstract name of two types',
      tcp({ family: 'abstract', name: 'a' }),
      request(spec('datagram', { family: 'abstract', name: 'a' })),
      false,
    ],
  ];
  for (const [name, one, two, expected] of cases) {
    it(name, () => {
      assert.deepEqual([overlaps(one, two), overlaps(two, one)], [expected, expected]);
    });
  }

  it('agrees with the kernel about addresses', () => {
    const port = freePort();
    const addresses = [
      inet('0.0.0.0', port),
      inet('127.0.0.1', port),
      inet('127.0.0.2', port),
      inet6('::', port),
      inet6('::1', port),
      inet6('::ffff:127.0.0.1', port),
    ];
    for (const kind of ['stream', 'datagram'] as const) {
      for (const one of addresses) {
        const fd = openSocket(kind, one.family);
        native.bind(fd, one);
        const free = addresses.filter((two) => canBind(kind, two));
        closeSync(fd);
        const expected = addresses.filter(
          (two) => !overlaps(request(spec(kind, one)), request(spec(kind, two))),
        );
        assert.deepEqual(free, expected, `beside ${kind} ${one.host}`);
      }
    }
  });
});
