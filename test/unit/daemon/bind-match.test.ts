import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { coverageOf, makeEndpoint, match, parseAddress } from '../../../src/daemon/bind-match.js';
import type { Endpoint } from '../../../src/daemon/bind-match.js';
import { sockaddr } from '../../support/sockets.js';

const [inet, inet6] = [2, 10];
const [stream, datagram] = [1, 2];
const [tcp, udp] = [6, 17];

interface Kind {
  readonly type?: number;
  readonly port?: number;
  readonly device?: number;
  readonly only?: boolean;
  readonly scope?: number;
}

function endpoint(
  host: string,
  { type = stream, port = 631, device = 0, only = false, scope }: Kind = {},
): Endpoint {
  const address = parseAddress(sockaddr(host, port, scope), host.includes(':') ? inet6 : inet);
  assert.ok(address);
  return makeEndpoint({ type, protocol: type === stream ? tcp : udp, device }, address, only);
}

/** How many held sockets share, or the hint, or `no`. */
function verdict(asked: Endpoint, ...held: Endpoint[]): number | string {
  const { held: found, hint } = { hint: undefined, ...match(asked, held) };
  return found?.length ?? hint ?? 'no';
}

const mapped = (host: string) => {
  const [a = 0, b = 0, c = 0, d = 0] = host.split('.').map(Number);
  return `::ffff:${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
};

describe('parseAddress', () => {
  it('reads addresses as bind(2) does', () => {
    assert.deepEqual(parseAddress(sockaddr('127.0.0.1', 631), inet), {
      domain: 'inet',
      port: 631,
      host: '7f000001',
      scope: 0,
    });
    const six = parseAddress(sockaddr('fe80::1', 631, 3), inet6);
    assert.deepEqual([six?.domain, six?.port, six?.scope], ['inet6', 631, 3]);
    assert.equal(parseAddress(sockaddr('fe80::1', 631, 3).subarray(0, 24), inet6)?.scope, 0);
  });

  it('takes no family for that of the wildcard, over IPv4', () => {
    const address = sockaddr('0.0.0.0', 631);
    address.writeUInt16LE(0, 0);
    assert.equal(parseAddress(address, inet)?.host, '00000000');
    address.writeUInt8(127, 4);
    assert.equal(parseAddress(address, inet), undefined);
  });

  it('leaves to the kernel what the kernel refuses', () => {
    assert.equal(parseAddress(sockaddr('127.0.0.1', 631), inet6), undefined);
    assert.equal(parseAddress(sockaddr('::1', 631), inet), undefined);
    assert.equal(parseAddress(sockaddr('127.0.0.1', 631).subarray(0, 15), inet), undefined);
    assert.equal(parseAddress(sockaddr('::1', 631).subarray(0, 23), inet6), undefined);
    assert.equal(parseAddress(sockaddr('127.0.0.1', 631), 1), undefined);
    assert.equal(parseAddress(Buffer.alloc(0), inet), undefined);
  });
});

describe('coverageOf', () => {
  it('tells what part of which address space is asked for', () => {
    const of = (host: string, only = false) => {
      const address = parseAddress(sockaddr(host, 1), host.includes(':') ? inet6 : inet);
      assert.ok(address);
      return coverageOf(address, only);
    };
    assert.deepEqual(of('0.0.0.0'), { v4: 'any' });
    assert.deepEqual(of('127.0.0.1'), { v4: '7f000001' });
    assert.deepEqual(of('::'), { v4: 'any', v6: 'any' });
    assert.deepEqual(of('::', true), { v6: 'any' });
    assert.deepEqual(of(mapped('127.0.0.1')), { v4: '7f000001' });
    assert.deepEqual(of(mapped('0.0.0.0')), { v4: 'any' });
    assert.deepEqual(of('::1'), { v6: `${'0'.repeat(31)}1` });
  });
});

describe('match', () => {
  it('lets a program bind what is reserved, or a part of it', () => {
    const all = endpoint('::');
    for (const asked of [
      endpoint('::'),
      endpoint('::', { only: true }),
      endpoint('0.0.0.0'),
      endpoint('127.0.0.1'),
      endpoint('::1'),
      endpoint(mapped('10.0.0.1')),
      endpoint('0.0.0.0', { device: 2 }),
    ])
      assert.equal(verdict(asked, all), 1);
    assert.equal(verdict(endpoint('127.0.0.1'), endpoint('127.0.0.1')), 1);
    assert.equal(verdict(endpoint(mapped('127.0.0.1')), endpoint('127.0.0.1')), 1);
    assert.equal(verdict(endpoint('127.0.0.1'), endpoint(mapped('127.0.0.1'))), 1);
  });

  it('has a socket of both families covered by several', () => {
    const [four, six] = [endpoint('0.0.0.0'), endpoint('::', { only: true })];
    assert.equal(verdict(endpoint('::'), four, six), 2);
    assert.match(String(verdict(endpoint('::'), six)), /reserve the port alone|0\.0\.0\.0/);
    assert.match(String(verdict(endpoint('::'), four)), /\[::\]|alone/);
  });

  it('leaves other ports, types and protocols alone, without a word', () => {
    const held = endpoint('::');
    assert.equal(verdict(endpoint('::', { port: 632 }), held), 'no');
    assert.equal(verdict(endpoint('::', { type: datagram }), held), 'no');
    assert.equal(verdict({ ...endpoint('::'), protocol: 132 }, held), 'no');
    assert.equal(verdict(endpoint('0.0.0.0', { port: 0 }), endpoint('0.0.0.0', { port: 0 })), 'no');
    assert.equal(verdict(endpoint('::')), 'no');
  });

  it('says what to reserve where more is asked for', () => {
    assert.match(
      String(verdict(endpoint('0.0.0.0'), endpoint('127.0.0.1'))),
      /reserve 0\.0\.0\.0 and the port/,
    );
    assert.match(
      String(verdict(endpoint('::', { only: true }), endpoint('::1'))),
      /reserve \[::\] and the port/,
    );
    assert.match(String(verdict(endpoint('127.0.0.2'), endpoint('127.0.0.1'))), /not among those reserved/);
    assert.match(String(verdict(endpoint('::1'), endpoint('0.0.0.0'))), /not among those reserved/);
  });

  it('keeps a reservation of one interface to it', () => {
    const held = endpoint('0.0.0.0', { device: 2 });
    assert.equal(verdict(endpoint('0.0.0.0', { device: 2 }), held), 1);
    assert.equal(verdict(endpoint('0.0.0.0'), held), 'no');
    assert.equal(verdict(endpoint('0.0.0.0', { device: 3 }), held), 'no');
    const linkLocal = endpoint('fe80::1', { scope: 2 });
    assert.equal(verdict(endpoint('fe80::1', { scope: 2 }), linkLocal), 1);
    assert.equal(verdict(endpoint('fe80::1', { scope: 3 }), linkLocal), 'no');
    assert.equal(verdict(endpoint('fe80::1', { device: 2 }), linkLocal), 1);
  });

  it('does not serve datagrams that the held socket would get', () => {
    const [four, six] = [
      endpoint('0.0.0.0', { type: datagram }),
      endpoint('::', { type: datagram, only: true }),
    ];
    assert.match(
      String(verdict(endpoint('::', { type: datagram }), four, six)),
      /would go to the held socket/,
    );
    assert.equal(verdict(endpoint('0.0.0.0', { type: datagram }), four, six), 1);
    assert.equal(verdict(endpoint('0.0.0.0', { type: datagram }), endpoint('::', { type: datagram })), 1);
  });

  it('shares with nothing that the asked address does not overlap', () => {
    const [one, two] = [endpoint('127.0.0.1'), endpoint('127.0.0.2')];
    assert.equal(verdict(endpoint('127.0.0.1'), one, two), 1);
  });
});
