import assert from 'node:assert/strict';
import { closeSync, fstatSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { HeldSocket } from '../../../src/daemon/held-socket.js';
import { holdKey } from '../../../src/daemon/hold-request.js';
import type { Address, SocketSpec } from '../../../src/model/reservation.js';
import { constant, native, type BoundAddress } from '../../../src/native/index.js';
import { openFds } from '../../support/files.js';
import { hold, inet, inet6, request, spec } from '../../support/holds.js';
import { requiresRoot } from '../../support/requirements.js';
import {
  accept,
  closing,
  connect,
  freePort,
  get,
  openSocket,
  outcome,
  randomLoopback,
  readable,
  receiveText,
  sendText,
  serve,
  set,
  sockaddr,
  steal,
} from '../../support/sockets.js';

const any = (port: number): Address => ({ family: 'any', port });

/** A client of what is held on `address`, and the service's end of the connection. */
function converse(
  t: TestContext,
  held: HeldSocket,
  address: BoundAddress,
): { client: number; server: number } {
  const client = connect(t, 'stream', address);
  return { client, server: accept(t, held.fd) };
}

describe('a held stream socket', () => {
  it('refuses clients until it is handed over, serves them, and refuses them again at rest', (t) => {
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('stream', address)));
    const refused = () => outcome(() => connect(t, 'stream', address));
    assert.equal(held.listening, false);
    assert.equal(refused(), 'ECONNREFUSED');
    const { inode } = held;
    for (let start = 0; start < 3; start++) {
      assert.deepEqual(held.handOver(), []);
      assert.equal(held.listening, true);
      const { client, server } = converse(t, held, address);
      sendText(client, 'hello');
      assert.equal(receiveText(server), 'hello');
      held.rest();
      assert.equal(held.listening, false);
      assert.equal(refused(), 'ECONNREFUSED');
      // The connections of the last run go on.
      sendText(server, 'still');
      assert.equal(receiveText(client), 'still');
    }
    assert.equal(held.inode, inode);
    assert.deepEqual(native.getsockname(held.fd), address);
  });

  it('gives no new number to a client that waited in vain: the connection is reset', (t) => {
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('stream', address)));
    held.handOver();
    const client = connect(t, 'stream', address);
    held.rest();
    assert.equal(
      outcome(() => native.receive(client, 0, 0)),
      'ECONNRESET',
    );
  });

  it('may be handed over twice in a row without losing who waits', (t) => {
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('stream', address)));
    held.handOver();
    const client = connect(t, 'stream', address);
    held.handOver();
    sendText(client, 'x');
    assert.equal(receiveText(accept(t, held.fd)), 'x');
  });

  it('lets clients wait where WhileStopped=queue', (t) => {
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('stream', address), {}, 'queue'));
    const early = connect(t, 'stream', address);
    sendText(early, 'early');
    held.handOver();
    assert.equal(receiveText(accept(t, held.fd)), 'early');
    held.rest();
    const late = connect(t, 'stream', address);
    sendText(late, 'late');
    held.handOver();
    assert.equal(receiveText(accept(t, held.fd)), 'late');
  });

  it('has the backlog that was configured', (t) => {
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('stream', address), { backlog: 0 }));
    held.handOver();
    connect(t, 'stream', address);
    const second = closing(t, openSocket('stream', 'inet'));
    native.adopt(second);
    assert.equal(
      outcome(() => {
        native.connect(second, address);
      }),
      'Unknown system error -115',
      'EINPROGRESS: the queue is full',
    );
  });
});

describe('a held datagram socket', () => {
  it('drops what comes while nobody has it, and passes on what comes then', (t) => {
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('datagram', address)));
    const client = connect(t, 'datagram', address);
    const { inode } = held;
    for (let start = 0; start < 3; start++) {
      sendText(client, 'lost');
      assert.deepEqual(held.handOver(), []);
      assert.equal(readable(held.fd), false);
      sendText(client, `start ${start}`);
      assert.equal(receiveText(held.fd), `start ${start}`);
      held.rest();
    }
    assert.equal(held.inode, inode);
  });

  it('keeps what comes where WhileStopped=queue', (t) => {
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('datagram', address), {}, 'queue'));
    const client = connect(t, 'datagram', address);
    sendText(client, 'early');
    held.handOver();
    assert.equal(receiveText(held.fd), 'early');
    held.rest();
    sendText(client, 'late');
    held.handOver();
    assert.equal(receiveText(held.fd), 'late');
  });
});

describe('no thief shares a held port', () => {
  /** Everything that overlaps with the hold, of both families. */
  const overlapping = (port: number, own: BoundAddress): [BoundAddress, boolean][] => {
    const four: [BoundAddress, boolean] = [inet('0.0.0.0', port), false];
    const six: [BoundAddress, boolean] = [inet6('::', port), true];
    const both: [BoundAddress, boolean][] = [
      [own, false],
      [inet6('::', port), false],
    ];
    if (own.family === 'inet') return [...both, four];
    if (own.family === 'inet6' && own.host !== '::') return [...both, six];
    return [...both, four, six, [inet('127.0.0.1', port), false], [inet6('::1', port), true]];
  };
  const loopback = randomLoopback();
  const holds: [string, (port: number) => Address, (port: number) => BoundAddress][] = [
    ['every address, both families', any, (port) => inet6('::', port)],
    ['every IPv4 address', (port) => inet('0.0.0.0', port), (port) => inet('0.0.0.0', port)],
    ['one IPv4 address', (port) => inet(loopback, port), (port) => inet(loopback, port)],
    ['one IPv6 address', (port) => inet6('::1', port), (port) => inet6('::1', port)],
  ];
  for (const kind of ['stream', 'datagram'] as const) {
    for (const [what, wanted, own] of holds) {
      it(`${kind}, ${what}, in every state`, (t) => {
        const port = freePort();
        const held = hold(t, request(spec(kind, wanted(port))));
        const none = (state: string) => {
          for (const [address, v6only] of overlapping(port, own(port))) {
            assert.deepEqual(steal(kind, address, v6only), [], `${state}: ${JSON.stringify(address)}`);
          }
        };
        none('never handed over');
        held.handOver();
        none('handed over');
        if (kind === 'stream') {
          const host = own(port);
          converse(t, held, host.family === 'inet6' && host.host === '::' ? inet('127.0.0.1', port) : host);
          none('with a connection');
        }
        held.rest();
        none('at rest after use');
        held.handOver();
        none('handed over again');
        held.rest();
        none('at rest again');
      });
    }
  }

  it('whatever the last service did to it', (t) => {
    for (const kind of ['stream', 'datagram'] as const) {
      const address = inet(randomLoopback(), freePort());
      const held = hold(t, request(spec(kind, address)));
      held.handOver();
      set(held.fd, 'SO_REUSEADDR', true);
      set(held.fd, 'SO_REUSEPORT', true);
      held.rest();
      assert.deepEqual(steal(kind, address), [], `${kind} at rest`);
      held.handOver();
      assert.deepEqual(steal(kind, address), [], `${kind} handed over again`);
    }
  });

  it('but what the hold leaves free is free', (t) => {
    const port = freePort();
    hold(t, request(spec('stream', inet6('::', port)), { bindIPv6Only: 'ipv6-only' }));
    assert.notDeepEqual(steal('stream', inet('0.0.0.0', port)), []);
    hold(t, request(spec('stream', inet('127.0.0.1', freePort()))));
  });
});

describe('addresses', () => {
  const works = (t: TestContext, of: SocketSpec, address: BoundAddress, options = {}): boolean => {
    const held = hold(t, request(of, options));
    held.handOver();
    return outcome(() => connect(t, 'stream', address)) === 'ok';
  };

  it('of a bare port are those of both families, unless IPv6 only is asked for', (t) => {
    const port = freePort();
    assert.ok(works(t, spec('stream', any(port)), inet('127.0.0.1', port)));
    const other = freePort();
    const held = hold(t, request(spec('stream', any(other)), { bindIPv6Only: 'ipv6-only' }));
    held.handOver();
    assert.equal(get(held.fd, 'IPV6_V6ONLY', 'IPPROTO_IPV6'), 1);
    assert.equal(
      outcome(() => connect(t, 'stream', inet('127.0.0.1', other))),
      'ECONNREFUSED',
    );
    connect(t, 'stream', inet6('::1', other));
    const both = hold(t, request(spec('stream', any(freePort())), { bindIPv6Only: 'both' }));
    assert.equal(get(both.fd, 'IPV6_V6ONLY', 'IPPROTO_IPV6'), 0);
  });

  it('may be abstract', (t) => {
    const address = { family: 'abstract', name: `berth-test-${process.pid}` } as const;
    const held = hold(t, request(spec('stream', address)));
    assert.equal(
      outcome(() => connect(t, 'stream', address)),
      'ECONNREFUSED',
    );
    held.handOver();
    const { client, server } = converse(t, held, address);
    sendText(client, 'x');
    assert.equal(receiveText(server), 'x');
    assert.equal(
      outcome(() => HeldSocket.bind(request(spec('stream', address)))),
      'EADDRINUSE',
    );
  });

  it('that are taken are left to whoever has them, with nothing left open', (t) => {
    const address = inet(randomLoopback(), freePort());
    serve(t, 'stream', address);
    const before = openFds();
    assert.equal(
      outcome(() => HeldSocket.bind(request(spec('stream', address)))),
      'EADDRINUSE',
    );
    assert.equal(
      outcome(() => HeldSocket.bind(request(spec('stream', address), {}, 'queue'))),
      'EADDRINUSE',
    );
    assert.deepEqual(openFds(), before);
  });

  it('are bound beside a connection of before that is still open, or waits to end', (t) => {
    const address = inet(randomLoopback(), freePort());
    const first = HeldSocket.bind(request(spec('stream', address)));
    first.handOver();
    const { client, server } = converse(t, first, address);
    first.rest();
    first.close();
    const second = hold(t, request(spec('stream', address)));
    second.handOver();
    const { client: other } = converse(t, second, address);
    sendText(other, 'x');
    sendText(server, 'old');
    assert.equal(receiveText(client), 'old');
  });
});

describe('after a service that misused its descriptors', () => {
  /** Claims, lets the service do something, claims again; returns what was reported. */
  const misuse = (kind: 'stream' | 'datagram', what: (fd: number) => void, t: TestContext) => {
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec(kind, address)));
    held.handOver();
    what(held.fd);
    held.rest();
    const reported = held.handOver();
    if (kind === 'stream') {
      const { client, server } = converse(t, held, address);
      sendText(client, 'to the service');
      assert.equal(receiveText(server), 'to the service');
      sendText(server, 'and back');
      assert.equal(receiveText(client), 'and back');
    } else {
      const client = connect(t, 'datagram', address);
      sendText(client, 'to the service');
      assert.equal(receiveText(held.fd), 'to the service');
    }
    assert.deepEqual(native.getsockname(held.fd), address);
    assert.deepEqual(held.handOver(), [], 'nothing to repair a second time');
    assert.equal(held.inode, fstatSync(held.fd).ino);
    held.rest();
    assert.deepEqual(steal(kind, address), []);
    return reported;
  };
  const shutdown = (fd: number) => {
    // Datagram sockets are shut down, and say ENOTCONN all the same.
    outcome(() => {
      native.shutdownRead(fd);
    });
  };

  it('a stream that was shut down listens again', (t) => {
    assert.deepEqual(misuse('stream', shutdown, t), []);
  });

  it('a stream that was shut down twice passes data again', (t) => {
    const reported = misuse(
      'stream',
      (fd) => {
        shutdown(fd);
        shutdown(fd);
      },
      t,
    );
    assert.equal(reported.length, 1);
  });

  it('a datagram socket that was shut down is replaced', (t) => {
    assert.match(misuse('datagram', shutdown, t).join(), /shut down/);
  });

  it('a socket that was connected is not any more', (t) => {
    const peer = inet(randomLoopback(), freePort());
    serve(t, 'datagram', peer);
    serve(t, 'stream', peer);
    assert.match(
      misuse(
        'datagram',
        (fd) => {
          native.connect(fd, peer);
        },
        t,
      ).join(),
      /connected/,
    );
    assert.match(
      misuse(
        'stream',
        (fd) => {
          shutdown(fd);
          native.connect(fd, peer);
        },
        t,
      ).join(),
      /connected/,
    );
  });

  it('a socket that is still connecting stops that', (t) => {
    // Nobody answers there: documentation addresses (RFC 5737) behind an address of the loopback go nowhere.
    const connecting = (fd: number) => {
      shutdown(fd);
      native.adopt(fd);
      assert.match(
        outcome(() => {
          native.connect(fd, stuck);
        }),
        /-115/,
      );
    };
    const stuck = inet(randomLoopback(), freePort());
    const full = closing(t, openSocket('stream', 'inet'));
    native.bind(full, stuck);
    native.listen(full, 0);
    connect(t, 'stream', stuck);
    assert.match(misuse('stream', connecting, t).join(), /connect/);
  });

  it('reading blocks again', (t) => {
    for (const kind of ['stream', 'datagram'] as const)
      misuse(
        kind,
        (fd) => {
          native.adopt(fd);
        },
        t,
      );
  });

  it('listens with its own backlog, and its connections share', (t) => {
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('stream', address), { backlog: 7 }));
    held.handOver();
    const handed = native.readiness(held.fd);
    assert.equal(handed, 7);
    const misuses: ((fd: number) => void)[] = [
      (fd) => {
        native.listen(fd, 1);
      },
      (fd) => {
        set(fd, 'SO_REUSEADDR', false);
      },
      (fd) => {
        native.adopt(fd);
      },
      (fd) => {
        native.shutdownRead(fd);
      },
    ];
    for (const misuse of misuses) {
      misuse(held.fd);
      assert.notEqual(native.readiness(held.fd), handed);
      held.handOver();
      assert.equal(native.readiness(held.fd), handed);
    }
  });

  it('takes another backlog while it is in use', (t) => {
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('stream', address), { backlog: 7 }));
    held.handOver();
    held.update(request(spec('stream', address), { backlog: 9 }), true);
    held.handOver();
    assert.equal(native.readiness(held.fd), 9);
  });

  it('a filter is gone, also from a stream', (t) => {
    if (!requiresRoot(t)) return;
    for (const kind of ['stream', 'datagram'] as const)
      misuse(
        kind,
        (fd) => {
          native.attachDrop(fd);
          assert.equal(native.readiness(fd), -1);
        },
        t,
      );
  });

  it('a filter that nobody can take off goes with its socket', (t) => {
    if (!requiresRoot(t)) return;
    const lock = (fd: number) => {
      native.attachDrop(fd);
      native.setOption(fd, constant('SOL_SOCKET'), 44, 1); // SO_LOCK_FILTER
    };
    assert.match(misuse('stream', lock, t).join(), /replaced/);
    assert.deepEqual(misuse('datagram', lock, t), [], 'replaced when it was put to rest');
  });

  it('an AF_UNIX socket that was shut down is replaced', (t) => {
    for (const kind of ['stream', 'datagram'] as const) {
      const address = { family: 'abstract', name: `berth-test-${kind}-${process.pid}` } as const;
      const held = hold(t, request(spec(kind, address)));
      held.handOver();
      shutdown(held.fd);
      held.rest();
      assert.match(held.handOver().join(), /shut down/, kind);
      const client = connect(t, kind, address);
      sendText(client, 'x');
      assert.equal(receiveText(kind === 'stream' ? accept(t, held.fd) : held.fd), 'x');
    }
  });
});

describe('siblings', () => {
  it('stay bound while a part of them, or the whole, is bound', (t) => {
    for (const kind of ['stream', 'datagram'] as const) {
      const port = freePort();
      const wide = hold(t, request(spec(kind, any(port))));
      const narrow = hold(t, request(spec(kind, inet('127.0.0.1', port))), [wide]);
      assert.deepEqual(steal(kind, inet('127.0.0.1', port)), []);
      assert.deepEqual(native.getsockname(wide.fd), inet6('::', port));
      const widest = hold(t, request(spec(kind, any(port))), [wide, narrow]);
      assert.deepEqual(steal(kind, inet6('::', port)), []);
      assert.ok(widest.fd > narrow.fd);
    }
  });
});

describe('update', () => {
  it('takes over what a bound socket can still take', (t) => {
    const address = inet(randomLoopback(), freePort());
    const of = spec('stream', address);
    const held = hold(t, request(of));
    const { inode } = held;
    held.update(request(of, { keepAlive: true, ipTos: 16 }), false);
    assert.equal(get(held.fd, 'SO_KEEPALIVE'), 1);
    assert.equal(get(held.fd, 'IP_TOS', 'IPPROTO_IP'), 16);
    held.update(request(of, {}, 'queue'), false);
    assert.equal(held.listening, true);
    held.update(request(of), false);
    assert.equal(held.listening, false);
    assert.equal(held.inode, inode);
  });

  it('takes back a switch that is no longer on', (t) => {
    const of = spec('stream', inet(randomLoopback(), freePort()));
    const held = hold(t, request(of, { keepAlive: true, noDelay: true, broadcast: true }));
    held.update(request(of), false);
    assert.deepEqual(
      [
        get(held.fd, 'SO_KEEPALIVE'),
        get(held.fd, 'TCP_NODELAY', 'IPPROTO_TCP'),
        get(held.fd, 'SO_BROADCAST'),
      ],
      [0, 0, 0],
    );
  });

  it('leaves a socket that is in use listening', (t) => {
    const of = spec('stream', inet(randomLoopback(), freePort()));
    const held = hold(t, request(of));
    held.handOver();
    held.update(request(of, { keepAlive: true }), true);
    assert.equal(held.listening, true);
  });
});

describe('holdKey', () => {
  it('differs where bind(2) would, and only there', () => {
    const of = spec('stream', inet('127.0.0.1', 631));
    const key = (options = {}) => holdKey(request(of, options));
    assert.equal(key(), key({ keepAlive: true, backlog: 1, socketMode: 0o600 }));
    assert.equal(key(), holdKey({ ...request(of), whileStopped: 'queue' }));
    assert.equal(key(), holdKey(request({ ...of, listen: 'x', at: { file: 'y', line: 9 } })));
    const keys = [
      key(),
      key({ freeBind: true }),
      key({ transparent: true }),
      key({ bindToDevice: 'lo' }),
      holdKey(request(spec('stream', inet('127.0.0.2', 631)))),
      holdKey(request(spec('stream', inet('127.0.0.1', 632)))),
      holdKey(request(spec('datagram', inet('127.0.0.1', 631)))),
      holdKey(request(spec('stream', inet('127.0.0.1', 631), 'mptcp'))),
    ];
    assert.equal(new Set(keys).size, keys.length);
  });
});

describe('close', () => {
  it('lets go of the port', () => {
    const address = inet(randomLoopback(), freePort());
    const before = openFds();
    HeldSocket.bind(request(spec('stream', address))).close();
    assert.notDeepEqual(steal('stream', address), []);
    assert.deepEqual(openFds(), before);
    closeSync(openSocket('stream', 'inet'));
  });
});

describe('a datagram socket that a service is handed', () => {
  /** Sends from so many sources, and tells how many arrived at the service's duplicate. */
  function delivered(t: TestContext, duplicate: number, to: BoundAddress, count = 50): number {
    let arrived = 0;
    for (let i = 0; i < count; i++) {
      sendText(connect(t, 'datagram', to), 'x');
      if (receiveText(duplicate) === 'x') arrived++;
    }
    return arrived;
  }

  type Place = ReturnType<typeof inet> | ReturnType<typeof inet6>;

  function thieves(address: Place): string[] {
    const { port } = address;
    const v4 = address.family === 'inet';
    const around = v4
      ? [inet('0.0.0.0', port), inet6('::', port)]
      : [inet6('::', port), ...(address.host === '::' ? [inet('0.0.0.0', port)] : [])];
    return [address, ...around].flatMap((target) => steal('datagram', target));
  }

  const shapes: [string, Address, Place][] = [
    ['all addresses', { family: 'any', port: 0 }, inet6('::', 0)],
    ['an IPv4 address', inet('127.0.0.1', 0), inet('127.0.0.1', 0)],
    ['all IPv4 addresses', inet('0.0.0.0', 0), inet('0.0.0.0', 0)],
    ['an IPv6 address', inet6('::1', 0), inet6('::1', 0)],
  ];
  for (const [name, shape, bound] of shapes) {
    for (const before of ['bound', 'adopted', 'replaced'] as const) {
      it(`stays closed on ${name} whatever the service sets, ${before} by berthd`, (t) => {
        if (!requiresRoot(t)) return;
        const port = freePort();
        const address = { ...bound, port };
        const targets = [address.host === '::' ? inet6('::1', port) : { ...address }];
        if (address.host === '0.0.0.0') targets.splice(0, 1, inet('127.0.0.1', port));
        if (address.host === '::') targets.push(inet('127.0.0.1', port));
        const wanted = request(spec('datagram', { ...shape, port } as Address), {}, 'refuse', true);
        let held: HeldSocket;
        if (before === 'adopted') {
          // By a version without guards, while the service had it open.
          const old = HeldSocket.bind({ ...wanted, guarded: false });
          set(old.fd, 'SO_REUSEADDR', true);
          held = HeldSocket.adopt(wanted, old.fd);
        } else held = HeldSocket.bind(wanted);
        t.after(() => {
          held.close();
        });
        assert.notEqual(held.guard, undefined);
        if (before === 'replaced') {
          held.handOver();
          const { inode } = held;
          const shut = outcome(() => {
            native.shutdownRead(held.fd);
          });
          assert.equal(shut, 'ENOTCONN', 'and yet it takes effect');
          assert.match(held.handOver().join(), /replaced/);
          assert.notEqual(held.inode, inode);
        }
        for (const options of [[], ['SO_REUSEADDR'], ['SO_REUSEPORT'], ['SO_REUSEADDR', 'SO_REUSEPORT']]) {
          held.handOver();
          const duplicate = closing(t, native.duplicate(held.fd));
          native.adopt(duplicate);
          for (const option of options) set(duplicate, option, true);
          assert.deepEqual(
            thieves(address),
            [],
            `while the service has ${options.join('+') || 'nothing'} set`,
          );
          for (const target of targets)
            assert.equal(
              delivered(t, duplicate, target),
              50,
              `${options.join('+')} ${JSON.stringify(target)}`,
            );
          held.rest();
          assert.deepEqual(thieves(address), []);
          sendText(connect(t, 'datagram', targets[0] ?? address), 'x');
          assert.equal(receiveText(duplicate), undefined, 'at rest it drops');
        }
      });
    }
  }

  it('has a guard only while one is due', (t) => {
    if (!requiresRoot(t)) return;
    const wanted = request(spec('datagram', inet(randomLoopback(), freePort())), {}, 'refuse', true);
    const before = openFds();
    const held = HeldSocket.bind(wanted);
    assert.notEqual(held.guard, undefined);
    held.update({ ...wanted, guarded: false }, false);
    assert.equal(held.guard, undefined);
    held.update(wanted, false);
    assert.notEqual(held.guard, undefined);
    held.close();
    assert.deepEqual(openFds(), before);
  });
});

describe('a datagram socket beside which a program binds its own', () => {
  const address = (port: number) => inet6('::1', port);

  /** What berthd does for a program that has SO_REUSEADDR set, which lets others beside it that have it, too. */
  function bindProgram(t: TestContext, held: HeldSocket, port: number): number {
    const program = closing(t, openSocket('datagram', 'inet6'));
    set(program, 'SO_REUSEADDR', true);
    if (held.yielding.ahead) held.yielding.stepBehind();
    assert.equal(native.bindFor(-1, program, sockaddr('::1', port), held.fds), 0);
    held.yielding.fallAhead();
    held.yielding.to(program);
    return program;
  }

  function stealOnInterface(port: number): string {
    const thief = openSocket('datagram', 'inet6');
    try {
      set(thief, 'SO_REUSEADDR', true);
      native.setDevice(thief, native.interfaceIndex('lo'));
      return outcome(() => {
        native.bind(thief, address(port));
      });
    } finally {
      closeSync(thief);
    }
  }

  /** Keeps what the vault does, lets go of the rest as a berthd that is killed, and calls `meanwhile`. */
  function killed(held: HeldSocket, meanwhile: () => void): HeldSocket {
    const fd = native.duplicate(held.fd);
    const [reader = -1, writer = -1] = (held.yielding.keep ?? []).map((end) => native.duplicate(end));
    held.close();
    meanwhile();
    return HeldSocket.adopt(held.request, fd, undefined, [reader, writer]);
  }

  it('keeps out who binds to an interface, also between two berthds', (t) => {
    if (!requiresRoot(t)) return;
    const before = openFds();
    const port = freePort();
    let held = HeldSocket.bind(request(spec('datagram', address(port)), {}, 'refuse', false, true));
    t.after(() => {
      held.close();
      assert.equal(
        openFds().size,
        before.size + 1 + 3,
        "the program's and three clients', which are closed later",
      );
    });
    const closed = () => {
      assert.equal(stealOnInterface(port), 'EADDRINUSE');
      assert.deepEqual(steal('datagram', address(port)), []);
    };
    const program = bindProgram(t, held, port);
    for (let life = 0; life < 3; life++) {
      closed();
      held = killed(held, closed);
      closed();
      held.reseal();
      closed();
      sendText(connect(t, 'datagram', address(port)), 'x');
      assert.equal(receiveText(program), 'x');
      assert.equal(held.fds.length, 2, 'the hold, and one behind the program');
    }
    held.rest();
    assert.equal(held.fds.length, 1);
    closed();
  });

  it('is closed whichever of two guards an earlier berthd was about to drop', (t) => {
    if (!requiresRoot(t)) return;
    const port = freePort();
    let held = HeldSocket.bind(request(spec('datagram', address(port)), {}, 'refuse', false, true));
    t.after(() => {
      held.close();
    });
    const program = bindProgram(t, held, port);
    const [, writer = -1] = held.yielding.keep ?? [];
    native.send(writer, Buffer.from('r'), [...held.fds.slice(1)]);
    held = killed(held, () => undefined);
    assert.equal(held.fds.length, 3);
    held.reseal();
    assert.equal(held.fds.length, 2);
    assert.equal(stealOnInterface(port), 'EADDRINUSE');
    sendText(connect(t, 'datagram', address(port)), 'x');
    assert.equal(receiveText(program), 'x');
  });
});

describe('a TCP socket that a service is handed', () => {
  const shapes: [string, Address, BoundAddress, BoundAddress][] = [
    ['all addresses', any(0), inet6('::', 0), inet('127.0.0.1', 0)],
    ['an IPv4 address', inet('127.0.0.1', 0), inet('127.0.0.1', 0), inet('127.0.0.1', 0)],
    ['all IPv4 addresses', inet('0.0.0.0', 0), inet('0.0.0.0', 0), inet('127.0.0.1', 0)],
    ['an IPv6 address', inet6('::1', 0), inet6('::1', 0), inet6('::1', 0)],
  ];

  /** The socket of a service that shuts its duplicate down, with a connection open: SO_REUSEADDR stays on. */
  function shutDown(t: TestContext, held: HeldSocket, address: BoundAddress): number {
    converse(t, held, address);
    const duplicate = closing(t, native.duplicate(held.fd));
    native.adopt(duplicate);
    native.shutdownRead(duplicate);
    assert.equal(held.listening, false);
    assert.equal(get(held.fd, 'SO_REUSEADDR'), 1);
    return duplicate;
  }

  for (const [name, shape, bound, target] of shapes) {
    for (const whileStopped of ['refuse', 'queue'] as const) {
      it(`stays closed on ${name} when the service shuts it down, WhileStopped=${whileStopped}`, (t) => {
        if (!requiresRoot(t)) return;
        const port = freePort();
        const at = { ...bound, port };
        const to = { ...target, port };
        const held = hold(t, request(spec('stream', { ...shape, port } as Address), {}, whileStopped, true));
        const { inode } = held;
        assert.equal(held.guard, undefined, 'not before it is handed out');
        held.handOver();
        const { guard } = held;
        assert.notEqual(guard, undefined);
        for (let start = 0; start < 3; start++) {
          const duplicate = shutDown(t, held, to);
          assert.deepEqual(steal('stream', at), []);
          assert.deepEqual(steal('stream', inet6('::', port)), []);
          assert.equal(
            outcome(() => {
              native.listen(duplicate, 16);
            }),
            'EADDRINUSE',
            'the guard is in the way of the service as well',
          );
          // A second claim before the first has ended, and the next start.
          if (start === 1) held.rest();
          assert.deepEqual(steal('stream', at), []);
          held.handOver();
          assert.equal(held.listening, true);
          assert.equal(get(held.fd, 'SO_REUSEADDR'), 1);
          assert.equal(get(held.fd, 'SO_REUSEPORT'), 0);
          assert.deepEqual(steal('stream', at), []);
        }
        assert.equal(held.inode, inode);
        assert.equal(held.guard, guard);
      });
    }
  }

  it('may listen again with another backlog', (t) => {
    if (!requiresRoot(t)) return;
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('stream', address), {}, 'refuse', true));
    held.handOver();
    native.listen(held.fd, 16);
    converse(t, held, address);
    assert.deepEqual(steal('stream', address), []);
  });

  it('is guarded by the next berthd when it is in use, and its guard goes with it', (t) => {
    if (!requiresRoot(t)) return;
    const address = inet(randomLoopback(), freePort());
    const wanted = request(spec('stream', address), {}, 'refuse', true);
    const before = openFds();
    const old = HeldSocket.bind({ ...wanted, guarded: false });
    old.handOver();
    const held = HeldSocket.adopt(wanted, old.fd);
    assert.equal(held.guard, undefined, 'nobody knows yet whether it is in use');
    native.shutdownRead(held.fd);
    assert.notDeepEqual(steal('stream', address), []);
    held.standGuard();
    assert.notEqual(held.guard, undefined);
    assert.deepEqual(steal('stream', address), []);
    held.close();
    assert.deepEqual(openFds(), before);
  });

  it('listens with the guard that an earlier berthd put up, and without one that is no longer due', (t) => {
    if (!requiresRoot(t)) return;
    const address = inet(randomLoopback(), freePort());
    const wanted = request(spec('stream', address), {}, 'refuse', true);
    const old = HeldSocket.bind(wanted);
    old.handOver();
    converse(t, old, address);
    const held = HeldSocket.adopt(wanted, old.fd, old.guard);
    t.after(() => {
      held.close();
    });
    held.rest();
    held.handOver();
    converse(t, held, address);
    held.rest();
    held.update({ ...wanted, guarded: false }, false);
    assert.equal(held.guard, undefined);
    held.handOver();
    converse(t, held, address);
  });

  it('has another guard when it has to be replaced', (t) => {
    if (!requiresRoot(t)) return;
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('stream', address), {}, 'refuse', true));
    held.handOver();
    native.attachDrop(held.fd);
    native.setOption(held.fd, constant('SOL_SOCKET'), 44, 1); // SO_LOCK_FILTER
    assert.match(held.handOver().join(), /replaced/);
    assert.notEqual(held.guard, undefined);
    shutDown(t, held, address);
    assert.deepEqual(steal('stream', address), []);
  });

  it('has no guard where nobody is handed it', (t) => {
    const address = inet(randomLoopback(), freePort());
    const held = hold(t, request(spec('stream', address), {}, 'refuse', false));
    held.handOver();
    assert.equal(held.guard, undefined);
  });
});
