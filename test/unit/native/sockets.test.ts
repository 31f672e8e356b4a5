import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isSystemError } from '../../../src/model/errors.js';
import { constant, maxFdsPerMessage, native, type BoundAddress } from '../../../src/native/index.js';
import { openFds, scratch } from '../../support/files.js';
import { inet, inet6 } from '../../support/holds.js';
import {
  closing,
  connect,
  freePort,
  get,
  openSocket,
  randomLoopback,
  readable,
  serve,
  set,
} from '../../support/sockets.js';

/** Asserts that `action` throws a SystemError with all that messages are made of. */
function refuses(action: () => unknown, code: string, syscall: string): void {
  assert.throws(action, (error) => {
    assert.ok(isSystemError(error), String(error));
    assert.deepEqual({ code: error.code, syscall: error.syscall }, { code, syscall });
    assert.ok(error.errno > 0, 'errno is positive, as in the C headers');
    assert.ok(error.reason !== undefined && error.reason !== '');
    assert.equal(error.message, `${syscall}: ${error.reason} (${code})`);
    return true;
  });
}

/** FD_CLOEXEC as the kernel shows it: 02000000 in the flags of fdinfo. */
function closesOnExec(fd: number): boolean {
  const flags = /^flags:\t(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
  return (parseInt(flags?.[1] ?? '0', 8) & 0o2000000) !== 0;
}

function isBlocking(fd: number): boolean {
  const flags = /^flags:\t(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
  return (parseInt(flags?.[1] ?? '0', 8) & constants.O_NONBLOCK) === 0;
}

/** The pidfd of whoever connected to a socket. */
function identified(fd: number): number | undefined {
  const facts = new Float64Array(4);
  return native.identify(fd, facts) ? facts[2] : undefined;
}

describe('socketStates', () => {
  it('tells the inode of each, and which of them listen or share', (t) => {
    const fds = [0, 1, 2, 3].map(() => closing(t, openSocket('stream', 'inet')));
    const [, listening = -1, sharing = -1] = fds;
    native.bind(listening, inet(randomLoopback(), 0));
    native.listen(listening, 1);
    native.setOption(sharing, constant('SOL_SOCKET'), constant('SO_REUSEADDR'), 1);
    const inodes = fds.map((fd) => native.inode(fd));
    assert.deepEqual(native.socketStates(fds), { inodes, stirring: [1, 2] });
    assert.deepEqual(native.socketStates([]), { inodes: [], stirring: [] });
    refuses(() => native.socketStates([-1]), 'EBADF', 'fstat');
  });
});

describe('every descriptor', () => {
  it('is close-on-exec', (t) => {
    const address = inet(randomLoopback(), freePort());
    const listener = serve(t, 'stream', address);
    connect(t, 'stream', address);
    const [one, other] = native.socketpair(constant('SOCK_SEQPACKET')).map((fd) => closing(t, fd));
    assert.ok(one !== undefined && other !== undefined);
    native.send(one, Buffer.from('x'), [listener]);
    const received = native.receive(other, maxFdsPerMessage, 0)?.fds.map((fd) => closing(t, fd)) ?? [];
    assert.equal(received.length, 1);
    const accepted = native.accept(listener);
    const pidfds = [native.pidfdOpen(process.pid), identified(one)];
    const made = [accepted, ...pidfds, native.duplicate(listener)].map((fd) => closing(t, fd ?? -1));
    for (const fd of [listener, one, other, ...received, ...made])
      assert.ok(closesOnExec(fd), `descriptor ${fd}: ${openFds().get(fd) ?? ''}`);
  });

  it('is the lowest free one, and closed again is gone', () => {
    const before = openFds();
    const fd = openSocket('stream', 'inet');
    closeSync(fd);
    assert.deepEqual(openFds(), before);
  });
});

describe('socket', () => {
  it('says why not', () => {
    refuses(() => native.socket(9999, constant('SOCK_STREAM'), 0), 'EAFNOSUPPORT', 'socket');
    const before = openFds().size;
    refuses(() => native.socket(constant('AF_INET'), constant('SOCK_STREAM'), 9999), 'EINVAL', 'socket');
    assert.equal(openFds().size, before);
  });
});

describe('bind and getsockname', () => {
  it('agree on every family', (t) => {
    const path = join(scratch(t), 'socket');
    const name = `berth-test-${process.pid}-ü`;
    const addresses: BoundAddress[] = [
      inet(randomLoopback(), freePort()),
      inet6('::1', freePort()),
      { family: 'unix', path },
      { family: 'abstract', name },
    ];
    for (const address of addresses) {
      const fd = closing(t, openSocket('stream', address.family));
      native.bind(fd, address);
      assert.deepEqual(native.getsockname(fd), address);
    }
  });

  it('takes the longest path and the longest abstract name that the kernel has room for', (t) => {
    const directory = scratch(t);
    const path = join(directory, 'x'.repeat(107 - directory.length - 1));
    const name = 'n'.repeat(107 - `${process.pid}`.length) + String(process.pid);
    for (const address of [{ family: 'unix', path } as const, { family: 'abstract', name } as const]) {
      const fd = closing(t, openSocket('datagram', address.family));
      native.bind(fd, address);
      assert.deepEqual(native.getsockname(fd), address);
    }
    const fd = closing(t, openSocket('datagram', 'unix'));
    assert.throws(() => {
      native.bind(fd, { family: 'unix', path: `${path}y` });
    }, TypeError);
    assert.throws(() => {
      native.bind(fd, { family: 'abstract', name: `${name}y` });
    }, TypeError);
  });

  it('says why not', (t) => {
    const address = inet(randomLoopback(), freePort());
    serve(t, 'stream', address);
    const fd = closing(t, openSocket('stream', 'inet'));
    refuses(
      () => {
        native.bind(fd, address);
      },
      'EADDRINUSE',
      'bind',
    );
    refuses(
      () => {
        native.bind(fd, inet('192.0.2.77', 1));
      },
      'EADDRNOTAVAIL',
      'bind',
    );
    refuses(
      () => {
        native.bind(closing(t, openSocket('stream', 'inet6')), {
          family: 'inet6',
          host: 'fe80::1',
          port: 1,
          scope: 'no-such-if',
        });
      },
      'ENODEV',
      'if_nametoindex',
    );
  });

  it('never binds anything for an address that is not whole', (t) => {
    const fd = closing(t, openSocket('stream', 'inet'));
    const addresses: unknown[] = [
      { family: 'any', port: freePort() },
      { family: 'inet', host: '127.0.0.1' },
      { family: 'inet', port: 1 },
      { family: 'inet', host: 'localhost', port: 1 },
      { family: 'inet', host: '127.0.0.1', port: 65536 },
      { family: 'inet', host: '127.0.0.1', port: -1 },
      { family: 'unix', path: 'a\0b' },
      {},
      undefined,
      7,
    ];
    for (const address of addresses) {
      assert.throws(
        () => {
          native.bind(fd, address as BoundAddress);
        },
        TypeError,
        JSON.stringify(address),
      );
    }
    assert.deepEqual(native.getsockname(fd), inet('0.0.0.0', 0));
  });
});

describe('connect and disconnect', () => {
  it('connects, tells of a refusal, and undoes', (t) => {
    const address = inet(randomLoopback(), freePort());
    const local = inet(randomLoopback(), freePort());
    const fd = closing(t, openSocket('datagram', 'inet'));
    native.bind(fd, local);
    assert.equal(native.disconnect(fd), false);
    native.connect(fd, address);
    assert.equal(native.disconnect(fd), true);
    assert.deepEqual(native.getsockname(fd), local);
    const stream = closing(t, openSocket('stream', 'inet'));
    refuses(
      () => {
        native.connect(stream, address);
      },
      'ECONNREFUSED',
      'connect',
    );
    refuses(() => native.disconnect(9999), 'EBADF', 'getpeername');
  });
});

describe('listen, accept and shutdownRead', () => {
  it('accepts without blocking, and says so where nobody waits', (t) => {
    const address = inet(randomLoopback(), freePort());
    const listener = serve(t, 'stream', address);
    native.adopt(listener);
    assert.equal(native.accept(listener), undefined);
    connect(t, 'stream', address);
    const connection = native.accept(listener);
    assert.ok(connection !== undefined);
    closing(t, connection);
    assert.equal(isBlocking(connection), false);
  });

  it('goes back to bound and silent', (t) => {
    const address = inet(randomLoopback(), freePort());
    const listener = serve(t, 'stream', address);
    native.shutdownRead(listener);
    assert.equal(get(listener, 'SO_ACCEPTCONN'), 0);
    assert.deepEqual(native.getsockname(listener), address);
    refuses(() => connect(t, 'stream', address), 'ECONNREFUSED', 'connect');
  });

  it('says why not', (t) => {
    const datagram = closing(t, openSocket('datagram', 'inet'));
    refuses(
      () => {
        native.listen(datagram, 1);
      },
      'ENOTSUP', // as libuv calls EOPNOTSUPP
      'listen',
    );
    refuses(() => native.accept(datagram), 'ENOTSUP', 'accept4');
    refuses(
      () => {
        native.shutdownRead(9999);
      },
      'EBADF',
      'shutdown',
    );
  });
});

describe('options', () => {
  it('are read back as set, numbers and texts', (t) => {
    const fd = closing(t, openSocket('stream', 'inet'));
    set(fd, 'SO_KEEPALIVE', true);
    assert.equal(get(fd, 'SO_KEEPALIVE'), 1);
    native.setTextOption(fd, constant('IPPROTO_TCP'), constant('TCP_CONGESTION'), 'reno');
    refuses(
      () => {
        native.setTextOption(fd, constant('IPPROTO_TCP'), constant('TCP_CONGESTION'), 'no-such');
      },
      'ENOENT',
      'setsockopt',
    );
    refuses(
      () => {
        set(fd, 'SO_ACCEPTCONN', 1);
      },
      'ENOPROTOOPT',
      'setsockopt',
    );
    refuses(() => native.getOption(fd, 9999, 1), 'ENOTSUP', 'getsockopt');
  });

  it('names constants that exist and throws for one that it does not know', () => {
    assert.equal(constant('SOL_SOCKET'), 1);
    assert.throws(() => constant('SO_NONSENSE'), /no constant SO_NONSENSE/);
  });
});

describe('attachDrop and detachDrop', () => {
  it('drops all datagrams in between, and detaching twice is no error', (t) => {
    const address = inet(randomLoopback(), freePort());
    const receiver = serve(t, 'datagram', address);
    const sender = connect(t, 'datagram', address);
    native.attachDrop(receiver);
    native.send(sender, Buffer.from('dropped'), []);
    native.detachDrop(receiver);
    native.detachDrop(receiver);
    native.send(sender, Buffer.from('kept'), []);
    assert.equal(native.receive(receiver, 0, 0)?.data.toString(), 'kept');
    assert.equal(native.receive(receiver, 0, 0), undefined);
  });
});

describe('setBlocking and adopt', () => {
  it('change the open file and the descriptor', (t) => {
    const fd = closing(t, openSocket('datagram', 'inet'));
    native.adopt(fd);
    assert.equal(isBlocking(fd), false);
    assert.equal(closesOnExec(fd), true);
    native.setBlocking(fd);
    assert.equal(isBlocking(fd), true);
    refuses(
      () => {
        native.adopt(9999);
      },
      'EBADF',
      'fcntl',
    );
    refuses(
      () => {
        native.setBlocking(9999);
      },
      'EBADF',
      'fcntl',
    );
  });
});

describe('pollNow', () => {
  it('tells of the state of this moment', (t) => {
    const [one, other] = native.socketpair(constant('SOCK_STREAM'));
    closing(t, one);
    assert.equal(readable(one), false);
    native.send(other, Buffer.from('x'), []);
    assert.equal(readable(one), true);
    closeSync(other);
    assert.notEqual(native.pollNow(one) & constant('POLLHUP'), 0);
  });
});

describe('interfaceIndex', () => {
  it('finds an interface or says that there is none', () => {
    assert.equal(native.interfaceIndex('lo'), 1);
    refuses(() => native.interfaceIndex('no-such-if'), 'ENODEV', 'if_nametoindex');
    assert.throws(() => native.interfaceIndex('x'.repeat(16)), TypeError);
  });
});

describe('socketsOn', () => {
  it('finds listeners, silent sockets and datagram sockets of both families, and nothing of other ports', (t) => {
    const port = freePort();
    const host = randomLoopback();
    const listener = serve(t, 'stream', inet(host, port));
    const silent = closing(t, openSocket('stream', 'inet6'));
    native.bind(silent, inet6('::1', port));
    serve(t, 'datagram', inet(host, port));
    const inode = (fd: number) => Number(/\d+/.exec(openFds().get(fd) ?? '')?.[0]);
    const found = native.socketsOn(constant('IPPROTO_TCP'), port);
    assert.deepEqual(
      found.map(({ address, state, inode: number }) => ({ address, state, number })),
      [
        { address: inet(host, port), state: 10, number: inode(listener) },
        { address: inet6('::1', port), state: found[1]?.state, number: inode(silent) },
      ],
    );
    assert.equal(native.socketsOn(constant('IPPROTO_UDP'), port).length, 1);
    assert.deepEqual(native.socketsOn(constant('IPPROTO_TCP'), freePort()), []);
    assert.ok(found.every(({ uid }) => uid === process.getuid?.()));
  });

  it('finds those of all ports that have no peer, and tells whether they leave IPv4 alone', (t) => {
    const port = freePort();
    const listener = serve(t, 'stream', inet('127.0.0.1', port));
    const dual = closing(t, openSocket('datagram', 'inet6'));
    native.bind(dual, inet6('::', port));
    const single = closing(t, openSocket('stream', 'inet6'));
    const other = freePort();
    native.setOption(single, constant('IPPROTO_IPV6'), constant('IPV6_V6ONLY'), 1);
    native.bind(single, inet6('::', other));
    native.listen(single, 1);
    const client = connect(t, 'stream', inet('127.0.0.1', port));
    closing(t, native.accept(listener) ?? -1);
    const found = (protocol: string) =>
      native
        .socketsOn(constant(protocol), 0)
        .filter(({ address }) => 'port' in address && [port, other].includes(address.port))
        .map(({ address, state, v6only, device }) => ({ address, state, v6only, device }));
    const of = (address: BoundAddress, state: number, v6only: boolean) => ({
      address,
      state,
      v6only,
      device: 0,
    });
    assert.deepEqual(found('IPPROTO_TCP'), [
      of(inet('127.0.0.1', port), 10, false),
      of(inet6('::', other), 10, true),
    ]);
    assert.deepEqual(found('IPPROTO_UDP'), [of(inet6('::', port), 7, false)]);
    assert.ok(client > 0);
  });

  it('tells where a connection leads, and whether a socket is bound to an interface or to IPv6 alone', (t) => {
    const port = freePort();
    const host = randomLoopback();
    serve(t, 'stream', inet(host, port));
    const local = freePort();
    const client = closing(t, openSocket('stream', 'inet'));
    native.bind(client, inet(host, local));
    native.connect(client, inet(host, port));
    assert.deepEqual(native.socketsOn(constant('IPPROTO_TCP'), local)[0]?.peer, inet(host, port));
    const only = closing(t, openSocket('datagram', 'inet6'));
    set(only, 'IPV6_V6ONLY', true, 'IPPROTO_IPV6');
    native.setTextOption(only, constant('SOL_SOCKET'), constant('SO_BINDTODEVICE'), 'lo');
    native.bind(only, inet6('::', port));
    const [found] = native.socketsOn(constant('IPPROTO_UDP'), port);
    assert.deepEqual(
      [found?.v6only, found?.device, found?.peer],
      [true, native.interfaceIndex('lo'), undefined],
    );
    const [dual] = native.socketsOn(constant('IPPROTO_TCP'), port);
    assert.deepEqual([dual?.v6only, dual?.device], [false, 0]);
  });

  it('leaves no descriptor behind, not even when the kernel refuses', () => {
    const before = openFds().size;
    native.socketsOn(constant('IPPROTO_TCP'), 1);
    refuses(() => native.socketsOn(250, 1), 'ENOENT', 'sock_diag');
    assert.equal(openFds().size, before);
  });
});

describe('processes', () => {
  it('looks up users and groups by name only', () => {
    assert.equal(native.userId('root'), 0);
    assert.equal(native.groupId('root'), 0);
    assert.equal(native.userId('no-such-user'), undefined);
    assert.equal(native.groupId('0'), undefined);
  });

  it('opens what lives, and says when there is nothing', () => {
    const { pid } = spawnSync('true');
    assert.equal(native.pidfdOpen(pid), undefined);
    assert.equal(native.pidfdOpen(-1), undefined);
    const fd = native.pidfdOpen(process.pid);
    assert.ok(fd !== undefined);
    closeSync(fd);
  });

  it('knows the peer of a connection, and that a file has none', (t) => {
    const path = join(scratch(t), 'socket');
    const listener = serve(t, 'seqpacket', { family: 'unix', path });
    const client = connect(t, 'seqpacket', { family: 'unix', path });
    const connection = closing(t, native.accept(listener) ?? -1);
    const own = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() };
    assert.deepEqual(native.peer(connection), own);
    assert.deepEqual(native.peer(client), own);
    const file = closing(t, openSync('/dev/null', 'r'));
    refuses(() => native.peer(file), 'ENOTSOCK', 'getsockopt');
  });
});

describe('arguments', () => {
  it('are checked before anything is done', () => {
    const calls = native as unknown as Record<string, (...values: unknown[]) => unknown>;
    const before = openFds().size;
    for (const [name, call] of Object.entries(calls)) {
      // These take none, and what they open stays open.
      if (typeof call !== 'function' || ['lookSignal', 'prepareDiscard', 'roomMade'].includes(name)) continue;
      assert.throws(() => call(), TypeError, `${name}()`);
      assert.throws(() => call({}, {}, {}, {}), TypeError, `${name}({}, …)`);
    }
    assert.equal(openFds().size, before);
  });
});
