import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { Table } from '../../../src/daemon/table.js';
import type { Address, Reservation } from '../../../src/model/reservation.js';
import { openFds } from '../../support/files.js';
import { defaultOptions, inet, reservation, spec } from '../../support/holds.js';
import { connect, freePort, outcome, randomLoopback, serve, steal } from '../../support/sockets.js';

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
