import assert from 'node:assert/strict';
import { fchownSync, fstatSync } from 'node:fs';
import { constants } from 'node:os';
import { describe, it, type TestContext } from 'node:test';
import { native } from '../../../src/native/index.js';
import { openFds } from '../../support/files.js';
import { requiresRoot } from '../../support/requirements.js';
import { closing, freePort, get, openSocket, set, sockaddr, type Kind } from '../../support/sockets.js';

/** What a program could see afterwards of its socket's moment beside a held one. */
function traits(fd: number): { uid: number; reusePort: number } {
  return { uid: fstatSync(fd).uid, reusePort: get(fd, 'SO_REUSEPORT') };
}

/** As that of a daemon with a user of its own. */
function programs(t: TestContext, kind: Kind, host: string): number {
  const fd = closing(t, openSocket(kind, host.includes(':') ? 'inet6' : 'inet'));
  fchownSync(fd, 65534, 65534);
  return fd;
}

const mapped = '::ffff:7f00:1';
const places: { host: string; only?: boolean }[] = [
  { host: '0.0.0.0' },
  { host: '127.0.0.1' },
  { host: '::' },
  { host: '::', only: true },
  { host: '::1' },
  { host: mapped },
];

describe('bindFor', () => {
  for (const kind of ['stream', 'datagram'] as const)
    for (const { host, only = false } of places) {
      const where = `${host}${only ? ' alone' : ''}`;
      it(`leaves a ${kind} socket on ${where} as the program made it, whether it is bound or not`, (t) => {
        if (!requiresRoot(t)) return;
        const port = freePort();
        const held = closing(t, openSocket(kind, 'inet6'));
        native.disown(held);
        native.bind(held, { family: 'inet6', host: '::', port });
        const [first, second] = [programs(t, kind, host), programs(t, kind, host)];
        for (const fd of only ? [first, second] : []) set(fd, 'IPV6_V6ONLY', true, 'IPPROTO_IPV6');
        const before = traits(first);
        const fds = openFds();
        const bind = (fd: number, to = host) => native.bindFor(-1, fd, sockaddr(to, port), [held]);
        assert.equal(bind(first), 0);
        assert.deepEqual(traits(first), before, 'bound');
        assert.equal(bind(first), constants.errno.EINVAL);
        assert.deepEqual(traits(first), before, 'bound already');
        const nowhere = host.includes(':') ? '2001:db8::1' : '192.0.2.1';
        assert.equal(bind(second, nowhere), constants.errno.EADDRNOTAVAIL);
        assert.deepEqual(traits(second), before, 'not bound');
        assert.deepEqual(openFds(), fds);
      });
    }
});
