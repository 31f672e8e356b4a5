import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { HeldSocket } from '../../../src/daemon/held-socket.js';
import type { SocketOptions } from '../../../src/model/reservation.js';
import { native } from '../../../src/native/index.js';
import { openFds, scratch } from '../../support/files.js';
import { hold, request, spec } from '../../support/holds.js';
import { Child, root } from '../../support/processes.js';
import { requiresRoot } from '../../support/requirements.js';
import {
  accept,
  closing,
  connect,
  openSocket,
  outcome,
  receiveText,
  sendText,
  serve,
  type Kind,
} from '../../support/sockets.js';

const kinds: Kind[] = ['stream', 'datagram', 'seqpacket'];
const at = (path: string) => ({ family: 'unix', path }) as const;

function held(
  t: TestContext,
  path: string,
  options: Partial<SocketOptions> = {},
  kind: Kind = 'stream',
): HeldSocket {
  return hold(t, request(spec(kind, at(path)), options));
}

/** A socket file whose socket is gone. */
function leaveBehind(path: string, kind: Kind = 'stream'): void {
  const socket = HeldSocket.bind(request(spec(kind, at(path))));
  socket.close();
  assert.ok(existsSync(path));
}

describe('a socket with a path', () => {
  for (const kind of kinds) {
    it(`of kind ${kind} serves, and is the same file at every start`, (t) => {
      const path = join(scratch(t), 'socket');
      const socket = held(t, path, {}, kind);
      if (kind !== 'datagram')
        assert.equal(
          outcome(() => connect(t, kind, at(path))),
          'ECONNREFUSED',
        );
      const { ino } = statSync(path);
      for (let start = 0; start < 3; start++) {
        assert.deepEqual(socket.handOver(), []);
        const client = connect(t, kind, at(path));
        sendText(client, `start ${start}`);
        assert.equal(receiveText(kind === 'datagram' ? socket.fd : accept(t, socket.fd)), `start ${start}`);
        socket.rest();
        assert.equal(statSync(path).ino, ino);
      }
    });
  }

  it('has the mode that was asked for, in directories that have theirs, whatever the umask', (t) => {
    const directory = scratch(t);
    for (const mask of [0, 0o77]) {
      const before = process.umask(mask);
      try {
        const path = join(directory, `a${mask}`, 'b', 'socket');
        held(t, path, { socketMode: 0o640, directoryMode: 0o711 });
        assert.equal(statSync(path).mode & 0o777, 0o640);
        assert.equal(statSync(join(path, '..')).mode & 0o777, 0o711);
        assert.equal(statSync(join(path, '../..')).mode & 0o777, 0o711);
        assert.equal(process.umask(mask), mask);
      } finally {
        process.umask(before);
      }
    }
  });

  it('leaves directories that are there as they are', (t) => {
    const directory = join(scratch(t), 'mine');
    mkdirSync(directory, { mode: 0o700 });
    held(t, join(directory, 'socket'), { directoryMode: 0o777 });
    assert.equal(statSync(directory).mode & 0o777, 0o700);
  });

  it('has the owner that was asked for, by name or number', (t) => {
    if (!requiresRoot(t)) return;
    const directory = scratch(t);
    const owner = (options: Partial<SocketOptions>) => {
      const path = join(directory, JSON.stringify(options).replaceAll(/\W/g, ''));
      held(t, path, options);
      const { uid, gid } = statSync(path);
      return { uid, gid };
    };
    const nobody = native.userId('nobody');
    const tty = native.groupId('tty');
    assert.deepEqual(owner({ socketUser: 'nobody' }), { uid: nobody, gid: 0 });
    assert.deepEqual(owner({ socketUser: '1234', socketGroup: 'tty' }), { uid: 1234, gid: tty });
    assert.deepEqual(owner({ socketGroup: '77' }), { uid: 0, gid: 77 });
    const before = openFds();
    for (const options of [{ socketUser: 'no-such-user' }, { socketGroup: 'no-such-group' }]) {
      const wanted = request(spec('stream', at(join(directory, 'x'))), options);
      assert.throws(() => HeldSocket.bind(wanted), /there is no (user|group) 'no-such-/);
    }
    assert.deepEqual(openFds(), before);
  });
});

describe('what is at the path already', () => {
  for (const kind of kinds) {
    it(`goes when it is a ${kind} socket that nobody has`, (t) => {
      const path = join(scratch(t), 'socket');
      leaveBehind(path, kind);
      const socket = held(t, path, {}, kind);
      socket.handOver();
      connect(t, kind, at(path));
    });

    it(`stays when somebody serves a ${kind} socket there`, (t) => {
      const path = join(scratch(t), 'socket');
      const server = serve(t, kind, at(path));
      for (const wanted of kinds) {
        const taken = request(spec(wanted, at(path)));
        assert.equal(
          outcome(() => HeldSocket.bind(taken)),
          'EADDRINUSE',
          wanted,
        );
      }
      sendText(connect(t, kind, at(path)), 'x');
      // Berth's own probes wait first; they have gone already.
      let text = '';
      while (text === '') text = receiveText(kind === 'datagram' ? server : accept(t, server)) ?? 'nothing';
      assert.equal(text, 'x');
    });

    it(`stays when another berthd holds a ${kind} socket there, at rest`, (t) => {
      const path = join(scratch(t), 'socket');
      const socket = held(t, path, {}, kind);
      assert.equal(
        outcome(() => HeldSocket.bind(request(spec(kind, at(path))))),
        'EADDRINUSE',
      );
      socket.handOver();
      connect(t, kind, at(path));
    });
  }

  it('stays when it is no socket', (t) => {
    const directory = scratch(t);
    const file = join(directory, 'file');
    writeFileSync(file, 'precious');
    const link = join(directory, 'link');
    symlinkSync(file, link);
    for (const path of [file, link, directory]) {
      assert.equal(
        outcome(() => HeldSocket.bind(request(spec('stream', at(path))))),
        'EADDRINUSE',
        path,
      );
      assert.ok(existsSync(path));
    }
  });

  it('stays when its queue is full', (t) => {
    const path = join(scratch(t), 'socket');
    const server = serve(t, 'stream', at(path));
    native.listen(server, 0);
    const clients = Array.from({ length: 3 }, () => openSocket('stream', 'unix'));
    for (const client of clients) {
      native.adopt(client);
      outcome(() => {
        native.connect(client, at(path));
      });
    }
    assert.equal(
      outcome(() => HeldSocket.bind(request(spec('stream', at(path))))),
      'EADDRINUSE',
    );
  });
});

describe('Symlinks=', () => {
  it('point to the socket, take the place of other links, and of nothing else', (t) => {
    const directory = scratch(t);
    const path = join(directory, 'socket');
    const [fresh, old, file, stale] = ['deep/fresh', 'old', 'file', 'stale'].map((name) =>
      join(directory, name),
    );
    assert.ok(fresh !== undefined && old !== undefined && file !== undefined && stale !== undefined);
    symlinkSync('/nowhere', old);
    writeFileSync(file, 'precious');
    // What a berthd leaves that is killed in between.
    symlinkSync('/nowhere', `${stale}.berth-new`);
    const socket = held(t, path, { symlinks: [fresh, old, file, stale] });
    for (const link of [fresh, old, stale]) assert.equal(readlinkSync(link), path);
    assert.ok(lstatSync(file).isFile());
    assert.equal(socket.warnings.length, 1);
    assert.match(socket.warnings[0] ?? '', /cannot link '.*file': something else is there/);
    assert.deepEqual(readdirSync(directory).sort(), ['deep', 'file', 'old', 'socket', 'stale']);
  });

  it('are made when a re-read file adds them', (t) => {
    const directory = scratch(t);
    const of = spec('stream', at(join(directory, 'socket')));
    const socket = hold(t, request(of));
    socket.update(request(of, { symlinks: [join(directory, 'new')] }), false);
    assert.equal(readlinkSync(join(directory, 'new')), join(directory, 'socket'));
  });
});

describe('RemoveOnStop=', () => {
  it('removes the socket and its links, and without it they stay', (t) => {
    const directory = scratch(t);
    for (const removeOnStop of [true, false]) {
      const path = join(directory, `socket-${String(removeOnStop)}`);
      const link = `${path}-link`;
      HeldSocket.bind(request(spec('stream', at(path)), { removeOnStop, symlinks: [link] })).close();
      assert.equal(existsSync(path), !removeOnStop);
      assert.equal(lstatSync(link, { throwIfNoEntry: false }) === undefined, removeOnStop);
    }
  });
});

describe('what others have bound', () => {
  it('does not make a stale path look served, whatever its name reads like', (t) => {
    const path = join(scratch(t), 'socket');
    leaveBehind(path);
    const forged = closing(t, openSocket('stream', 'unix'));
    native.bind(forged, {
      family: 'abstract',
      name: `x\n0000000000000000: 00000002 00000000 00000000 0001 01 1 ${path}`,
    });
    assert.match(readFileSync('/proc/net/unix', 'utf8'), new RegExp(`^0.* ${path}$`, 'm'));
    held(t, path);
  });

  for (const kind of kinds)
    it(`is not removed by a socket of another kind, silent as it is: ${kind}`, (t) => {
      const path = join(scratch(t), 'socket');
      native.bind(closing(t, openSocket(kind, 'unix')), at(path));
      for (const other of kinds)
        assert.equal(
          outcome(() => held(t, path, {}, other)),
          'EADDRINUSE',
        );
    });
});

describe('a directory that somebody else can write in', () => {
  for (const [what, changes] of [
    ['mode', { socketMode: 0o666 }],
    ['owner', { socketUser: '65534', socketGroup: '65534' }],
  ] as const)
    it(`gains no other file's ${what} by a link in the place of the socket`, (t) => {
      if (!requiresRoot(t)) return;
      const directory = scratch(t);
      const [path, secret] = [join(directory, 'socket'), join(directory, 'secret')];
      writeFileSync(secret, '', { mode: 0o600 });
      const wanted = request(spec('stream', at(path)));
      const socket = hold(t, wanted);
      renameSync(path, join(directory, 'moved'));
      symlinkSync(secret, path);
      socket.update(request(wanted.spec, changes), false);
      // It is told of the link where it is put to rest, which a request that changes nothing does not do.
      for (const warning of socket.warnings) assert.match(warning, /is no socket any more$/);
      const [hit, own] = [statSync(secret), statSync(join(directory, 'moved'))];
      assert.deepEqual([hit.mode & 0o777, hit.uid, hit.gid], [0o600, 0, 0]);
      if (what === 'mode') assert.equal(own.mode & 0o777, 0o666);
      else assert.deepEqual([own.uid, own.gid], [65534, 65534]);
    });

  it('gains no other file while links come and go in the place of a socket that is being bound', (t) => {
    if (!requiresRoot(t)) return;
    const directory = scratch(t);
    const [path, secret] = [join(directory, 'socket'), join(directory, 'secret')];
    writeFileSync(secret, '', { mode: 0o600 });
    const swap =
      'while :; do mv -fT "$1/socket" "$1/moved"; ln -sfT "$1/secret" "$1/socket"; rm -f "$1/socket"; done';
    const swapper = new Child(t, 'sh', ['-c', swap, 'sh', directory], { stdio: 'ignore' });
    let swapped = 0;
    for (let round = 0; round < 300; round++) {
      try {
        const options = { socketUser: '65534', socketMode: 0o666, removeOnStop: true };
        HeldSocket.bind(request(spec('stream', at(path)), options)).close();
      } catch {
        swapped++;
      }
    }
    swapper.kill('SIGKILL');
    t.diagnostic(`the link was there first ${swapped} times of 300`);
    const { mode, uid } = statSync(secret);
    assert.deepEqual([mode & 0o777, uid], [0o600, 0]);
  });
});

describe('a path that its service has removed', () => {
  for (const kind of kinds)
    it(`leads to the held socket again when it rests, and when it is handed over: ${kind}`, (t) => {
      const path = join(scratch(t), 'socket');
      const socket = held(t, path, { symlinks: [`${path}-link`], socketMode: 0o640 }, kind);
      for (const [back, said] of [
        [() => (socket.rest(), []), []],
        [() => socket.handOver(), ['was no longer at its path and had to be replaced']],
      ] as const) {
        unlinkSync(path);
        assert.deepEqual(back(), said);
        assert.equal(statSync(path).mode & 0o777, 0o640);
        socket.handOver();
        sendText(connect(t, kind, at(`${path}-link`)), 'x');
        assert.equal(receiveText(kind === 'datagram' ? socket.fd : accept(t, socket.fd)), 'x');
        assert.deepEqual(native.getsockname(socket.fd), at(path));
      }
    });

  it('stays with whoever serves there since', (t) => {
    const path = join(scratch(t), 'socket');
    const socket = held(t, path);
    unlinkSync(path);
    serve(t, 'stream', at(path));
    const { ino } = statSync(path);
    socket.rest();
    assert.equal(statSync(path).ino, ino);
  });
});

describe('a socket that cannot be revived', () => {
  it('has another one in its place without a moment in which the path is free', async (t) => {
    const path = join(scratch(t), 'socket');
    const socket = held(t, path);
    const thief = new Child(t, `${root}build/bin/path-binder`, ['thief', path, '500']);
    let [replaced, looks] = [0, true];
    void thief.exit.then(() => (looks = false));
    while (looks) {
      const before = socket.inode;
      socket.handOver();
      native.shutdownRead(socket.fd);
      assert.match(socket.handOver().join(), /had to be replaced/);
      assert.notEqual(socket.inode, before);
      replaced++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(replaced > 10, String(replaced));
    assert.match(thief.out, /^\d+ looks, absent 0, stolen 0$/m);
  });

  it('gives way to one of another type in the same way', async (t) => {
    const path = join(scratch(t), 'socket');
    let socket = HeldSocket.bind(request(spec('stream', at(path))));
    const thief = new Child(t, `${root}build/bin/path-binder`, ['thief', path, '300']);
    let [replaced, looks] = [0, true];
    void thief.exit.then(() => (looks = false));
    while (looks) {
      const kind = replaced++ % 2 === 0 ? 'datagram' : 'stream';
      const next = HeldSocket.bind(request(spec(kind, at(path))), [socket]);
      socket.close(true);
      socket = next;
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.close();
    assert.match(thief.out, /^\d+ looks, absent 0, stolen 0$/m);
  });

  it('takes the name over in a directory of whatever owner and group', (t) => {
    if (!requiresRoot(t)) return;
    const directory = join(scratch(t), 'place');
    mkdirSync(directory);
    chownSync(directory, 0, 77);
    chmodSync(directory, 0o2750);
    const path = join(directory, 'socket');
    const socket = held(t, path);
    assert.equal(statSync(path).gid, 77);
    unlinkSync(path);
    socket.rest();
    assert.equal(statSync(path).gid, 77);
    // What a berthd leaves that is killed in between.
    mkdirSync(join(directory, '.socket.berth-new', 'tmp'), { recursive: true, mode: 0o700 });
    unlinkSync(path);
    socket.rest();
    assert.deepEqual(readdirSync(directory), ['socket']);
  });
});
