import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Berthd, programs } from '../support/berthd.js';
import { scratch } from '../support/files.js';
import { inet } from '../support/holds.js';
import { run } from '../support/processes.js';
import { requiresRoot } from '../support/requirements.js';
import {
  connect,
  freePort,
  openSocket,
  outcome,
  randomLoopback,
  receiveText,
  sendText,
} from '../support/sockets.js';
import { closing } from '../support/sockets.js';
import { native } from '../../src/native/index.js';

const host = randomLoopback();

/** A reservation of two streams and a datagram socket, in the mode exec. */
function file(ports: readonly [number, number], extra = ''): string {
  return `[Socket]
ListenStream=${host}:${ports[0]}
ListenDatagram=${host}:${ports[0]}
ListenStream=${host}:${ports[1]}
${extra}
[Reservation]
Handoff=exec
`;
}

async function berthd(t: TestContext, extra = ''): Promise<{ daemon: Berthd; ports: [number, number] }> {
  const ports: [number, number] = [freePort(), freePort()];
  return { daemon: await Berthd.start(t, { app: file(ports, extra) }), ports };
}

/** What the claimed command sees: its environment, descriptors, signal mask and ignored signals. */
const look = `
env | grep -E '^(LISTEN_|BERTH_FD_)' | sort
[ "$LISTEN_PID" = $$ ] && echo own pid
grep -E '^Sig(Blk|Ign):' /proc/self/status`;

describe('berth-claim NAME -- COMMAND', () => {
  it('hands over the sockets as 3, 4, … in the order of the file, with their names', async (t) => {
    const { daemon, ports } = await berthd(t, 'FileDescriptorName=my-app.x');
    const addresses = await Promise.all(
      [3, 4, 5].map(async (fd) => {
        const { out } = await daemon.claim('app', ['readlink', `/proc/self/fd/${fd}`]);
        return Number(/socket:\[(\d+)\]/.exec(out)?.[1]);
      }),
    );
    const { sockets } = await daemon.status('app');
    assert.deepEqual(
      sockets.map(({ inode }) => inode),
      addresses,
    );
    assert.deepEqual(
      sockets.map(({ socket }) => socket),
      [`tcp ${host}:${ports[0]}`, `udp ${host}:${ports[0]}`, `tcp ${host}:${ports[1]}`],
    );
    const { out, err, status } = await daemon.claim('app', ['sh', '-c', look]);
    assert.deepEqual({ err, status }, { err: '', status: 0 });
    assert.deepEqual(
      out
        .split('\n')
        .slice(0, 7)
        .map((line) => line.replace(/^(LISTEN_PID)=\d+$/, '$1')),
      [
        'BERTH_FD_my_app_x=3',
        'BERTH_FD_my_app_x_2=4',
        'BERTH_FD_my_app_x_3=5',
        'LISTEN_FDNAMES=my-app.x:my-app.x:my-app.x',
        'LISTEN_FDS=3',
        'LISTEN_PID',
        'own pid',
      ],
    );
  });

  it('follows a process that claims again to its end, as one claimant', async (t) => {
    const { daemon } = await berthd(t);
    const again = [programs.claim, '--control', daemon.control, 'app', '--'];
    const service = daemon.serve('app', [...again, ...again, 'sh', '-c', 'echo up; read line']);
    await service.prints('out', /up/);
    const { claimants } = await daemon.reaches('app', 'active');
    assert.deepEqual(
      claimants.map(({ pid, command }) => [pid, command]),
      [[service.pid, 'sh']],
    );
    const fds = daemon.fds().size;
    service.kill('SIGKILL');
    await service.exit;
    await daemon.reaches('app', 'held');
    // The pidfd by which it was followed is all that it cost.
    assert.equal(daemon.fds().size, fds - 1);
  });

  it('starts the command with default signals, however it was started itself', async (t) => {
    const { daemon } = await berthd(t);
    // SIGPIPE ignored, and SIGUSR1 blocked by env(1).
    const { out } = await run(t, 'env', [
      '--ignore-signal=PIPE',
      '--block-signal=USR1',
      programs.claim,
      '--control',
      daemon.control,
      'app',
      '--',
      'grep',
      '-E',
      '^Sig(Blk|Ign):',
      '/proc/self/status',
    ]);
    const mask = (name: string) => BigInt(`0x${new RegExp(`^${name}:\\t(\\w+)`, 'm').exec(out)?.[1] ?? ''}`);
    assert.equal(mask('SigBlk'), 0n);
    assert.equal(mask('SigIgn') & (1n << 12n), 0n, 'SIGPIPE');
  });

  it('takes the leftovers of a manager out of the environment', async (t) => {
    const { daemon } = await berthd(t);
    const { out } = await daemon.claim('app', ['sh', '-c', look], {
      env: { LISTEN_PIDFDID: '77', LISTEN_PID: '1', LISTEN_FDS: '9', LISTEN_FDNAMES: 'not:mine' },
    });
    assert.match(out, /^LISTEN_FDNAMES=app:app:app\nLISTEN_FDS=3\nLISTEN_PID=\d+\nown pid$/m);
    assert.doesNotMatch(out, /PIDFDID/);
  });

  it("leaves the descriptors of a unit's own .socket in front", async (t) => {
    const { daemon, ports } = await berthd(t);
    const script = `exec 3</dev/null 4</dev/zero; LISTEN_PID=$$ exec "$@"`;
    const inside = `${look}; for fd in 3 4 5 6 7 8; do readlink /proc/self/fd/$fd; done`;
    const { out } = await run(
      t,
      'sh',
      ['-c', script, 'sh', programs.claim, '--control', daemon.control, 'app', '--', 'sh', '-c', inside],
      { env: { LISTEN_FDS: '2', LISTEN_FDNAMES: 'a:b' } },
    );
    assert.match(out, /^LISTEN_FDNAMES=a:b:app:app:app\nLISTEN_FDS=5\nLISTEN_PID=\d+\nown pid$/m);
    assert.match(out, /^BERTH_FD_app=5\nBERTH_FD_app_2=6\nBERTH_FD_app_3=7$/m);
    assert.match(out, /\/dev\/null\n\/dev\/zero\n(socket:\[\d+\]\n){3}$/);
    assert.ok(ports[0] > 0);
  });

  it('lets nothing land on a standard stream that was closed', async (t) => {
    const { daemon } = await berthd(t);
    const inside = 'for fd in 0 1 2 3 4 5 6; do readlink /proc/self/fd/$fd || echo none; done >"$0"';
    const result = join(scratch(t), 'out');
    const script = `exec "$@" <&- >&- 2>&-`;
    await run(t, 'sh', [
      '-c',
      script,
      'sh',
      programs.claim,
      '--control',
      daemon.control,
      'app',
      '--',
      'sh',
      '-c',
      inside,
      result,
    ]);
    const { out } = await run(t, 'cat', [result]);
    const lines = out.trim().split('\n');
    assert.deepEqual([lines[0], lines[2]], ['/dev/null', '/dev/null']);
    assert.ok([3, 4, 5].every((fd) => lines[fd]?.startsWith('socket:')));
    assert.equal(lines[6], 'none');
  });

  it('serves on sockets that block, listen and receive', async (t) => {
    const { daemon, ports } = await berthd(t);
    const server = daemon.serve('app', [
      process.execPath,
      '-e',
      `const server = require('node:net').createServer((c) => c.end('served'));
       server.listen({ fd: 3 }, () => console.log('up'));`,
    ]);
    await server.prints('out', /up/);
    const client = connect(t, 'stream', inet(host, ports[0]));
    assert.equal(await read(client), 'served');
    const second = closing(t, openSocket('stream', 'inet'));
    native.connect(second, inet(host, ports[1]));
  });

  describe('exit statuses', () => {
    it("are the command's own, or tell of its signal", async (t) => {
      const { daemon } = await berthd(t);
      assert.equal((await daemon.claim('app', ['sh', '-c', 'exit 42'])).status, 42);
      assert.equal((await daemon.claim('app', ['sh', '-c', 'kill -TERM $$'])).signal, 'SIGTERM');
    });

    it('are 126 for what cannot be run, and 127 for what is not there', async (t) => {
      const { daemon } = await berthd(t);
      const directory = scratch(t);
      const plain = join(directory, 'plain');
      writeFileSync(plain, 'x');
      chmodSync(plain, 0o644);
      mkdirSync(join(directory, 'dir'));
      for (const [command, status] of [
        [plain, 126],
        [join(directory, 'dir'), 126],
        [join(directory, 'nothing'), 127],
        ['no-such-command', 127],
        ['', 127],
      ] as const) {
        const exit = await daemon.claim('app', [command], { env: { PATH: '/usr/bin:/bin' } });
        assert.equal(exit.status, status, command);
        assert.match(exit.err, /^berth-claim: cannot run '.*': [^\n]+\n$/);
      }
    });

    it('are 125 for whatever berth refuses, and the command never runs', async (t) => {
      const daemon = await Berthd.start(t, {
        none: `[Socket]\nListenStream=${randomLoopback()}:${freePort()}\n[Reservation]\nHandoff=none\n`,
      });
      for (const [name, message] of [
        ['unknown', "there is no reservation 'unknown'"],
        ['none', "'none' is held for nobody (Handoff=none)"],
      ] as const) {
        const { status, out, err } = await daemon.claim(name, ['echo', 'ran']);
        assert.deepEqual(
          { status, out, err },
          { status: 125, out: '', err: `berth-claim: cannot claim '${name}': ${message}\n` },
        );
      }
      assert.equal((await daemon.status('none')).state, 'held');
    });

    it('are 125 for a stranger who asks for a name that berthd has not read yet', async (t) => {
      if (!requiresRoot(t)) return;
      const daemon = await Berthd.start(t, {});
      chmodSync(dirname(daemon.control), 0o755);
      daemon.write({
        fresh: `[Socket]\nListenStream=${randomLoopback()}:${freePort()}\n[Reservation]\nHandoff=exec\n`,
      });
      const stranger = await daemon.claim('fresh', ['echo', 'ran'], { uid: 65534, gid: 65534 });
      assert.deepEqual([stranger.status, stranger.out], [125, '']);
      assert.match(stranger.err, /there is no reservation 'fresh'/);
      assert.deepEqual(await daemon.list(), []);
      const { status, out } = await daemon.claim('fresh', ['echo', 'ran']);
      assert.deepEqual([status, out], [0, 'ran\n']);
    });

    it('are 125 where no berthd is', async (t) => {
      const directory = scratch(t);
      const nobody = join(directory, 'control');
      const missing = await run(t, programs.claim, ['--control', nobody, 'x', '--', 'echo', 'ran']);
      assert.deepEqual(
        { ...missing },
        {
          status: 125,
          signal: null,
          out: '',
          err: `berth-claim: cannot claim 'x': berthd cannot be reached at ${nobody}: No such file or directory\n`,
        },
      );
      const left = closing(t, openSocket('seqpacket', 'unix'));
      native.bind(left, { family: 'unix', path: nobody });
      const refused = await run(t, programs.claim, ['--control', nobody, 'x', '--', 'echo', 'ran']);
      assert.equal(refused.status, 125);
      assert.match(refused.err, /Connection refused\n$/);
      const long = await run(t, programs.claim, [
        '--control',
        `/${'x'.repeat(108)}`,
        'x',
        '--',
        'echo',
        'ran',
      ]);
      assert.deepEqual([long.status, long.out], [125, '']);
    });

    it('are 125 for a wrong use, with a word on the right one', async (t) => {
      for (const args of [
        [],
        ['--'],
        ['x', '--'],
        ['x', 'y'],
        ['--nonsense', 'x', '--', 'true'],
        ['--control'],
        ['--', 'x', '--', 'true'],
      ]) {
        const { status, out, err } = await run(t, programs.claim, args);
        assert.deepEqual([status, out], [125, ''], args.join(' '));
        assert.match(err, /^usage: berth-claim /);
      }
    });
  });
});

async function read(fd: number): Promise<string> {
  for (;;) {
    native.adopt(fd);
    const text = receiveText(fd);
    if (text !== undefined) return text;
    await new Promise<void>((resolve) => {
      const watch = native.watch(fd, 1, () => {
        native.unwatch(watch);
        resolve();
      });
    });
  }
}

describe('what a claimant leaves', () => {
  it('is a socket that can be claimed again, whatever the claimant did with it', async (t) => {
    const { daemon, ports } = await berthd(t);
    const before = await daemon.status('app');
    const spoil = `
      const { native } = require(process.argv[1]);
      for (const fd of [3, 4, 5]) {
        try { native.shutdownRead(fd); } catch {}
        try { native.shutdownRead(fd); } catch {}
        native.adopt(fd);
      }`;
    const addon = JSON.stringify(new URL('../../src/native/berth.node', import.meta.url).pathname);
    const script = spoil.replace('require(process.argv[1])', `{ native: require(${addon}) }`);
    const from = daemon.logged;
    assert.equal((await daemon.claim('app', [process.execPath, '-e', script])).status, 0);
    await daemon.reaches('app', 'held');
    const server = daemon.serve('app', [
      process.execPath,
      '-e',
      `require('node:net').createServer((c) => c.end('served')).listen({ fd: 3 });
       const udp = require('node:dgram').createSocket('udp4', (m, r) => udp.send('echo', r.port, r.address));
       udp.bind({ fd: 4 }, () => console.log('up'));`,
    ]);
    await server.prints('out', /up/);
    assert.equal(await read(connect(t, 'stream', inet(host, ports[0]))), 'served');
    const client = connect(t, 'datagram', inet(host, ports[0]));
    sendText(client, 'x');
    assert.equal(await read(client), 'echo');
    await daemon.logs(new RegExp(`app: udp ${host}:${ports[0]} was shut down .*; repaired`), from);
    const after = await daemon.status('app');
    assert.equal(after.sockets[0]?.inode, before.sockets[0]?.inode);
    assert.equal(
      outcome(() => connect(t, 'stream', inet(host, ports[1]))),
      'ok',
    );
  });
});
