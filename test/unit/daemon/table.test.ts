import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { Table } from '../../../src/daemon/table.js';
import type { Address, Reservation, SocketOptions, SocketSpec } from '../../../src/model/reservation.js';
import { native } from '../../../src/native/index.js';
import { openFds, scratch } from '../../support/files.js';
import { defaultOptions, inet, reservation, spec } from '../../support/holds.js';
import {
  connect,
  freePort,
  openSocket,
  outcome,
  randomLoopback,
  serve,
  steal,
} from '../../support/sockets.js';

const none: ReadonlySet<string> = new Set();
const idle = () => false;

function table(t: TestContext): Table {
  const made = new Table();
  t.after(() => {
    made.apply([], none, idle);
  });
  return made;
}

function inodes(of: Table, name: string): (number | undefined)[] {
  return of.get(name)?.slots.map(({ socket }) => socket?.inode) ?? [];
}

function one(name: string, address: Address, changes: Partial<Reservation> = {}): Reservation {
  return reservation(name, [spec('stream', address)], changes);
}

describe('Table.apply', () => {
  it('keeps the sockets that are still wanted, in a new order, under another name, with other options', (t) => {
    const made = table(t);
    const [a, b] = [freePort(), freePort()].map((port) => spec('stream', inet(randomLoopback(), port)));
    assert.ok(a !== undefined && b !== undefined);
    made.apply([reservation('old', [a, b])], none, idle);
    const [first, second] = inodes(made, 'old');
    made.apply([reservation('old', [b, a])], none, idle);
    assert.deepEqual(inodes(made, 'old'), [second, first]);
    made.apply(
      [
        reservation('new', [a], { options: { ...defaultOptions, keepAlive: true } }),
        reservation('other', [b]),
      ],
      none,
      idle,
    );
    assert.deepEqual(
      [inodes(made, 'new'), inodes(made, 'other'), made.get('old')],
      [[first], [second], undefined],
    );
  });

  it('lets go of what is not wanted any more, and leaves no descriptor', (t) => {
    const before = openFds();
    const made = table(t);
    const address = inet(randomLoopback(), freePort());
    made.apply([one('x', address)], none, idle);
    assert.deepEqual(steal('stream', address), []);
    made.apply([], none, idle);
    assert.notDeepEqual(steal('stream', address), []);
    assert.deepEqual(openFds(), before);
  });

  it('keeps those named as they were', (t) => {
    const made = table(t);
    const address = inet(randomLoopback(), freePort());
    made.apply([one('broken', address)], none, idle);
    const before = inodes(made, 'broken');
    made.apply([one('fine', inet(randomLoopback(), freePort()))], new Set(['broken', 'never-seen']), idle);
    assert.deepEqual(inodes(made, 'broken'), before);
    assert.equal([...made.entries()].length, 2);
  });

  it('narrows and widens without letting go, whatever the state', (t) => {
    for (const kind of ['stream', 'datagram'] as const) {
      const made = table(t);
      const port = freePort();
      const shapes: Address[] = [
        { family: 'any', port },
        inet('127.0.0.1', port),
        inet('0.0.0.0', port),
        inet('127.0.0.1', port),
        { family: 'any', port },
      ];
      for (const address of shapes) {
        made.apply([reservation('x', [spec(kind, address)])], none, idle);
        const [slot] = made.get('x')?.slots ?? [];
        assert.equal(slot?.error, undefined);
        assert.deepEqual(steal(kind, inet('127.0.0.1', port)), []);
        slot?.socket?.handOver();
        if (kind === 'stream') connect(t, kind, inet('127.0.0.1', port));
      }
    }
  });

  it('holds several reservations of one port with ReusePort=, the same ones after every reload', (t) => {
    const made = table(t);
    const address = inet(randomLoopback(), freePort());
    const options = { ...defaultOptions, reusePort: true };
    const all = ['a', 'b', 'c'].map((name) => one(name, address, { options }));
    made.apply(all, none, idle);
    const before = all.map(({ name }) => inodes(made, name));
    assert.equal(new Set(before.flat()).size, 3);
    const fds = openFds();
    for (let reload = 0; reload < 3; reload++) made.apply(all, none, idle);
    assert.deepEqual(
      all.map(({ name }) => inodes(made, name)),
      before,
    );
    assert.deepEqual(openFds(), fds);
  });

  it('looks once for who has them all', (t) => {
    const made = table(t);
    const blocker = table(t);
    const taken = Array.from({ length: 5 }, () => spec('stream', inet(randomLoopback(), freePort())));
    blocker.apply([reservation('blocker', taken)], none, idle);
    const looks = t.mock.method(native, 'socketHolders');
    made.apply([reservation('x', taken)], none, idle);
    assert.ok(made.get('x')?.slots.every(({ error }) => error?.includes('EADDRINUSE')));
    assert.deepEqual(
      looks.mock.calls.map(({ arguments: [inodes] }) => inodes.length),
      [5],
    );
  });

  it('tells why a socket is not held, holds the others, and holds it when that is over', (t) => {
    const made = table(t);
    const taken = inet(randomLoopback(), freePort());
    const free = inet(randomLoopback(), freePort());
    const blocker = table(t);
    blocker.apply([one('blocker', taken)], none, idle);
    made.apply([reservation('x', [spec('stream', taken), spec('stream', free)])], none, idle);
    const [first, second] = made.get('x')?.slots ?? [];
    assert.match(first?.error ?? '', /^cannot bind 'tcp 127\..*': address already in use \(EADDRINUSE/);
    assert.equal(second?.error, undefined);
    assert.deepEqual(steal('stream', free), []);
    blocker.apply([], none, idle);
    made.hold();
    assert.equal(first?.error, undefined);
    assert.deepEqual(steal('stream', taken), []);
  });

  it('names its own reservation where two overlap', (t) => {
    const made = table(t);
    const port = freePort();
    made.apply([one('all', { family: 'any', port }), one('part', inet('127.0.0.1', port))], none, idle);
    assert.match(made.get('part')?.slots[0]?.error ?? '', /EADDRINUSE, held by reservation 'all'/);
  });

  it('holds an address that comes later once it is there', (t) => {
    const made = table(t);
    made.apply([one('x', inet('192.0.2.77', freePort()))], none, idle);
    assert.match(
      made.get('x')?.slots[0]?.error ?? '',
      /EADDRNOTAVAIL\); no interface has that address yet; FreeBind=yes/,
    );
  });

  it('is not disturbed by a server on another address of the port', (t) => {
    const made = table(t);
    const port = freePort();
    serve(t, 'stream', inet('127.0.0.9', port));
    made.apply([one('x', inet('127.0.0.8', port))], none, idle);
    assert.equal(made.get('x')?.slots[0]?.error, undefined);
    assert.equal(
      outcome(() => connect(t, 'stream', inet('127.0.0.8', port))),
      'ECONNREFUSED',
    );
  });
});

describe('a released socket', () => {
  const inUse = () => true;

  it('is free for others until it is taken back', (t) => {
    const made = table(t);
    const address = inet(randomLoopback(), freePort());
    const x = one('x', address, { handoff: 'release' });
    made.apply([x], none, idle);
    const slots = made.get('x')?.slots ?? [];
    assert.deepEqual(made.release(slots), slots);
    assert.deepEqual(made.release(slots), []);
    assert.deepEqual(made.count(), { wanted: 0, held: 0, released: 1 });
    assert.notDeepEqual(steal('stream', address), []);
    made.hold();
    made.apply([x], none, inUse);
    assert.notDeepEqual(steal('stream', address), []);
    made.takeBack(made.get('x')?.slots ?? []);
    assert.deepEqual(made.count(), { wanted: 1, held: 1, released: 0 });
    assert.deepEqual(steal('stream', address), []);
  });

  it('that somebody has when it is taken back is held with a later try', (t) => {
    const made = table(t);
    const address = inet(randomLoopback(), freePort());
    made.apply([one('x', address)], none, idle);
    const slots = made.get('x')?.slots ?? [];
    made.release(slots);
    const other = openSocket('stream', 'inet');
    native.bind(other, address);
    made.takeBack(slots);
    assert.match(slots[0]?.error ?? '', /EADDRINUSE/);
    closeSync(other);
    made.hold();
    assert.deepEqual(made.count(), { wanted: 1, held: 1, released: 0 });
  });

  it('stays so with the next berthd, and the other sockets of its reservation stay held', (t) => {
    const made = table(t);
    const [a, b] = [freePort(), freePort()].map((port) => spec('stream', inet(randomLoopback(), port)));
    assert.ok(a !== undefined && b !== undefined);
    const x = reservation('x', [a, b], { handoff: 'release' });
    made.apply(
      [one('w', inet(randomLoopback(), freePort())), x, one('z', inet(randomLoopback(), freePort()))],
      none,
      idle,
    );
    const [first, second] = made.get('x')?.slots ?? [];
    assert.ok(first !== undefined && second !== undefined);
    made.release([first]);
    const next = table(t);
    next.restore(
      {
        pages: [],
        stored: made
          .stored()
          .map(({ reservation, fds }) => ({ reservation, fds: fds.map((fd) => native.duplicate(fd)) })),
      },
      [x],
    );
    assert.deepEqual(next.count(), { wanted: 3, held: 3, released: 1 });
    assert.deepEqual(
      [...next.entries()].map((entry) => entry.reservation.name),
      ['w', 'x', 'z'],
    );
    assert.deepEqual(inodes(next, 'x'), [undefined, second.socket?.inode]);
    assert.deepEqual(next.get('x')?.reservation, x);
  });
});

describe("reservations of portreserve's files", () => {
  const legacy = (name: string, ...sockets: SocketSpec[]) =>
    reservation(name, sockets, { handoff: 'release', legacy: true });

  it('have one socket for one address, over reloads and with the next berthd', (t) => {
    const before = openFds().size;
    const made = table(t);
    const [common, own] = [freePort(), freePort()].map((port) =>
      spec('stream', inet(randomLoopback(), port)),
    );
    assert.ok(common !== undefined && own !== undefined);
    const [a, b] = [legacy('a', common), legacy('b', own, common)];
    made.apply([a, b], none, idle);
    assert.deepEqual(made.count(), { wanted: 2, held: 2, released: 0 });
    assert.equal(openFds().size, before + 2);
    assert.equal(made.get('a')?.slots[0], made.get('b')?.slots[1]);
    const [inode] = inodes(made, 'a');
    made.apply([a, b], none, idle);
    assert.deepEqual([inodes(made, 'a')[0], inodes(made, 'b')[1]], [inode, inode]);
    made.apply([b], none, idle);
    assert.equal(inodes(made, 'b')[1], inode);
    made.apply([a, b], none, idle);
    const next = table(t);
    next.restore({
      pages: [],
      stored: made
        .stored()
        .map(({ reservation, fds }) => ({ reservation, fds: fds.map((fd) => native.duplicate(fd)) })),
    });
    assert.deepEqual(next.count(), { wanted: 2, held: 2, released: 0 });
    assert.equal(openFds().size, before + 4);
    assert.equal(next.get('a')?.slots[0], next.get('b')?.slots[1]);
    assert.deepEqual(
      next.stored().map(({ reservation }) => reservation),
      [a, b],
    );
  });
});
describe('former names', () => {
  const store = (name: string, fdName: string, unit = 'x.service'): Reservation =>
    one(name, inet('127.0.0.1', ports.get(name) ?? 0), { fdName, unit, handoff: 'store' });
  const ports = new Map(['a', 'b'].map((name) => [name, freePort()]));
  const names = (made: Table, name = 'a') => made.get(name)?.formerNames;

  it('are those that the unit may have stored, and that no reservation of it has now', (t) => {
    const made = table(t);
    made.apply([store('a', 'one')], none, idle);
    assert.deepEqual(names(made), []);
    made.apply([store('a', 'two')], none, idle);
    made.apply([store('a', 'three')], none, idle);
    assert.deepEqual(names(made), ['one', 'two']);
    made.apply([store('a', 'three'), store('b', 'one')], none, idle);
    assert.deepEqual([names(made), names(made, 'b')], [['two'], ['two']]);
    made.apply([store('a', 'two')], none, idle);
    assert.deepEqual(names(made), ['three', 'one']);
  });

  it('are of one unit, and outlive berthd', (t) => {
    const made = table(t);
    made.apply([store('a', 'one'), store('b', 'other', 'y.service')], none, idle);
    made.apply([store('a', 'two'), store('b', 'another', 'y.service')], none, idle);
    const next = table(t);
    next.restore({
      pages: [],
      stored: made
        .stored()
        .map((stored) => ({ ...stored, fds: stored.fds.map((fd) => native.duplicate(fd)) })),
    });
    assert.deepEqual([names(next), names(next, 'b')], [['one'], ['other']]);
  });

  it('are no more than a claim can name', (t) => {
    const made = table(t);
    for (let change = 0; change < 100; change++) made.apply([store('a', `n${change}`)], none, idle);
    assert.equal(names(made)?.length, 16);
    assert.equal(names(made)?.at(-1), 'n98');
  });
});

describe('a socket that stands in', () => {
  const port = () => freePort();
  const wide = (at: number): Reservation => one('x', { family: 'any', port: at });

  it('is held until what replaces it is bound', (t) => {
    for (const kind of ['stream', 'datagram'] as const) {
      const made = table(t);
      const at = port();
      const old = inet('127.0.0.1', at);
      made.apply([reservation('x', [spec(kind, old)])], none, idle);
      const [before] = inodes(made, 'x');
      const blocker = table(t);
      blocker.apply([reservation('b', [spec(kind, inet('127.0.0.2', at))])], none, idle);

      made.apply([reservation('x', [spec(kind, { family: 'any', port: at })])], none, idle);
      assert.match(
        made.get('x')?.slots[0]?.error ?? '',
        /EADDRINUSE.*; '\w+ 127\.0\.0\.1:\d+' of before is held/,
      );
      assert.deepEqual(inodesOf(made.standIns), [before]);
      assert.deepEqual(steal(kind, old), []);
      made.hold();
      assert.deepEqual(steal(kind, old), []);

      blocker.apply([], none, idle);
      made.hold();
      assert.equal(made.get('x')?.slots[0]?.error, undefined);
      assert.deepEqual(made.standIns, []);
      assert.deepEqual(steal(kind, old), []);
    }
  });

  it('is found again by a reload back, and by a berthd that comes after', (t) => {
    const made = table(t);
    const at = port();
    const narrow = one('x', inet('127.0.0.1', at));
    made.apply([narrow], none, idle);
    const before = inodes(made, 'x');
    serve(t, 'stream', inet('127.0.0.2', at));
    made.apply([wide(at)], none, idle);

    const next = table(t);
    next.restore({
      pages: [],
      stored: made
        .stored()
        .map((stored) => ({ ...stored, fds: stored.fds.map((fd) => native.duplicate(fd)) })),
    });
    assert.deepEqual(inodesOf(next.standIns), before);
    for (const each of [made, next]) {
      each.apply([narrow], none, idle);
      assert.deepEqual([inodes(each, 'x'), each.standIns], [before, []]);
    }
  });

  it('stays when its own reservation has gone for good, and goes with what it stood in for', (t) => {
    const made = table(t);
    const at = port();
    const old = inet('127.0.0.1', at);
    made.apply([one('gone', old)], none, idle);
    serve(t, 'stream', inet('127.0.0.2', at));
    made.apply([wide(at)], none, idle);
    assert.deepEqual(made.socketsOf('gone').map(({ fd }) => fd).length, 1);
    assert.deepEqual(steal('stream', old), []);
    made.apply([], none, idle);
    assert.deepEqual(made.standIns, []);
    assert.notDeepEqual(steal('stream', old), []);
  });

  it('is one of several, of which each stays as long as it is needed', (t) => {
    const made = table(t);
    const at = port();
    const hosts = ['127.0.0.1', '127.0.0.3'].map((host) => inet(host, at));
    made.apply(
      hosts.map((address, index) => one(`old${index}`, address)),
      none,
      idle,
    );
    const blocker = table(t);
    blocker.apply([one('b', inet('127.0.0.2', at))], none, idle);
    made.apply([wide(at)], none, idle);
    assert.match(made.get('x')?.slots[0]?.error ?? '', /127\.0\.0\.1:\d+' and 1 more of before are held/);
    for (const address of hosts) assert.deepEqual(steal('stream', address), []);
    blocker.apply([], none, idle);
    made.hold();
    assert.deepEqual(made.standIns, []);
    for (const address of hosts) assert.deepEqual(steal('stream', address), []);
  });

  it('stands in for several, until the last one of them is bound', (t) => {
    const made = table(t);
    const at = port();
    made.apply([wide(at)], none, idle);
    const before = inodes(made, 'x');
    const parts = ['127.0.0.1', '192.0.2.77'].map((host) => spec('stream', inet(host, at)));
    made.apply([reservation('x', parts)], none, idle);
    assert.deepEqual(
      made.get('x')?.slots.map(({ socket }) => socket !== undefined),
      [true, false],
    );
    assert.deepEqual(inodesOf(made.standIns), before);
    assert.deepEqual(steal('stream', inet('127.0.0.9', at)), []);
    made.apply([reservation('x', parts.slice(0, 1))], none, idle);
    assert.deepEqual(made.standIns, []);
  });

  it('is not needed for another address of the port', (t) => {
    const made = table(t);
    const at = port();
    made.apply([one('x', inet('127.0.0.1', at))], none, idle);
    made.apply([one('x', inet('192.0.2.77', at))], none, idle);
    assert.deepEqual(made.standIns, []);
  });

  it('is beside more sockets than a message could carry', (t) => {
    const made = table(t);
    const at = port();
    const hosts = Array.from({ length: 300 }, (_, index) =>
      inet(`127.0.${1 + Math.floor(index / 200)}.${1 + (index % 200)}`, at),
    );
    const old = reservation(
      'x',
      hosts.map((address) => spec('stream', address)),
    );
    made.apply([old], none, idle);
    const server = serve(t, 'stream', inet('127.0.0.2', at));
    made.apply([wide(at)], none, idle);
    assert.equal(made.standIns.length, 300);
    assert.deepEqual(steal('stream', hosts[299] ?? inet('', 0)), []);
    native.shutdownRead(server);
    made.apply([old], none, idle);
    assert.deepEqual(made.standIns, []);

    const free = table(t);
    const elsewhere = port();
    free.apply(
      [
        reservation(
          'y',
          hosts.map(({ host }) => spec('stream', inet(host, elsewhere))),
        ),
      ],
      none,
      idle,
    );
    free.apply([one('y', { family: 'any', port: elsewhere })], none, idle);
    assert.deepEqual([free.get('y')?.slots[0]?.error, free.standIns], [undefined, []]);
  });

  it('keeps a device that is not there from freeing an address', (t) => {
    const made = table(t);
    const old = inet(randomLoopback(), port());
    made.apply([one('x', old)], none, idle);
    const options = { ...defaultOptions, bindToDevice: 'berth-none' };
    made.apply([one('x', old, { options })], none, idle);
    assert.match(made.get('x')?.slots[0]?.error ?? '', /ENODEV/);
    assert.deepEqual(steal('stream', old), []);
  });

  it('has its path until a socket of another type has it', (t) => {
    const made = table(t);
    const path = `${scratch(t)}/socket`;
    const of = (type: 'stream' | 'datagram', changes: Partial<SocketOptions> = {}) =>
      reservation('x', [spec(type, { family: 'unix', path })], {
        options: { ...defaultOptions, removeOnStop: true, ...changes },
      });
    made.apply([of('stream')], none, idle);
    made.get('x')?.slots[0]?.socket?.handOver();
    made.apply([of('datagram', { socketUser: 'berth-nobody-has-this-name' })], none, idle);
    assert.match(made.get('x')?.slots[0]?.error ?? '', /there is no user/);
    connect(t, 'stream', { family: 'unix', path });
    made.apply([of('datagram')], none, idle);
    assert.deepEqual([made.get('x')?.slots[0]?.error, made.standIns], [undefined, []]);
    connect(t, 'datagram', { family: 'unix', path });
  });
});

function inodesOf(standIns: Table['standIns']): number[] {
  return standIns.map(({ socket }) => socket.inode);
}
