import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Rears } from '../../../src/daemon/rears.js';
import { constant, native } from '../../../src/native/index.js';
import type { BoundAddress } from '../../../src/native/index.js';
import { closing, freePort, openSocket, outcome, serve } from '../../support/sockets.js';

/** A datagram socket that nobody has but its descriptor. */
function bound(address: BoundAddress): number {
  const fd = openSocket('datagram', address.family);
  native.bind(fd, address);
  return fd;
}

describe('Rears', () => {
  it('keeps its sockets bound in the queue, and lets go of them there, too', (t) => {
    const addresses = [1, 2].map((): BoundAddress => ({
      family: 'inet',
      host: '127.0.0.1',
      port: freePort(),
    }));
    const keep = Rears.makeKeep();
    assert.ok(keep !== undefined);
    const before = new Rears(keep);
    for (const address of addresses) before.add(bound(address));
    // As of a berthd that was killed.
    before.fds.forEach(closeSync);
    const after = new Rears(keep);
    const bindable = () =>
      addresses.map(
        (address) =>
          outcome(() => {
            closeSync(bound(address));
          }) === 'ok',
      );
    assert.deepEqual(bindable(), [false, false]);
    after.keepNewest();
    assert.deepEqual(bindable(), [true, false]);
    after.clear();
    assert.deepEqual([after.fds, bindable()], [[], [true, true]]);
    after.close();
    for (const address of addresses) serve(t, 'datagram', address);
  });

  it('still knows of a socket that could not be taken out of the queue', (t) => {
    const address: BoundAddress = { family: 'inet', host: '127.0.0.1', port: freePort() };
    const keep = Rears.makeKeep();
    assert.ok(keep !== undefined);
    const [reader] = keep;
    const rears = new Rears(keep);
    const fd = bound(address);
    rears.add(fd);
    // The reader is elsewhere for a while, and its number another file's.
    const [away, there] = native.socketpair(constant('SOCK_SEQPACKET'));
    closing(t, away);
    closing(t, there);
    native.send(there, Buffer.from('r'), [reader]);
    closeSync(reader);
    assert.equal(openSync('/dev/null', 'r'), reader);
    assert.equal(
      outcome(() => {
        rears.clear();
      }),
      'ENOTSOCK',
    );
    assert.deepEqual(rears.fds, [fd]);
    closeSync(reader);
    assert.deepEqual(native.receive(away, 1, 0)?.fds, [reader]);

    rears.clear();
    assert.deepEqual(rears.fds, []);
    serve(t, 'datagram', address);
    rears.close();
  });
});
