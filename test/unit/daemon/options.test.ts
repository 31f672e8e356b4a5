import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SocketOptions, SocketSpec } from '../../../src/model/reservation.js';
import { constant, native } from '../../../src/native/index.js';
import { hold, inet, inet6, request, spec } from '../../support/holds.js';
import { requiresRoot } from '../../support/requirements.js';
import { closing, freePort, get, outcome, randomLoopback } from '../../support/sockets.js';

type Kind = 'stream' | 'datagram';
const four = (kind: Kind) => spec(kind, inet(randomLoopback(), freePort()));
const six = (kind: Kind) => spec(kind, inet6('::1', freePort()));
const path = (kind: Kind) =>
  spec(kind, { family: 'abstract', name: `berth-options-${process.pid}-${freePort()}` });

/** An option of systemd.socket(5), and what getsockopt(2) says of it before and after. */
interface Case {
  readonly options: Partial<SocketOptions>;
  readonly of: SocketSpec;
  readonly read: [level: string, name: string, value: number];
  readonly root?: boolean;
}

const cases: Record<string, Case[]> = {
  ReusePort: [
    { options: { reusePort: true }, of: four('stream'), read: ['SOL_SOCKET', 'SO_REUSEPORT', 1] },
    { options: { reusePort: true }, of: six('datagram'), read: ['SOL_SOCKET', 'SO_REUSEPORT', 1] },
  ],
  Broadcast: [
    { options: { broadcast: true }, of: four('datagram'), read: ['SOL_SOCKET', 'SO_BROADCAST', 1] },
  ],
  KeepAlive: [{ options: { keepAlive: true }, of: four('stream'), read: ['SOL_SOCKET', 'SO_KEEPALIVE', 1] }],
  KeepAliveTimeSec: [
    { options: { keepAliveTime: 77 }, of: four('stream'), read: ['IPPROTO_TCP', 'TCP_KEEPIDLE', 77] },
  ],
  KeepAliveIntervalSec: [
    { options: { keepAliveInterval: 7 }, of: six('stream'), read: ['IPPROTO_TCP', 'TCP_KEEPINTVL', 7] },
  ],
  KeepAliveProbes: [
    { options: { keepAliveProbes: 3 }, of: four('stream'), read: ['IPPROTO_TCP', 'TCP_KEEPCNT', 3] },
  ],
  NoDelay: [{ options: { noDelay: true }, of: four('stream'), read: ['IPPROTO_TCP', 'TCP_NODELAY', 1] }],
  DeferAcceptSec: [
    { options: { deferAccept: 1 }, of: four('stream'), read: ['IPPROTO_TCP', 'TCP_DEFER_ACCEPT', 1] },
  ],
  IPTOS: [
    { options: { ipTos: 16 }, of: four('stream'), read: ['IPPROTO_IP', 'IP_TOS', 16] },
    { options: { ipTos: 16 }, of: six('datagram'), read: ['IPPROTO_IP', 'IP_TOS', 16] },
  ],
  IPTTL: [
    { options: { ipTtl: 9 }, of: four('datagram'), read: ['IPPROTO_IP', 'IP_TTL', 9] },
    { options: { ipTtl: 9 }, of: six('stream'), read: ['IPPROTO_IPV6', 'IPV6_UNICAST_HOPS', 9] },
  ],
  Mark: [{ options: { mark: 42 }, of: four('stream'), read: ['SOL_SOCKET', 'SO_MARK', 42], root: true }],
  Priority: [{ options: { priority: 6 }, of: four('stream'), read: ['SOL_SOCKET', 'SO_PRIORITY', 6] }],
  // The kernel doubles what it is told (socket(7)).
  SendBuffer: [
    { options: { sendBuffer: 50_000 }, of: four('stream'), read: ['SOL_SOCKET', 'SO_SNDBUF', 100_000] },
    {
      options: { sendBuffer: 1 << 24 },
      of: path('datagram'),
      read: ['SOL_SOCKET', 'SO_SNDBUF', 1 << 25],
      root: true,
    },
  ],
  ReceiveBuffer: [
    { options: { receiveBuffer: 50_000 }, of: path('stream'), read: ['SOL_SOCKET', 'SO_RCVBUF', 100_000] },
    {
      options: { receiveBuffer: 1 << 24 },
      of: four('datagram'),
      read: ['SOL_SOCKET', 'SO_RCVBUF', 1 << 25],
      root: true,
    },
  ],
  PassCredentials: [
    { options: { passCredentials: true }, of: path('datagram'), read: ['SOL_SOCKET', 'SO_PASSCRED', 1] },
  ],
  PassPacketInfo: [
    { options: { passPacketInfo: true }, of: four('datagram'), read: ['IPPROTO_IP', 'IP_PKTINFO', 1] },
    { options: { passPacketInfo: true }, of: six('datagram'), read: ['IPPROTO_IPV6', 'IPV6_RECVPKTINFO', 1] },
  ],
  FreeBind: [
    {
      options: { freeBind: true },
      of: spec('stream', inet('192.0.2.99', freePort())),
      read: ['IPPROTO_IP', 'IP_FREEBIND', 1],
    },
    {
      options: { freeBind: true },
      of: spec('datagram', inet6('2001:db8::9', freePort())),
      read: ['IPPROTO_IPV6', 'IPV6_FREEBIND', 1],
    },
  ],
  Transparent: [
    {
      options: { transparent: true },
      of: spec('stream', inet('192.0.2.98', freePort())),
      read: ['IPPROTO_IP', 'IP_TRANSPARENT', 1],
      root: true,
    },
    {
      options: { transparent: true },
      of: six('stream'),
      read: ['IPPROTO_IPV6', 'IPV6_TRANSPARENT', 1],
      root: true,
    },
  ],
};

describe('options of systemd.socket(5)', () => {
  for (const [key, list] of Object.entries(cases)) {
    for (const { options, of, read, root } of list) {
      it(`${key}= on ${of.type} ${of.address.family}`, (t) => {
        if (root === true && !requiresRoot(t)) return;
        const [level, name, value] = read;
        const plain = native.socket(
          constant(
            of.address.family === 'inet' ? 'AF_INET' : of.address.family === 'inet6' ? 'AF_INET6' : 'AF_UNIX',
          ),
          constant(of.type === 'stream' ? 'SOCK_STREAM' : 'SOCK_DGRAM'),
          0,
        );
        const before = get(plain, name, level);
        assert.notEqual(before, value, 'the kernel has it by itself');
        const held = hold(t, request(of, options));
        assert.deepEqual(held.warnings, []);
        assert.equal(get(held.fd, name, level), value);
        // And still when a service has had it.
        held.handOver();
        held.rest();
        held.handOver();
        assert.equal(get(held.fd, name, level), value);
        // A reload without it brings back what the kernel has, but for where the socket is bound.
        if (key === 'FreeBind' || key === 'Transparent' || key === 'BindIPv6Only') return;
        held.update(request(of), false);
        assert.deepEqual(held.warnings, []);
        assert.equal(get(held.fd, name, level), before);
      });
    }
  }

  it('leave the others alone when one goes', (t) => {
    if (!requiresRoot(t)) return;
    const held = hold(t, request(four('stream'), { ipTos: 16, priority: 5, tcpCongestion: 'reno' }));
    const congestion = () => get(held.fd, 'TCP_CONGESTION', 'IPPROTO_TCP');
    const usual = native.socket(constant('AF_INET'), constant('SOCK_STREAM'), 0);
    held.update(request(four('stream'), { priority: 5 }), false);
    assert.deepEqual([get(held.fd, 'IP_TOS', 'IPPROTO_IP'), get(held.fd, 'SO_PRIORITY')], [0, 5]);
    assert.equal(congestion(), get(closing(t, usual), 'TCP_CONGESTION', 'IPPROTO_TCP'));
  });

  it('TCPCongestion=', (t) => {
    const held = hold(t, request(four('stream'), { tcpCongestion: 'reno' }));
    assert.deepEqual(held.warnings, []);
    // Four letters, as the int that getsockopt(2) fills.
    assert.equal(get(held.fd, 'TCP_CONGESTION', 'IPPROTO_TCP'), Buffer.from('reno').readInt32LE());
  });

  it('BindToDevice= is there still when the service had connected its socket', (t) => {
    if (!requiresRoot(t)) return;
    for (const kind of ['stream', 'datagram'] as const) {
      const held = hold(t, request(four(kind), { bindToDevice: 'lo' }));
      const device = () => native.getOption(held.fd, constant('SOL_SOCKET'), 62); // SO_BINDTOIFINDEX
      assert.equal(device(), 1);
      outcome(() => {
        native.connect(held.fd, inet('127.0.0.1', 9));
      });
      held.handOver();
      assert.equal(device(), 1);
    }
  });

  it('SocketProtocol=udplite', (t) => {
    const { address } = four('datagram');
    const held = hold(t, request(spec('datagram', address, 'udplite')));
    assert.equal(get(held.fd, 'SO_PROTOCOL'), constant('IPPROTO_UDPLITE'));
  });

  it('that the kernel refuses are told, and the socket is held all the same', (t) => {
    const held = hold(t, request(four('stream'), { tcpCongestion: 'no-such', priority: 7, mark: -1 }));
    assert.match(held.warnings.join('\n'), /cannot set TCP_CONGESTION: .*ENOENT/);
    held.handOver();
    assert.equal(held.listening, true);
  });

  it('that decide what is bound are no matter of choice', () => {
    assert.throws(
      () =>
        hold({ after: () => undefined } as never, request(four('stream'), { bindToDevice: 'no-such-if' })),
      /ENODEV/,
    );
  });

  it('ReusePort= lets two reservations have one port, each with its own socket', (t) => {
    for (const kind of ['stream', 'datagram'] as const) {
      const of = four(kind);
      const one = hold(t, request(of, { reusePort: true }));
      const other = hold(t, request(of, { reusePort: true }));
      one.handOver();
      other.handOver();
      assert.notEqual(one.inode, other.inode);
    }
  });
});
