import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { Berthd } from '../support/berthd.js';
import { inet } from '../support/holds.js';
import { connect, freePort, guardOf, outcome, randomLoopback, steal } from '../support/sockets.js';

interface App {
  readonly daemon: Berthd;
  readonly host: string;
  readonly port: number;
  /** What a client meets. */
  readonly knock: () => string;
}

async function app(t: TestContext, extra = ''): Promise<App> {
  const host = randomLoopback();
  const port = freePort();
  const daemon = await Berthd.start(t, {
    app: `[Socket]\nListenStream=${host}:${port}\n[Reservation]\nHandoff=exec\n${extra}`,
  });
  return { daemon, host, port, knock: () => outcome(() => connect(t, 'stream', inet(host, port))) };
}

const wait = ['sh', '-c', 'echo up; read line'];

describe('a claimant', () => {
  it('is listed while it lives, and its sockets rest when it ends', async (t) => {
    const { daemon, host, port, knock } = await app(t);
    assert.equal(knock(), 'ECONNREFUSED');
    const fds = daemon.fds().size;
    for (const end of ['itself', 'SIGKILL'] as const) {
      const server = daemon.serve('app', wait);
      await server.prints('out', /up/);
      const { state, claimants, sockets, since } = await daemon.status('app');
      assert.equal(state, 'active');
      assert.deepEqual(
        claimants.map(({ pid, command }) => [pid, command]),
        [[server.pid, 'sh']],
      );
      assert.deepEqual(
        sockets.map((socket) => socket.state),
        ['listening'],
      );
      assert.ok(Math.abs(since - Date.now()) < 60_000);
      assert.equal(knock(), 'ok');
      if (end === 'itself') server.closeInput();
      else server.kill('SIGKILL');
      await server.exit;
      const after = await daemon.reaches('app', 'held');
      assert.deepEqual([after.claimants, after.sockets[0]?.state], [[], 'held']);
      assert.equal(knock(), 'ECONNREFUSED');
      assert.deepEqual(steal('stream', inet(host, port)), []);
    }
    assert.equal(daemon.fds().size, fds + guardOf, 'nothing is left of them');
  });

  it('that goes into the background lives on in its child', async (t) => {
    const { daemon, knock } = await app(t);
    const forking = daemon.serve('app', ['sh', '-c', 'sleep 1000 & echo $!']);
    const child = Number((await forking.prints('out', /^\d+$/m))[0]);
    t.after(() => outcome(() => process.kill(child, 'SIGKILL')));
    await forking.gone;
    await daemon.status('app');
    assert.equal(knock(), 'ok');
    assert.equal((await daemon.status('app')).state, 'active');
    process.kill(child, 'SIGKILL');
    await forking.exit;
    await daemon.reaches('app', 'held');
    assert.equal(knock(), 'ECONNREFUSED');
  });

  it('that closes its sockets but lives on keeps the reservation until its end', async (t) => {
    const { daemon } = await app(t);
    const server = daemon.serve('app', ['sh', '-c', 'exec 3<&-; echo up; read line']);
    await server.prints('out', /up/);
    assert.equal((await daemon.status('app')).state, 'active');
    server.closeInput();
    await daemon.reaches('app', 'held');
  });

  it('is not alone: the sockets rest when the last one has ended', async (t) => {
    const { daemon, knock } = await app(t);
    const one = daemon.serve('app', wait);
    const other = daemon.serve('app', wait);
    await Promise.all([one, other].map((server) => server.prints('out', /up/)));
    const pids = async () =>
      (await daemon.status('app')).claimants.map(({ pid }) => pid).sort((a, b) => a - b);
    assert.deepEqual(
      await pids(),
      [one.pid, other.pid].sort((a, b) => a - b),
    );
    one.closeInput();
    await one.exit;
    assert.equal(knock(), 'ok');
    assert.equal((await daemon.status('app')).state, 'active');
    other.closeInput();
    await other.exit;
    await daemon.reaches('app', 'held');
    assert.equal(knock(), 'ECONNREFUSED');
  });

  it('may start before the last one has ended: no client is ever refused', async (t) => {
    const { daemon, knock } = await app(t);
    let current = daemon.serve('app', wait);
    await current.prints('out', /up/);
    for (let round = 0; round < 10; round++) {
      const next = daemon.serve('app', wait);
      await next.prints('out', /up/);
      current.closeInput();
      await current.exit;
      assert.equal(knock(), 'ok');
      current = next;
    }
  });

  it('whose command could not be run leaves the sockets at rest', async (t) => {
    const { daemon, knock } = await app(t);
    assert.equal((await daemon.claim('app', ['/no/such/command'])).status, 127);
    await daemon.reaches('app', 'held');
    assert.equal(knock(), 'ECONNREFUSED');
  });

  it('comes and goes 100 times with the same socket', async (t) => {
    const { daemon, host, port } = await app(t);
    const { sockets } = await daemon.status('app');
    const before = daemon.fds().size;
    for (let start = 0; start < 100; start++) assert.equal((await daemon.claim('app', ['true'])).status, 0);
    const after = await daemon.reaches('app', 'held');
    assert.equal(after.sockets[0]?.inode, sockets[0]?.inode);
    assert.equal(daemon.fds().size, before + guardOf);
    assert.deepEqual(steal('stream', inet(host, port)), []);
  });
});

describe('WhileStopped=queue', () => {
  it('lets clients wait for the service', async (t) => {
    const { daemon, host, port } = await app(t, 'WhileStopped=queue\n');
    const client = connect(t, 'stream', inet(host, port));
    assert.equal((await daemon.status('app')).sockets[0]?.state, 'listening');
    assert.equal((await daemon.status('app')).state, 'held');
    const server = await daemon.claim('app', [
      process.execPath,
      '-e',
      `const server = require('node:net').createServer((c) => { console.log('served'); c.destroy(); server.close(); });
       server.listen({ fd: 3 });`,
    ]);
    assert.equal(server.out, 'served\n');
    assert.ok(client > 0);
  });
});
