import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { isSystemError } from '../../../src/model/errors.js';
import { constant, maxFdsPerMessage, native } from '../../../src/native/index.js';
import { openFds } from '../../support/files.js';
import { requiresRoot } from '../../support/requirements.js';
import { closing, outcome } from '../../support/sockets.js';

function pair(t: TestContext, type = 'SOCK_SEQPACKET'): [number, number] {
  const [one, other] = native.socketpair(constant(type));
  return [closing(t, one), closing(t, other)];
}

const bytes = (text: string) => Buffer.from(text);

describe('send and receive', () => {
  it('pass packets one by one, and say when nothing is there', (t) => {
    const [one, other] = pair(t);
    native.send(one, bytes('first'), []);
    native.send(one, bytes('second'), []);
    const packet = native.receive(other, maxFdsPerMessage, 0);
    assert.deepEqual(packet, { data: bytes('first'), fds: [], truncated: false, discarded: false });
    assert.equal(native.receive(other, maxFdsPerMessage, 0)?.data.toString(), 'second');
    assert.equal(native.receive(other, maxFdsPerMessage, 0), undefined);
  });

  it('give empty data at the end', (t) => {
    const [one, other] = native.socketpair(constant('SOCK_SEQPACKET'));
    closing(t, other);
    closeSync(one);
    assert.equal(native.receive(other, 0, 0)?.data.length, 0);
  });

  it('keep one packet apart from the buffer of the next', (t) => {
    const [one, other] = pair(t);
    native.send(one, bytes('AAAA'), []);
    native.send(one, bytes('BBBB'), []);
    const first = native.receive(other, 0, 0);
    native.receive(other, 0, 0);
    assert.equal(first?.data.toString(), 'AAAA');
  });

  it('pass as many descriptors as a message takes, and no more', (t) => {
    const [one, other] = pair(t);
    const before = openFds().size;
    const fds = Array.from({ length: maxFdsPerMessage }, () => native.duplicate(0));
    native.send(one, bytes('x'), fds);
    const received = native.receive(other, maxFdsPerMessage, 0);
    assert.equal(received?.fds.length, maxFdsPerMessage);
    assert.equal(received.discarded, false);
    assert.equal(new Set([...fds, ...received.fds]).size, 2 * maxFdsPerMessage);
    [...fds, ...received.fds].forEach((fd) => {
      closeSync(fd);
    });
    assert.equal(openFds().size, before);
    const tooMany = Array.from({ length: maxFdsPerMessage + 1 }, () => 0);
    assert.throws(() => native.send(one, bytes('x'), tooMany), TypeError);
    assert.equal(native.receive(other, maxFdsPerMessage, 0), undefined);
  });

  it('leave uninvited descriptors to the kernel, which closes them', (t) => {
    const [one, other] = pair(t);
    const before = openFds().size;
    native.send(one, bytes('x'), [0, 1, 2]);
    const packet = native.receive(other, 0, 0);
    assert.deepEqual(packet, { data: bytes('x'), fds: [], truncated: false, discarded: true });
    assert.equal(openFds().size, before);
  });

  it('peek without taking anything out, with duplicates of the descriptors', (t) => {
    const [one, other] = pair(t);
    native.send(one, bytes('x'), [0]);
    const before = openFds().size;
    const peeked = native.receive(other, maxFdsPerMessage, constant('MSG_PEEK'));
    assert.equal(peeked?.fds.length, 1);
    peeked.fds.forEach((fd) => {
      closeSync(fd);
    });
    assert.equal(openFds().size, before);
    const received = native.receive(other, maxFdsPerMessage, 0);
    assert.equal(received?.fds.length, 1);
    received.fds.forEach((fd) => {
      closeSync(fd);
    });
  });

  it('say that a packet was longer than the buffer', (t) => {
    if (!requiresRoot(t)) return;
    const [one, other] = pair(t);
    native.setOption(one, constant('SOL_SOCKET'), constant('SO_SNDBUFFORCE'), 4 << 20);
    native.send(one, Buffer.alloc(300 * 1024), []);
    const packet = native.receive(other, 0, 0);
    assert.equal(packet?.data.length, 256 * 1024);
    assert.equal(packet.truncated, true);
  });

  it('say when the peer has to read first, and lose nothing', (t) => {
    const [one, other] = pair(t);
    let sent = 0;
    while (native.send(one, Buffer.alloc(1000, sent % 251), [])) sent++;
    assert.ok(sent > 0);
    for (let i = 0; i < sent; i++) assert.equal(native.receive(other, 0, 0)?.data[0], i % 251);
    assert.equal(native.receive(other, 0, 0), undefined);
  });

  it('say why not, without a signal for a peer that has gone', (t) => {
    const [one, other] = native.socketpair(constant('SOCK_SEQPACKET'));
    closing(t, one);
    closeSync(other);
    assert.equal(
      outcome(() => native.send(one, bytes('x'), [])),
      'EPIPE',
    );
    assert.equal(
      outcome(() => native.send(9999, bytes('x'), [])),
      'EBADF',
    );
    assert.equal(
      outcome(() => native.receive(9999, maxFdsPerMessage, 0)),
      'EBADF',
    );
    const [alive] = pair(t);
    assert.equal(
      outcome(() => native.send(alive, bytes('x'), [9999])),
      'EBADF',
    );
    assert.equal(
      outcome(() => native.send(alive, Buffer.alloc(1 << 22), [])),
      'EMSGSIZE',
    );
  });

  it('want a buffer and a list of numbers', (t) => {
    const [one] = pair(t);
    assert.throws(() => native.send(one, 'x' as unknown as Buffer, []), TypeError);
    assert.throws(() => native.send(one, bytes('x'), 7 as unknown as number[]), TypeError);
    assert.throws(() => native.send(one, bytes('x'), ['0' as unknown as number]), TypeError);
  });
});

describe('duplicate and socketpair', () => {
  it('say why not', () => {
    assert.throws(
      () => native.duplicate(9999),
      (error) => isSystemError(error) && error.code === 'EBADF' && error.syscall === 'dup',
    );
    assert.equal(
      outcome(() => native.socketpair(9999)),
      'EINVAL',
    );
  });
});
