import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Berthd, programs } from '../support/berthd.js';
import { scratch } from '../support/files.js';
import { Child, root, run, until, type Exit } from '../support/processes.js';
import { requires, requiresRoot } from '../support/requirements.js';
import { connect, freePort, outcome, serve as serveAt, type Kind } from '../support/sockets.js';

const cases = `${root}build/bin/path-cases`;
const binder = `${root}build/bin/path-binder`;
const keys = {
  stream: 'ListenStream',
  datagram: 'ListenDatagram',
  seqpacket: 'ListenSequentialPacket',
} as const;

function file(kind: Kind, path: string, more = ''): string {
  return `[Socket]\n${keys[kind]}=${path}\n${more}[Reservation]\nHandoff=bind\n`;
}

async function berthd(
  t: TestContext,
  kind: Kind = 'stream',
  more = '',
): Promise<{ daemon: Berthd; path: string }> {
  const path = join(scratch(t), 'place', 'socket');
  return { daemon: await Berthd.start(t, { app: file(kind, path, more) }), path };
}

function line(daemon: Berthd, command: readonly string[], names = ['app']): string[] {
  return ['--control', daemon.control, '--bind', ...names, '--', ...command];
}

function claim(t: TestContext, daemon: Berthd, command: readonly string[], names = ['app']): Promise<Exit> {
  return run(t, programs.claim, line(daemon, command, names));
}

async function start(t: TestContext, daemon: Berthd, command: readonly string[]): Promise<Child> {
  const child = new Child(t, programs.claim, line(daemon, command));
  await child.prints('out', /listening/);
  return child;
}

const at = (path: string) => ({ family: 'unix', path }) as const;

/** Who answers at a path, by number. */
async function answerer(t: TestContext, path: string): Promise<number> {
  const { out } = await run(t, process.execPath, [
    '-e',
    `require('net').connect(process.argv[1]).on('data', (data) => process.stdout.write(data))`,
    path,
  ]);
  return Number(out);
}

const fileId = (path: string): string => {
  const { dev, ino } = statSync(path);
  return `${dev}:${ino}`;
};

describe('berth-claim --bind with a path', () => {
  it('leaves bind(2) and listen(2) what they are, in every case', async (t) => {
    if (!requiresRoot(t)) return;
    const kinds = (await run(t, cases, ['--kinds'])).out.trim().split('\n') as Kind[];
    const [plain, reserved] = [scratch(t), scratch(t)].map((base) =>
      kinds.map((_, index) => {
        mkdirSync(join(base, String(index)));
        return join(base, String(index), 'socket');
      }),
    );
    assert.ok(plain !== undefined && reserved !== undefined);
    const files = Object.fromEntries(
      (['stream', 'datagram', 'seqpacket'] as const).map((kind) => {
        const paths = reserved.filter((_, index) => kinds[index] === kind);
        return [kind, file(kind, paths.join(`\n${keys[kind]}=`))];
      }),
    );
    const daemon = await Berthd.start(t, files);
    const expected = await run(t, cases, plain);
    const before = daemon.fds().size;
    const { out, err, status } = await claim(t, daemon, [cases, ...reserved], Object.keys(files));
    assert.deepEqual({ err, status }, { err: '', status: 0 });
    assert.deepEqual(out.split('\n'), expected.out.split('\n'));
    assert.ok(kinds.length >= 30);
    for (const name of Object.keys(files)) await daemon.reaches(name, 'held');
    for (const [index, path] of reserved.entries()) {
      assert.equal(
        outcome(() => connect(t, kinds[index] ?? 'stream', at(path))),
        kinds[index] === 'datagram' ? 'ok' : 'ECONNREFUSED',
        path,
      );
      assert.deepEqual(
        readdirSync(dirname(path)).filter((name) => name.includes('berth')),
        [],
      );
    }
    // The journal is kept, and what tells of the end of a look.
    assert.equal(daemon.fds().size, before + 2);
  });

  for (const how of ['keep', 'tidy'] as const)
    it(`has the hold back at the path when the program has ended (${how})`, async (t) => {
      const { daemon, path } = await berthd(t);
      const held = fileId(path);
      for (let round = 0; round < 3; round++) {
        const child = await start(t, daemon, [binder, how, 'stream', path]);
        assert.notEqual(fileId(path), held);
        assert.equal(await answerer(t, path), child.pid);
        child.kill('SIGTERM');
        await daemon.reaches('app', 'held');
        assert.equal(fileId(path), held);
        assert.deepEqual(readdirSync(dirname(path)), ['socket']);
      }
    });

  it('never has the path free, for whoever looks', async (t) => {
    const { daemon, path } = await berthd(t);
    const thief = new Child(t, binder, ['thief', path, '1500']);
    let [rounds, looks] = [0, true];
    void thief.exit.then(() => (looks = false));
    while (looks) {
      const child = await start(t, daemon, [binder, 'keep', 'stream', path]);
      child.kill('SIGKILL');
      await daemon.reaches('app', 'held');
      rounds++;
    }
    await thief.exit;
    assert.match(thief.out, /^\d+ looks, absent 0, stolen 0$/m);
    assert.ok(rounds > 5, String(rounds));
  });

  it('is put back from whoever takes it while the program itself has removed it', async (t) => {
    const { daemon, path } = await berthd(t);
    const held = fileId(path);
    const child = await start(t, daemon, [binder, 'keep', 'stream', path]);
    rmSync(path);
    serveAt(t, 'stream', at(path));
    const stolen = fileId(path);
    const other = await start(t, daemon, [binder, 'keep', 'stream', path]);
    assert.equal(await answerer(t, path), other.pid);
    rmSync(path);
    serveAt(t, 'stream', at(path));
    for (const each of [child, other]) each.kill('SIGKILL');
    await daemon.reaches('app', 'held');
    assert.equal(fileId(path), held);
    assert.notEqual(stolen, held);
  });

  it('binds another socket where the directory has gone', async (t) => {
    const { daemon, path } = await berthd(t);
    const child = await start(t, daemon, [binder, 'keep', 'stream', path]);
    rmSync(dirname(path), { recursive: true });
    child.kill('SIGKILL');
    await daemon.reaches('app', 'held');
    assert.equal(
      outcome(() => connect(t, 'stream', at(path))),
      'ECONNREFUSED',
    );
    await start(t, daemon, [binder, 'keep', 'stream', path]);
  });

  it('gives the file the owner and mode of the reservation, to a program that may not write there', async (t) => {
    if (!requiresRoot(t)) return;
    const more = 'SocketUser=nobody\nSocketGroup=7\nSocketMode=0640\nDirectoryMode=0755\n';
    const { daemon, path } = await berthd(t, 'stream', more);
    chmodSync(join(path, '../..'), 0o755);
    const held = fileId(path);
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    // Its unlink(2) is refused, and it goes on as most do.
    await start(t, daemon, [...nobody, binder, 'serve', 'stream', path]);
    assert.notEqual(fileId(path), held);
    const { mode, uid, gid } = statSync(path);
    assert.deepEqual([mode & 0o7777, uid, gid], [0o640, 65534, 7]);
    const plain = await run(t, nobody[0] ?? '', [...nobody.slice(1), binder, 'try', 'stream', `${path}2`]);
    assert.equal(plain.out, 'EACCES\n');
  });

  it('is for the reserved type and directory only', async (t) => {
    const { daemon, path } = await berthd(t);
    const elsewhere = join(scratch(t), 'socket');
    const held = fileId(path);
    const tried = async (...tries: string[]) => (await claim(t, daemon, [binder, 'try', ...tries])).out;
    assert.equal(await tried('datagram', path), 'EADDRINUSE\n');
    assert.equal(await tried('stream', elsewhere), `ok ${elsewhere}\n`);
    assert.ok(existsSync(elsewhere));
    assert.equal(fileId(path), held);
    assert.equal((await run(t, binder, ['try', 'stream', path])).out, 'EADDRINUSE\n');
  });

  it('leaves what is no socket at the path', async (t) => {
    const { daemon, path } = await berthd(t);
    rmSync(path);
    writeFileSync(path, 'precious');
    assert.equal((await claim(t, daemon, [binder, 'try', 'stream', path])).out, 'EADDRINUSE\n');
    await daemon.logs(/is no socket any more/);
    assert.ok(lstatSync(path).isFile());
  });

  it('serves another network namespace, which a path does not know, and no other view of the directories', async (t) => {
    if (!requiresRoot(t)) return;
    const { daemon, path } = await berthd(t);
    const claims = [programs.claim, ...line(daemon, [binder, 'try', 'stream', path])];
    assert.equal((await run(t, 'unshare', ['--net', ...claims])).out, `ok ${path}\n`);
    await daemon.reaches('app', 'held');
    const held = fileId(path);
    const inner = (mount: string) =>
      claim(t, daemon, ['unshare', '-m', 'sh', '-c', `${mount} && exec ${binder} try stream ${path}`]);
    assert.equal((await inner(`mount -t tmpfs none ${dirname(path)}`)).out, `ok ${path}\n`);
    assert.equal(fileId(path), held);
    const readOnly = `mount --bind ${dirname(path)} ${dirname(path)} && mount -o remount,bind,ro ${dirname(path)}`;
    assert.match((await inner(readOnly)).out, /^(EROFS|EADDRINUSE)\n$/);
    await daemon.reaches('app', 'held');
    assert.equal(fileId(path), held);
  });

  it('waits for no file system that does not answer, and for no second path of such a program', async (t) => {
    if (!requiresRoot(t)) return;
    const { daemon, path } = await berthd(t);
    const [silent, other] = [scratch(t), freePort()];
    daemon.write({ other: `[Socket]\nListenStream=${other}\n[Reservation]\nHandoff=bind\n` });
    assert.equal((await daemon.berth(['reload'])).status, 0);
    const { out } = await claim(t, daemon, [binder, 'hang', silent, path]);
    if (!requires(t, out !== 'no FUSE\n', 'this kernel has no FUSE')) return;
    assert.equal(out, 'EADDRINUSE\n');
    await daemon.logs(/cannot find in time: it gets none any more/);
    assert.equal((await claim(t, daemon, [binder, 'try', 'stream', path])).out, `ok ${path}\n`);
    const ports = await claim(t, daemon, [`${root}build/bin/binder`, 'try', String(other)], ['other']);
    assert.equal(ports.out, 'ok\n');
  });

  it('leaves nothing behind in berthd', async (t) => {
    const { daemon, path } = await berthd(t);
    await claim(t, daemon, ['true']);
    await daemon.reaches('app', 'held');
    const before = daemon.fds().size;
    for (let i = 0; i < 20; i++) await claim(t, daemon, [binder, 'try', 'stream', path]);
    await until(
      () => daemon.fds().size,
      (now) => now === before,
      'descriptors are left',
    );
    assert.deepEqual(readdirSync(dirname(path)), ['socket']);
  });
});
