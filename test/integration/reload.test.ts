import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Berthd } from '../support/berthd.js';
import { inet } from '../support/holds.js';
import { requiresRoot } from '../support/requirements.js';
import { connect, freePort, outcome, randomLoopback, steal } from '../support/sockets.js';
import { startThief } from '../support/thief.js';

const stream = (address: string, extra = '') =>
  `[Socket]\nListenStream=${address}\n${extra}[Reservation]\nHandoff=exec\n`;

describe('berth reload', () => {
  it('keeps what stays, adds what is new, and drops what has gone', async (t) => {
    const host = randomLoopback();
    const [kept, gone, fresh] = [freePort(), freePort(), freePort()];
    const daemon = await Berthd.start(t, {
      kept: stream(`${host}:${kept}`),
      gone: stream(`${host}:${gone}`),
    });
    const { sockets } = await daemon.status('kept');
    const server = daemon.serve('kept', ['sh', '-c', 'echo up; read line']);
    await server.prints('out', /up/);
    daemon.write({ kept: stream(`${host}:${kept}`, 'KeepAlive=yes\n'), fresh: stream(`${host}:${fresh}`) });
    daemon.remove('gone');
    const { status, out, err } = await daemon.berth(['reload']);
    assert.deepEqual([status, err], [0, '']);
    assert.match(out, /2 /);
    const after = await daemon.status('kept');
    assert.deepEqual([after.state, after.sockets[0]?.inode], ['active', sockets[0]?.inode]);
    assert.equal(
      outcome(() => connect(t, 'stream', inet(host, kept))),
      'ok',
    );
    assert.deepEqual(steal('stream', inet(host, fresh)), []);
    assert.notDeepEqual(steal('stream', inet(host, gone)), []);
    assert.deepEqual(
      (await daemon.list()).map(({ name }) => name),
      ['fresh', 'kept'],
    );
  });

  it('moves a socket to the new name of its reservation', async (t) => {
    const address = `${randomLoopback()}:${freePort()}`;
    const daemon = await Berthd.start(t, { before: stream(address) });
    const { sockets } = await daemon.status('before');
    daemon.remove('before');
    daemon.write({ after: stream(address) });
    assert.equal((await daemon.berth(['reload'])).status, 0);
    const { sockets: moved } = await daemon.status('after');
    assert.equal(moved[0]?.inode, sockets[0]?.inode);
  });

  it('narrows and widens an address with no gap for a thief', async (t) => {
    if (!requiresRoot(t)) return;
    for (const kind of ['Stream', 'Datagram']) {
      const port = freePort();
      const host = '127.0.0.1';
      const file = (address: string) => `[Socket]\nListen${kind}=${address}\n[Reservation]\nHandoff=exec\n`;
      const daemon = await Berthd.start(t, { app: file(String(port)) });
      const attempts = [[], ['SO_REUSEADDR'], ['SO_REUSEPORT'], ['SO_REUSEADDR', 'SO_REUSEPORT']].map(
        (options) => ({
          kind: kind === 'Stream' ? ('stream' as const) : ('datagram' as const),
          host,
          options,
        }),
      );
      const thief = await startThief(t, port, attempts);
      const shapes = [`${host}:${port}`, `0.0.0.0:${port}`, `${host}:${port}`, String(port)];
      for (const shape of [...shapes, ...shapes]) {
        daemon.write({ app: file(shape) });
        const from = daemon.logged;
        daemon.child.kill('SIGHUP');
        await daemon.logs(/Reloaded\. Holding 1 socket of 1 reservation\n/, from);
        const { sockets } = await daemon.status('app');
        assert.equal(sockets[0]?.listen, shape);
      }
      const { binds, attempts: tried } = await thief.stop();
      assert.equal(binds, 0, `of ${tried}`);
      assert.ok(tried > 1000);
      await daemon.stop();
    }
  });

  it('keeps a thief out while what shall be held instead cannot be', async (t) => {
    if (!requiresRoot(t)) return;
    for (const kind of ['stream', 'datagram'] as const) {
      const port = freePort();
      const key = kind === 'stream' ? 'ListenStream' : 'ListenDatagram';
      const file = (address: string) => `[Socket]\n${key}=${address}\n[Reservation]\nHandoff=exec\n`;
      const narrow = file(`127.0.0.1:${port}`);
      const daemon = await Berthd.start(t, { app: narrow });
      const before = (await daemon.status('app')).sockets[0]?.inode;
      const blocker = await Berthd.start(t, { other: file(`127.0.0.2:${port}`) });
      const attempts = [[], ['SO_REUSEADDR'], ['SO_REUSEADDR', 'SO_REUSEPORT']].map((options) => ({
        kind,
        host: '127.0.0.1',
        options,
      }));
      const thief = await startThief(t, port, attempts);
      const reload = async (text: string): Promise<number | null> => {
        daemon.write({ app: text });
        return (await daemon.berth(['reload'])).status;
      };
      for (let round = 0; round < 3; round++) {
        assert.equal(await reload(file(`0.0.0.0:${port}`)), 1);
        const [socket] = (await daemon.status('app')).sockets;
        assert.equal(socket?.state, 'failed');
        assert.match(socket.error ?? '', /127\.0\.0\.1:\d+' of before is held until then/);
        assert.equal(await reload(narrow), 0);
        assert.equal((await daemon.status('app')).sockets[0]?.inode, before);
      }
      assert.equal(await reload(file(`0.0.0.0:${port}`)), 1);
      const from = daemon.logged;
      await blocker.stop();
      await daemon.logs(/No longer so: app: cannot bind/, from);
      assert.equal((await daemon.status('app')).sockets[0]?.state, 'held');
      const { binds, attempts: tried } = await thief.stop();
      assert.equal(binds, 0, `of ${tried}`);
      await daemon.stop();
    }
  });

  it('leaves what has a mistake as it was, says so, and takes over the rest', async (t) => {
    const host = randomLoopback();
    const [good, bad, fresh] = [freePort(), freePort(), freePort()];
    const daemon = await Berthd.start(t, { good: stream(`${host}:${good}`), bad: stream(`${host}:${bad}`) });
    const before = await daemon.status('bad');
    daemon.write({ bad: '[Socket]\nListenStream=nonsense\nAccept=yes\n', fresh: stream(`${host}:${fresh}`) });
    const from = daemon.logged;
    const { status, out, err } = await daemon.berth(['reload']);
    assert.equal(status, 78);
    for (const text of [out + err, daemon.child.err.slice(from)]) {
      assert.match(text, /bad\.conf:2: ListenStream: /);
      assert.match(text, /bad\.conf:3: Accept: /);
    }
    assert.equal((await daemon.status('bad')).sockets[0]?.inode, before.sockets[0]?.inode);
    assert.deepEqual(steal('stream', inet(host, bad)), []);
    assert.deepEqual(steal('stream', inet(host, fresh)), []);
    assert.equal((await daemon.claim('bad', ['true'])).status, 0);
  });

  it('says what cannot be held, and exits with 1', async (t) => {
    const host = randomLoopback();
    const port = freePort();
    const daemon = await Berthd.start(t, {});
    const other = await Berthd.start(t, { other: stream(`${host}:${port}`) });
    daemon.write({ mine: stream(`${host}:${port}`) });
    const { status, out, err } = await daemon.berth(['reload']);
    assert.equal(status, 1);
    assert.match(
      out + err,
      new RegExp(`cannot bind 'tcp ${host}:${port}': .*EADDRINUSE, held by pid ${other.pid} `),
    );
  });

  it('is what SIGHUP does, too', async (t) => {
    const address = `${randomLoopback()}:${freePort()}`;
    const daemon = await Berthd.start(t, {});
    daemon.write({ fresh: stream(address) });
    const from = daemon.logged;
    daemon.child.kill('SIGHUP');
    await daemon.logs(/Reloaded\. Holding 1 socket of 1 reservation/, from);
    assert.equal((await daemon.status('fresh')).state, 'held');
  });

  it('survives a folder that is gone, and holds on', async (t) => {
    const address = inet(randomLoopback(), freePort());
    const daemon = await Berthd.start(t, { app: stream(`${address.host}:${address.port}`) });
    const { renameSync } = await import('node:fs');
    renameSync(daemon.config, `${daemon.config}-away`);
    const from = daemon.logged;
    daemon.child.kill('SIGHUP');
    await daemon.logs(/Reloaded/, from);
    renameSync(`${daemon.config}-away`, daemon.config);
    daemon.child.kill('SIGHUP');
    await daemon.logs(/Reloaded\..*\n(.*\n)*.*Reloaded\. Holding 1 socket/, from);
    assert.deepEqual(steal('stream', address), []);
  });

  it('leaks nothing', async (t) => {
    const files = Object.fromEntries(
      Array.from({ length: 20 }, (_, index) => [`r${index}`, stream(`${randomLoopback()}:${freePort()}`)]),
    );
    const daemon = await Berthd.start(t, files);
    const before = daemon.fds().size;
    for (let round = 0; round < 10; round++) {
      daemon.write({ extra: stream(`${randomLoopback()}:${freePort()}`) });
      const from = daemon.logged;
      daemon.child.kill('SIGHUP');
      await daemon.logs(/Reloaded/, from);
    }
    assert.equal(daemon.fds().size, before + 1);
  });
});
