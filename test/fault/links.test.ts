import assert from 'node:assert/strict';
import {
  closeSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Berthd, Place, programs } from '../support/berthd.js';
import { inet } from '../support/holds.js';
import { run } from '../support/processes.js';
import { closing, freePort, openSocket, outcome, randomLoopback, steal } from '../support/sockets.js';
import { native } from '../../src/native/index.js';

const address = inet(randomLoopback(), freePort());
const app = `[Socket]\nListenStream=${address.host}:${address.port}\n[Reservation]\nHandoff=exec\n`;

describe('links and other things in the directory of reservations', () => {
  it('are each a mistake of its own, which holds nothing up, and no other file is touched', async (t) => {
    const place = new Place(t, { app });
    const secret = join(place.directory, 'secret');
    writeFileSync(secret, 'root:secret\n', { mode: 0o600 });
    const at = (name: string) => join(place.config, name);
    const links = { circle: at('circle.conf'), zero: '/dev/zero', full: '/dev/full', nowhere: '/nowhere', directory: '/', secret, process: '/proc/self/mem' }; // prettier-ignore
    for (const [name, target] of Object.entries(links)) symlinkSync(target, at(`${name}.conf`));
    await run(t, 'mkfifo', [at('fifo.conf')]);
    native.bind(closing(t, openSocket('stream', 'unix')), { family: 'unix', path: at('socket.conf') });
    mkdirSync(at('folder.conf'));
    symlinkSync(place.config, at('other.conf.d'));
    const daemon = new Berthd(t, {}, {}, place);
    await daemon.logs(/Holding 1 socket of 1 reservation/);
    for (const name of [...Object.keys(links), 'fifo', 'socket', 'folder'])
      assert.match(daemon.child.err, new RegExp(`${name}\\.conf:1: `), name);
    assert.doesNotMatch(daemon.child.err, /root:secret/);
    assert.deepEqual([readFileSync(secret, 'utf8'), statSync(secret).mode & 0o777], ['root:secret\n', 0o600]);
    assert.deepEqual(steal('stream', address), []);
    assert.equal((await daemon.claim('app', ['true'])).status, 0);
  });

  it('in the place of the control socket: it is left alone, and so is what it points to', async (t) => {
    const place = new Place(t, { app });
    const secret = join(place.directory, 'secret');
    writeFileSync(secret, '', { mode: 0o600 });
    symlinkSync(secret, place.control);
    const daemon = new Berthd(t, {}, {}, place);
    const { status, err } = await daemon.child.exit;
    assert.notEqual(status, 0);
    assert.match(err, /control/);
    assert.equal(statSync(secret).mode & 0o777, 0o600);
    assert.ok(lstatSync(place.control).isSymbolicLink());
    assert.equal(readlinkSync(place.control), secret);
    const thief = closing(t, openSocket('stream', 'inet'));
    assert.equal(outcome(() => { native.bind(thief, address); }), 'ok', 'nothing is held by a berthd that has ended'); // prettier-ignore
  });
});

/** What can lie in the place of a socket, in a directory where `secret` is; made by a shell in that directory. */
const inTheWay = {
  'a link to a file': 'ln -s secret socket',
  'a link to nothing': 'ln -s nothing socket',
  'a link in a circle': 'ln -s socket socket',
  'a link to a directory': 'mkdir folder && ln -s folder socket',
  'a link to a socket that nobody serves': 'mv stale elsewhere && ln -s elsewhere socket',
  'a file': 'cp secret socket',
  'a directory': 'mkdir socket',
  'a FIFO': 'mkfifo socket',
  'a device': 'ln -s /dev/zero socket',
};

/** Name, kind, mode and what it says, of everything in a directory. */
function picture(directory: string): string[] {
  return readdirSync(directory)
    .sort()
    .map((name) => {
      const file = lstatSync(join(directory, name));
      const says = file.isSymbolicLink()
        ? readlinkSync(join(directory, name))
        : file.isFile()
          ? readFileSync(join(directory, name), 'utf8')
          : '';
      return `${name} ${file.mode.toString(8)} ${file.uid} ${file.ino} ${says}`;
    });
}

for (const [option, where] of [
  ['--portreserve-socket', 'the place of the socket of portreserve'],
  ['--control', 'the place of the control socket'],
] as const)
  describe(`in ${where}`, () => {
    for (const [what, make] of Object.entries(inTheWay))
      it(`${what} is left alone, and so is what it leads to`, async (t) => {
        const place = new Place(t, { app });
        const directory = join(place.directory, 'run');
        mkdirSync(directory);
        writeFileSync(join(directory, 'secret'), 'root:secret\n', { mode: 0o600 });
        const stale = openSocket('datagram', 'unix');
        native.bind(stale, { family: 'unix', path: join(directory, 'stale') });
        closeSync(stale);
        assert.equal((await run(t, 'sh', ['-c', make], { cwd: directory })).status, 0);
        const before = picture(directory);
        const socket = join(directory, 'socket');
        const daemon = new Berthd(t, {}, { args: [option, socket] }, place);
        const { status, err } = await daemon.child.exit;
        assert.notEqual(status, 0);
        assert.ok(err.includes(socket), err);
        assert.match(err, /: what is there is no socket \(EADDRINUSE\)\n$/);
        assert.deepEqual(picture(directory), before);
        const thief = closing(t, openSocket('stream', 'inet'));
        assert.equal(outcome(() => { native.bind(thief, address); }), 'ok'); // prettier-ignore
      });

    it('a socket that somebody serves stays, one that nobody serves goes', async (t) => {
      const place = new Place(t, { app });
      const socket = join(place.directory, 'socket');
      const type = option === '--control' ? 'stream' : 'datagram';
      const other = openSocket(type, 'unix');
      native.bind(other, { family: 'unix', path: socket });
      if (type === 'stream') native.listen(other, 8);
      const inode = statSync(socket).ino;
      const refused = new Berthd(t, {}, { args: [option, socket] }, place);
      assert.notEqual((await refused.child.exit).status, 0);
      assert.equal(statSync(socket).ino, inode);
      closeSync(other);
      const daemon = new Berthd(t, {}, { args: [option, socket] }, place);
      await daemon.logs(/Holding 1 socket of 1 reservation/);
      const client = closing(t, openSocket(type, 'unix'));
      const said = outcome(() => {
        native.connect(client, { family: 'unix', path: socket });
      });
      assert.equal(said, type === 'stream' ? 'EPROTOTYPE' : 'ok');
    });
  });

describe('the environment of berth-claim', () => {
  it('decides nothing: not which descriptors there are, nor what they are called', async (t) => {
    const daemon = await Berthd.start(t, { app });
    const show = 'echo "$LISTEN_FDS $LISTEN_FDNAMES $BERTH_FD_app"; readlink /proc/self/fd/3';
    const { sockets } = await daemon.status('app');
    const names = 'x:'.repeat(30_000);
    const forged: readonly Record<string, string>[] = [
      { LISTEN_PID: '1', LISTEN_FDS: '1', LISTEN_FDNAMES: 'other' },
      { LISTEN_PID: '-1', LISTEN_FDS: '-1', LISTEN_FDNAMES: names },
      { LISTEN_PID: '99999999999999999999', LISTEN_FDS: '4294967297' },
      {
        LISTEN_PIDFDID: '1',
        BERTH_FD_app: '9',
        SERVICE_RESULT: 'x',
        NOTIFY_SOCKET: '@x',
        LISTEN_FDS: '\u001b[2J',
      },
    ];
    for (const env of forged) {
      const { status, out, err } = await daemon.claim('app', ['sh', '-c', show], { env });
      assert.deepEqual([status, err, out], [0, '', `1 app 3\nsocket:[${sockets[0]?.inode ?? 0}]\n`]);
    }
    // The number is its own, but there are no such descriptors.
    for (const count of ['5', '1000000', '2147483647', '-3', 'x']) {
      const line = `exec 3>&- 4>&-; export LISTEN_PID=$$ LISTEN_FDS=${count} LISTEN_FDNAMES=a:b; exec "$0" --control "$1" app -- sh -c 'echo $LISTEN_FDS $LISTEN_FDNAMES'`;
      const { status, out, err } = await run(t, 'sh', ['-c', line, programs.claim, daemon.control]);
      assert.ok(
        status === 125 ? out === '' && err !== '' : out.endsWith('app\n'),
        `${count}: ${status} ${out}${err}`,
      );
    }
    await daemon.reaches('app', 'held');
  });
});
