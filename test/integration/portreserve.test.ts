import assert from 'node:assert/strict';
import { chmodSync, closeSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { constant, native } from '../../src/native/index.js';
import { Berthd, programs, type Files } from '../support/berthd.js';
import { scratch } from '../support/files.js';
import { inet, inet6 } from '../support/holds.js';
import { Child, run, until, type Exit } from '../support/processes.js';
import { requiresRoot } from '../support/requirements.js';
import { freePort, serve, steal } from '../support/sockets.js';
import { refusal } from '../support/talk.js';

interface Legacy {
  readonly daemon: Berthd;
  /** portreserve's files. */
  readonly directory: string;
  /** portreserve's socket. */
  readonly socket: string;
  readonly portrelease: (...names: string[]) => Promise<Exit>;
}

/** A berthd with portreserve's files and socket, and our portrelease. */
async function legacy(t: TestContext, files: Files, own: Files = {}): Promise<Legacy> {
  const place = scratch(t);
  const directory = join(place, 'portreserve');
  const socket = join(place, 'socket');
  const program = join(place, 'portrelease');
  mkdirSync(directory);
  symlinkSync(programs.claim, program);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  const args = ['--portreserve-dir', directory, '--portreserve-socket', socket];
  const daemon = await Berthd.start(t, own, { args });
  const portrelease = (...names: string[]) => run(t, program, ['--control', daemon.control, ...names]);
  return { daemon, directory, socket, portrelease };
}

/** Whether nobody can have a port, of either protocol and family; `free` when anybody can. */
function hold(port: number): 'held' | 'free' | 'in part' {
  const stolen = (['stream', 'datagram'] as const).map((kind) =>
    [inet('127.0.0.1', port), inet6('::', port)].filter((address) => steal(kind, address).length > 0),
  );
  const count = stolen.flat().length;
  return count === 0 ? 'held' : count === 4 ? 'free' : 'in part';
}

/** What portreserve's own portrelease does, to the letter: connect(2), send(2) of the bare name, close(2). */
function sendName(socket: string, name: string | Buffer): void {
  const fd = native.socket(constant('AF_UNIX'), constant('SOCK_DGRAM'), 0);
  try {
    native.connect(fd, { family: 'unix', path: socket });
    native.sendWaiting(fd, Buffer.from(name), []);
  } finally {
    closeSync(fd);
  }
}

describe('portrelease', () => {
  it('frees the ports of one reservation, which are taken back when the files are read again', async (t) => {
    const [port, other] = [freePort(), freePort()];
    const { daemon, portrelease } = await legacy(t, { app: `${port}\n`, other: `${other}\n` });
    assert.deepEqual([hold(port), hold(other)], ['held', 'held']);
    const fds = daemon.fds().size;
    assert.deepEqual(await portrelease('app'), { status: 0, signal: null, out: '', err: '' });
    assert.deepEqual([hold(port), hold(other)], ['free', 'held']);
    const { state, sockets, since } = await daemon.status('app');
    assert.deepEqual(
      [state, ...sockets.map((socket) => [socket.socket, socket.state])],
      ['released', [`tcp *:${port}`, 'released'], [`udp *:${port}`, 'released']],
    );
    assert.ok(Math.abs(since - Date.now()) < 60_000);
    await daemon.logs(new RegExp(`app: released tcp \\*:${port}, udp \\*:${port}, free for anybody until`));
    const { status, out, err } = await daemon.berth(['reload']);
    assert.deepEqual([status, err], [0, ''], out);
    assert.equal(hold(port), 'held');
    assert.equal((await daemon.status('app')).state, 'held');
    assert.equal(daemon.fds().size, fds);
  });

  it('frees all for an asterisk, but what is handed over in another mode', async (t) => {
    const [one, two, kept] = [freePort(), freePort(), freePort()];
    const { daemon, portrelease } = await legacy(
      t,
      { one: `${one}/tcp\n${one}/udp`, two: `${two}` },
      { kept: `[Socket]\nListenStream=${kept}\nListenDatagram=${kept}\n` },
    );
    assert.deepEqual(await portrelease('*'), { status: 0, signal: null, out: '', err: '' });
    assert.deepEqual([hold(one), hold(two), hold(kept)], ['free', 'free', 'held']);
    const states = (await daemon.list()).map(({ name, state }) => [name, state]);
    assert.deepEqual(states, [
      ['kept', 'held'],
      ['one', 'released'],
      ['two', 'released'],
    ]);
  });

  it('ends with 0 for a best effort, and says what was not done', async (t) => {
    const port = freePort();
    const { portrelease } = await legacy(t, {}, { kept: `[Socket]\nListenStream=${port}\n` });
    for (const [names, message] of [
      [['no-such'], /^portrelease: there is no reservation 'no-such'\n$/],
      [['kept'], /^portrelease: 'kept' has Handoff=store: berthd does not let go of its sockets\n$/],
      [['a b'], /^portrelease: there is no such reservation: .*\n$/],
      [[], /^$/],
    ] as const) {
      const { status, out, err } = await portrelease(...names);
      assert.deepEqual([status, out], [0, '']);
      assert.match(err, message);
    }
  });

  it('ends with 0 where no berthd is, and with 1 where it cannot be talked to', async (t) => {
    const place = scratch(t);
    const program = join(place, 'portrelease');
    symlinkSync(programs.claim, program);
    const nobody = await run(t, program, ['--control', join(place, 'none'), 'app']);
    assert.deepEqual(nobody, { status: 0, signal: null, out: '', err: '' });
    writeFileSync(join(place, 'file'), '');
    serve(t, 'stream', { family: 'unix', path: join(place, 'stream') });
    const { status, err } = await run(t, program, ['--control', join(place, 'stream'), 'app']);
    assert.equal(status, 1);
    assert.match(err, /^portrelease: .*stream: .*\n$/);
  });
});

describe('Release', () => {
  it('takes names and nothing else, and releases those that it can', async (t) => {
    const port = freePort();
    const { daemon } = await legacy(t, { app: `${port}\n` });
    const ask = (parameters: object) =>
      refusal(daemon.control, JSON.stringify({ method: 'Release', parameters }));
    for (const parameters of [{}, { names: 'app' }, { names: [1] }, { names: { 0: 'app' } }, { names: null }])
      assert.equal(await ask(parameters), 'BadMessage: the names are not a list of strings');
    assert.equal(hold(port), 'held');
    const many = Array.from({ length: 5000 }, (_, index) => `no-${index}`);
    const told = await ask({ names: ['app', ...many] });
    assert.match(told, /^NotFound: there is no reservation 'no-0'; there is no reservation 'no-1'; /);
    assert.ok(told.length < 1000);
    assert.equal(hold(port), 'free');
  });
});

describe('berth release', () => {
  it('does the same, with exit statuses of its own', async (t) => {
    const port = freePort();
    const { daemon } = await legacy(
      t,
      { app: `${port}\n` },
      { kept: `[Socket]\nListenStream=127.0.0.1:${freePort()}\n` },
    );
    const { status, out } = await daemon.berth(['release', 'app']);
    assert.deepEqual([status, out], [0, 'released 1 reservation\n']);
    assert.equal(hold(port), 'free');
    assert.match((await daemon.berth([])).out, /release +released/);
    assert.equal((await daemon.berth(['release', 'no-such'])).status, 3);
    assert.equal((await daemon.berth(['release', 'kept'])).status, 1);
  });
});

describe('berth-claim, with Handoff=release', () => {
  it('runs a command that binds the port itself, and has it back when that ends', async (t) => {
    const port = freePort();
    const { daemon } = await legacy(t, { app: `${port}\n` });
    const script = `require('node:net').createServer().listen(${port}, () => console.log('up', process.env.LISTEN_FDS))`;
    const server = daemon.serve('app', [process.execPath, '-e', script]);
    await server.prints('out', /up undefined/);
    const { state, claimants } = await daemon.status('app');
    assert.deepEqual([state, claimants.map(({ pid }) => pid)], ['released', [server.pid]]);
    // A reload in between is no end: nothing is bound beside it, and nothing complained of.
    const before = daemon.logged;
    assert.equal((await daemon.berth(['reload'])).status, 0);
    assert.equal((await daemon.status('app')).state, 'released');
    server.kill('SIGKILL');
    await daemon.reaches('app', 'held');
    assert.equal(hold(port), 'held');
    assert.doesNotMatch(daemon.child.err.slice(before), /cannot/);
  });

  it('frees a path, too, and has it back', async (t) => {
    const path = join(scratch(t), 'socket');
    const { daemon } = await legacy(
      t,
      {},
      { app: `[Socket]\nListenStream=${path}\n[Reservation]\nHandoff=release\n` },
    );
    for (let round = 0; round < 2; round++) {
      const script = `require('node:net').createServer().listen('${path}', () => console.log('up'))`;
      const server = daemon.serve('app', [process.execPath, '-e', script]);
      await server.prints('out', /up/);
      assert.equal((await daemon.status('app')).state, 'released');
      server.kill('SIGKILL');
      const { sockets } = await daemon.reaches('app', 'held');
      assert.equal(sockets[0]?.state, 'held');
      assert.ok(existsSync(path));
    }
  });

  it('takes the port back as soon as whoever has it then is gone', async (t) => {
    const port = freePort();
    const { daemon } = await legacy(t, { app: `${port}/tcp\n` });
    const claim = daemon.serve('app', ['sh', '-c', 'echo up; read line']);
    await claim.prints('out', /up/);
    const script = `require('node:net').createServer().listen(${port}, () => console.log('up'))`;
    const other = new Child(t, process.execPath, ['-e', script]);
    await other.prints('out', /up/);
    claim.kill('SIGKILL');
    const { sockets } = await daemon.reaches('app', 'failed');
    assert.match(sockets[0]?.error ?? '', new RegExp(`EADDRINUSE, held by pid ${other.pid} `));
    other.kill('SIGKILL');
    await daemon.reaches('app', 'held');
    await daemon.logs(/No longer so: app: cannot bind/);
    assert.equal(
      daemon.child.err.match(/^.*app: cannot bind/gm)?.filter((line) => !line.includes('No longer')).length,
      1,
    );
  });
});

describe('files that name the same port', () => {
  it('share a socket: either one frees it, and it is back when neither is in use', async (t) => {
    const [common, own] = [freePort(), freePort()];
    const { daemon } = await legacy(t, { a: `${common}\n`, b: `${common}/tcp\n${own}\n` });
    const inodes = async (name: string) => (await daemon.status(name)).sockets.map(({ inode }) => inode);
    assert.equal((await inodes('a'))[0], (await inodes('b'))[0]);
    const wait = ['sh', '-c', 'echo up; read line'];
    const a = daemon.serve('a', wait);
    await a.prints('out', /up/);
    assert.deepEqual([hold(common), hold(own)], ['free', 'held']);
    assert.deepEqual(
      (await daemon.list()).map(({ state }) => state),
      ['released', 'released'],
    );
    const b = daemon.serve('b', wait);
    await b.prints('out', /up/);
    assert.equal(hold(own), 'free');
    a.kill('SIGKILL');
    await until(
      () => daemon.status('a'),
      ({ claimants }) => claimants.length === 0,
      "'a' is still claimed",
    );
    assert.deepEqual([hold(own)], ['free']);
    assert.equal((await daemon.status('b')).state, 'released');
    b.kill('SIGKILL');
    await daemon.reaches('b', 'held');
    await daemon.reaches('a', 'held');
    assert.deepEqual([hold(common), hold(own)], ['held', 'held']);
    assert.equal((await inodes('a'))[0], (await inodes('b'))[0]);
  });

  it('may not name one that a file of berth has', async (t) => {
    const port = freePort();
    const { daemon, directory } = await legacy(
      t,
      { a: `${port}/tcp\n` },
      { own: `[Socket]\nListenStream=${port}\n` },
    );
    const from = join(directory, 'a');
    const reserved = join(daemon.config, 'own.conf');
    await daemon.logs(
      new RegExp(`${from}:1: tcp \\*:${port} is reserved already by 'own' \\(${reserved}:2\\)`),
    );
    assert.deepEqual(
      (await daemon.list()).map(({ name }) => name),
      ['own'],
    );
  });
});

describe("portreserve's socket", () => {
  it('takes the bare name of a service, or an asterisk', async (t) => {
    const [one, two] = [freePort(), freePort()];
    const { daemon, socket } = await legacy(t, { one: `${one}\n`, two: `${two}\n` });
    sendName(socket, 'one');
    await daemon.reaches('one', 'released');
    assert.deepEqual([hold(one), hold(two)], ['free', 'held']);
    sendName(socket, '*');
    await daemon.reaches('two', 'released');
    assert.equal(hold(two), 'free');
  });

  it('ignores rubbish, and says so once', async (t) => {
    const port = freePort();
    const { daemon, socket } = await legacy(t, { app: `${port}\n` });
    const fds = daemon.fds().size;
    const rubbish = [
      '',
      '\0',
      'app\n',
      'app\0',
      ' app',
      '../app',
      '{"method":"Release"}',
      'x'.repeat(100_000),
    ];
    for (let round = 0; round < 50; round++) for (const each of rubbish) sendName(socket, each);
    for (let round = 0; round < 50; round++) sendName(socket, `unknown-${round}`);
    const pair = native.socketpair(constant('SOCK_STREAM'));
    const fd = native.socket(constant('AF_UNIX'), constant('SOCK_DGRAM'), 0);
    native.connect(fd, { family: 'unix', path: socket });
    native.sendWaiting(fd, Buffer.from('no-such'), pair);
    [...pair, fd].forEach(closeSync);
    assert.equal(hold(port), 'held');
    sendName(socket, 'app');
    await daemon.reaches('app', 'released');
    await until(
      () => daemon.fds().size,
      (now) => now <= fds,
      `more descriptors than ${fds}`,
    );
    assert.equal(daemon.child.err.match(/portreserve's socket: /g)?.length, 1);
    assert.match(daemon.child.err, /is no name of a service$/m);
  });

  it('is of no use to another user', async (t) => {
    if (!requiresRoot(t)) return;
    const port = freePort();
    const { daemon, socket } = await legacy(t, { app: `${port}\n` });
    const perl = `socket(S, AF_UNIX, SOCK_DGRAM, 0); chdir "/"; for (1..200) { send(S, "app", 0, pack_sockaddr_un("${socket}")) or die $!; }`;
    chmodSync(join(socket, '..'), 0o755);
    const { status, err } = await run(t, 'perl', ['-MSocket', '-e', perl], { uid: 65534 });
    assert.deepEqual([status, err], [0, '']);
    await daemon.logs(/portreserve's socket: 1 datagram ignored, the last one because .* uid 65534/);
    assert.equal((await daemon.status('app')).state, 'held');
    assert.equal(hold(port), 'held');
    sendName(socket, 'app');
    await daemon.reaches('app', 'released');
  });
});
