import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Discarded, HasText, native, TooLong } from '../../../src/native/index.js';
import { openFds, scratch } from '../../support/files.js';
import { closing, connect, openSocket, outcome } from '../../support/sockets.js';

const most = 64;

interface Arrived {
  readonly text: string | undefined;
  readonly fd: number;
  readonly bits: number;
}

/** A listening socket, and what comes to it. */
function listen(t: TestContext): { call: () => number; next: () => Arrived } {
  const address = { family: 'unix', path: join(scratch(t), 'socket') } as const;
  const listener = closing(t, openSocket('seqpacket', 'unix'));
  native.bind(listener, address);
  native.listen(listener, 16);
  native.adopt(listener);
  const facts = new Int32Array(2);
  return {
    call: () => connect(t, 'seqpacket', address),
    next: () => {
      const text = native.acceptRequest(listener, facts, most);
      const [fd = -1, bits = -1] = facts;
      return { text, fd, bits };
    },
  };
}

const bytes = (text: string) => Buffer.from(text);

describe('acceptRequest', () => {
  it('gives one connection after the other with what it has sent, and nothing when nobody waits', (t) => {
    const { call, next } = listen(t);
    const before = openFds().size;
    assert.equal(next().text, undefined);
    assert.equal(openFds().size, before);
    native.send(call(), bytes('one'), []);
    native.send(call(), bytes('zwei ü'), []);
    const arrived = [next(), next()];
    for (const { fd } of arrived) closing(t, fd);
    assert.deepEqual(
      arrived.map(({ text, bits }) => [text, bits]),
      [
        ['one', HasText],
        ['zwei ü', HasText],
      ],
    );
    assert.equal(next().text, undefined);
  });

  it('leaves the packet to be received, with its descriptor', (t) => {
    const { call, next } = listen(t);
    const peer = call();
    native.send(peer, bytes('one'), [peer]);
    const before = openFds().size;
    const { fd, text, bits } = next();
    assert.deepEqual([text, bits, openFds().size], ['one', HasText | Discarded, before + 1]);
    const packet = native.receive(closing(t, fd), 1, 0);
    assert.equal(packet?.data.toString(), 'one');
    assert.equal(packet.fds.map((received) => closing(t, received)).length, 1);
  });

  it('gives a connection without a text of a peer that has said nothing, or has gone', (t) => {
    const { call, next } = listen(t);
    call();
    const silent = next();
    closing(t, silent.fd);
    assert.deepEqual([silent.text, silent.bits], ['', 0]);
    const peer = call();
    native.shutdownRead(peer);
    const quiet = next();
    closing(t, quiet.fd);
    assert.deepEqual([quiet.text, quiet.bits], ['', 0]);
  });

  it('says of a packet that is too long only that it is', (t) => {
    const { call, next } = listen(t);
    for (const [size, bits, length] of [
      [most, HasText, most],
      [most + 1, HasText | TooLong, 0],
      [100_000, HasText | TooLong, 0],
    ] as const) {
      native.send(call(), Buffer.alloc(size, 'x'), []);
      const arrived = next();
      closing(t, arrived.fd);
      assert.deepEqual([arrived.text?.length, arrived.bits], [length, bits]);
    }
  });

  it('takes room for no more than it has', (t) => {
    const { next } = listen(t);
    assert.equal(next().text, undefined);
    const facts = new Int32Array(2);
    for (const size of [-1, 64 * 1024 + 1])
      assert.throws(() => native.acceptRequest(0, facts, size), TypeError);
    for (const wrong of [new Int32Array(1), new Float64Array(2), []])
      assert.throws(() => native.acceptRequest(0, wrong as Int32Array, most), TypeError);
    assert.equal(
      outcome(() => native.acceptRequest(-1, facts, most)),
      'EBADF',
    );
  });
});

describe('answerRequest', () => {
  it('sends the answer with its descriptors, and closes without a reset', (t) => {
    const { call, next } = listen(t);
    const peer = call();
    native.send(peer, bytes('ask'), []);
    const { fd } = next();
    assert.equal(native.answerRequest(fd, bytes('answer'), [peer], true, false), true);
    assert.equal(openFds().has(fd), false);
    const packet = native.receive(peer, 1, 0);
    assert.equal(packet?.data.toString(), 'answer');
    packet.fds.forEach(closeSync);
    assert.equal(packet.fds.length, 1);
    assert.equal(native.receive(peer, 0, 0)?.data.length, 0);
  });

  it('leaves a connection open whose peer has to read first, with the request received', (t) => {
    const { call, next } = listen(t);
    const peer = call();
    native.send(peer, bytes('ask'), []);
    const fd = closing(t, next().fd);
    let sent = 0;
    while (native.send(fd, bytes('more'), [])) sent++;
    assert.equal(native.answerRequest(fd, bytes('answer'), [], true, false), false);
    assert.equal(native.receive(fd, 0, 0), undefined);
    for (let left = sent; left > 0; left--) native.receive(peer, 0, 0);
    assert.equal(native.receive(peer, 0, 0), undefined);
  });

  it('says that the peer has gone, and closes nothing', (t) => {
    const { call, next } = listen(t);
    const peer = call();
    native.send(peer, bytes('ask'), []);
    const fd = closing(t, next().fd);
    native.shutdownRead(peer);
    assert.equal(
      outcome(() => native.answerRequest(fd, bytes('answer'), [], true, false)),
      'EPIPE',
    );
    assert.ok(openFds().has(fd));
  });
});

describe('lookFor', () => {
  it('tells at once that there is something to read, and after its time that there is not', (t) => {
    const { call, next } = listen(t);
    const peer = call();
    const fd = closing(t, next().fd);
    const start = performance.now();
    assert.equal(native.lookFor(fd, 2000), false);
    assert.ok(performance.now() - start >= 1.999);
    assert.equal(native.lookFor(fd, 0), false);
    native.send(peer, bytes('ask'), []);
    assert.equal(native.lookFor(fd, 0), true);
    assert.equal(native.lookFor(fd, 2 ** 31 - 1), true);
  });

  it('takes numbers only', () => {
    for (const wrong of ['1', undefined, {}])
      assert.throws(() => native.lookFor(0, wrong as unknown as number), TypeError);
  });
});
