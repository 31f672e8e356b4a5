import assert from 'node:assert/strict';
import { closeSync, fstatSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { native, type BoundAddress } from '../../../src/native/index.js';
import { openFds } from '../../support/files.js';
import { inet, inet6 } from '../../support/holds.js';
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
  receiveText,
  sendText,
  set,
  type Kind,
} from '../../support/sockets.js';
import { startThief, type ThiefAttempt } from '../../support/thief.js';

/** As berthd opens it. */
function opened(t: TestContext, kind: Kind, address: BoundAddress): number {
  const fd = closing(t, openSocket(kind, address.family));
  native.disown(fd);
  return fd;
}

/** Bound as berthd binds: SO_REUSEADDR for the moment of bind(2) only. */
function bound(t: TestContext, kind: Kind, address: BoundAddress): number {
  const fd = opened(t, kind, address);
  if (kind === 'stream') set(fd, 'SO_REUSEADDR', true);
  native.bind(fd, address);
  set(fd, 'SO_REUSEADDR', false);
  return fd;
}

/** What a stranger could see or use of a socket. */
function sharing(fd: number): { uid: number; reuseAddr: number; reusePort: number } {
  return { uid: fstatSync(fd).uid, reuseAddr: get(fd, 'SO_REUSEADDR'), reusePort: get(fd, 'SO_REUSEPORT') };
}

/** As berthd does when the service has stopped. */
function unlisten(fd: number): void {
  set(fd, 'SO_REUSEADDR', false);
  native.outwaitBinds(fd);
  native.shutdownRead(fd);
}

const disguises = [[], ['SO_REUSEADDR'], ['SO_REUSEPORT'], ['SO_REUSEADDR', 'SO_REUSEPORT']];

function inEveryDisguise(kind: Kind, hosts: readonly string[]): ThiefAttempt[] {
  return hosts.flatMap((host) => disguises.map((options) => ({ kind, host, options })));
}

describe('listenHeld', () => {
  it('listens beside connections of the last run, which carry SO_REUSEADDR and are still open', (t) => {
    const address = inet(randomLoopback(), freePort());
    const fd = bound(t, 'stream', address);
    const before = sharing(fd);
    native.listenHeld(fd, 16, -1);
    const client = connect(t, 'stream', address);
    const server = accept(t, fd);
    unlisten(fd);
    assert.equal(
      outcome(() => {
        native.listen(fd, 16);
      }),
      'EADDRINUSE',
      'a plain listen(2) cannot',
    );
    const fds = openFds();
    native.listenHeld(fd, 16, -1);
    assert.deepEqual(openFds(), fds, 'the guard is gone');
    assert.deepEqual(sharing(fd), { ...before, reuseAddr: 1 });
    sendText(client, 'still there');
    assert.equal(receiveText(server), 'still there');
    connect(t, 'stream', address);
    accept(t, fd);
  });

  it('changes nothing but the backlog of a socket that listens', (t) => {
    const address = inet6('::', freePort());
    const fd = bound(t, 'stream', address);
    native.listenHeld(fd, 1, -1);
    connect(t, 'stream', inet(randomLoopback(), address.port));
    native.listenHeld(fd, 64, -1);
    accept(t, fd);
  });

  it('leaves the socket as it was when somebody else listens', (t) => {
    const address = inet(randomLoopback(), freePort());
    const fd = opened(t, 'stream', address);
    set(fd, 'SO_REUSEADDR', true);
    native.bind(fd, address);
    const other = closing(t, openSocket('stream', 'inet'));
    set(other, 'SO_REUSEADDR', true);
    native.bind(other, address);
    native.listen(other, 1);
    set(fd, 'SO_REUSEADDR', false);
    const before = sharing(fd);
    const fds = openFds();
    assert.equal(
      outcome(() => {
        native.listenHeld(fd, 1, -1);
      }),
      'EADDRINUSE',
    );
    assert.deepEqual(sharing(fd), before);
    assert.deepEqual(openFds(), fds);
  });

  it('guards an address that no interface has, and one of IPv6 only', (t) => {
    const fd = closing(t, openSocket('stream', 'inet6'));
    set(fd, 'IPV6_V6ONLY', true, 'IPPROTO_IPV6');
    const address = inet6('::1', freePort());
    native.bind(fd, address);
    for (let round = 0; round < 3; round++) {
      native.listenHeld(fd, 16, -1);
      connect(t, 'stream', address);
      accept(t, fd);
      unlisten(fd);
    }
    native.listenHeld(fd, 16, -1);
    connect(t, 'stream', address);
  });

  it('is not to be had between two starts by any thief, with connections open all the while', async (t) => {
    if (!requiresRoot(t)) return;
    const address = inet6('::', freePort());
    const fd = bound(t, 'stream', address);
    const target = inet(randomLoopback(), address.port);
    native.listenHeld(fd, 64, -1);
    const attempts = inEveryDisguise('stream', ['0.0.0.0', '::', target.host]);
    const thieves = [
      await startThief(t, address.port, attempts),
      await startThief(t, address.port, attempts, 65534),
    ];
    const deadline = Date.now() + 1500;
    let restarts = 0;
    for (; Date.now() < deadline; restarts++) {
      // Ever so often a connection stays, so that later starts meet it.
      if (restarts % 100 === 0) {
        connect(t, 'stream', target);
        accept(t, fd);
      }
      unlisten(fd);
      native.listenHeld(fd, 64, -1);
    }
    for (const thief of thieves) {
      const loot = await thief.stop();
      assert.deepEqual({ binds: loot.binds, listens: loot.listens }, { binds: 0, listens: 0 });
      assert.equal(loot.errors['EADDRINUSE'], loot.attempts);
      assert.ok(loot.attempts > 1000);
    }
    t.diagnostic(`${restarts} restarts`);
  });
});

describe('bindBeside', () => {
  const wide = inet6('::', 0);

  for (const kind of ['stream', 'datagram'] as const) {
    it(`binds a ${kind} socket to part of what is held, and the whole beside its parts`, (t) => {
      const port = freePort();
      const narrow = inet('127.0.0.1', port);
      const all = bound(t, kind, { ...wide, port });
      const part = opened(t, kind, narrow);
      const again = opened(t, kind, wide);
      const three = [all, part, again];
      const before = three.map(sharing);
      const fds = openFds();
      native.bindBeside(part, narrow, [all]);
      native.bindBeside(again, { ...wide, port }, [all, part]);
      assert.deepEqual(three.map(sharing), before);
      assert.deepEqual(openFds(), fds);
    });

    it(`leaves ${kind} sockets to nobody, but for those that are to be shared`, (t) => {
      if (!requiresRoot(t)) return;
      const port = freePort();
      const narrow = inet('127.0.0.1', port);
      const [all, part, shared] = [
        openSocket(kind, 'inet6'),
        openSocket(kind, 'inet'),
        openSocket(kind, 'inet'),
      ];
      for (const fd of [all, part, shared]) closing(t, fd);
      set(shared, 'SO_REUSEPORT', true);
      native.bind(all, { ...wide, port });
      native.bindBeside(part, narrow, [all]);
      native.bindBeside(shared, narrow, [all, part]);
      const uids = [all, part].map((fd) => sharing(fd).uid);
      assert.ok(
        uids.every((uid) => uid >= 0x80000000),
        String(uids),
      );
      assert.deepEqual(sharing(shared), { uid: 0, reuseAddr: 0, reusePort: 1 });
    });

    it(`lets no thief in while ${kind} sockets are replaced by one another`, async (t) => {
      if (!requiresRoot(t)) return;
      const port = freePort();
      const narrow = inet(randomLoopback(), port);
      // The address that both have is never free, whichever of them is there.
      const attempts = inEveryDisguise(kind, ['0.0.0.0', '::', narrow.host]);
      let current = openSocket(kind, 'inet6');
      native.bind(current, { ...wide, port });
      const thieves = [await startThief(t, port, attempts), await startThief(t, port, attempts, 65534)];
      const deadline = Date.now() + 1500;
      let swaps = 0;
      for (; Date.now() < deadline; swaps++) {
        const address = swaps % 2 === 0 ? narrow : { ...wide, port };
        const next = openSocket(kind, address.family);
        native.bindBeside(next, address, [current]);
        closeSync(current);
        current = next;
      }
      closing(t, current);
      for (const thief of thieves) {
        const loot = await thief.stop();
        assert.deepEqual(
          { binds: loot.binds, listens: loot.listens },
          { binds: 0, listens: 0 },
          `of ${swaps}`,
        );
      }
    });
  }

  it('says why not, and leaves the others as they were', (t) => {
    const port = freePort();
    const host = randomLoopback();
    const ours = bound(t, 'stream', inet(host, port));
    const other = bound(t, 'stream', inet(randomLoopback(), port));
    const next = opened(t, 'stream', inet('0.0.0.0', 0));
    const before = [ours, other, next].map(sharing);
    assert.equal(
      outcome(() => {
        native.bindBeside(next, inet('0.0.0.0', port), [ours]);
      }),
      'EADDRINUSE',
      'a socket that is not named stays in the way',
    );
    assert.deepEqual([ours, other, next].map(sharing), before);
  });
});
