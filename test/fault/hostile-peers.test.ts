import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { constant, native } from '../../src/native/index.js';
import { programs } from '../bench/programs.js';
import { Berthd, residentKiB } from '../support/berthd.js';
import { openFds, scratch } from '../support/files.js';
import { inet } from '../support/holds.js';
import { Child, until } from '../support/processes.js';
import { requiresRoot } from '../support/requirements.js';
import { closing, freePort, guardOf, outcome, randomLoopback, steal } from '../support/sockets.js';
import { exchange, refusal, Talk } from '../support/talk.js';

const address = inet(randomLoopback(), freePort());
const app = `[Socket]\nListenStream=${address.host}:${address.port}\n[Reservation]\nHandoff=exec\n`;
/** A peer that says nothing is closed after a second. */
const patient = 'PeerTimeoutSec=1\n';

/** Runs `attack` on a berthd, which must serve during it, and be as before it afterwards. */
async function survives(t: TestContext, attack: (daemon: Berthd) => Promise<void>): Promise<void> {
  const daemon = await Berthd.start(t, { app, berthd: patient });
  const fds = daemon.fds().size + guardOf;
  const { sockets } = await daemon.status('app');
  await served(daemon);
  await attack(daemon);
  await until(
    () => daemon.fds().size,
    (now) => now === fds,
    `descriptors, of ${fds}`,
  );
  await served(daemon);
  const after = await daemon.reaches('app', 'held');
  assert.equal(after.sockets[0]?.inode, sockets[0]?.inode);
  assert.deepEqual(steal('stream', address), []);
  assert.equal(daemon.child.ended, false);
  await daemon.stop();
}

/** A second, or as much more as the sanitizers take. */
const patience = 1000 * Number(process.env['BERTH_SLOWDOWN'] ?? 1);

/** A claim within that, whatever else goes on. */
async function served(daemon: Berthd): Promise<void> {
  const start = performance.now();
  const { status, err } = await daemon.claim('app', ['true']);
  assert.deepEqual([status, err], [0, '']);
  const took = performance.now() - start;
  assert.ok(took < patience, `a claim took ${took} ms`);
}

describe('a peer that', () => {
  it('says nothing is told so, and closed', (t) =>
    survives(t, async (daemon) => {
      const talk = new Talk(daemon.control);
      await served(daemon);
      const answers = await talk.receiveAll();
      assert.deepEqual(answers, [
        { text: '{"error":"BadMessage","parameters":{"message":"no request in 1 s"}}', fds: 0 },
      ]);
      talk.close();
    }));

  it('sends 10 MB cannot, and sends what the kernel lets through in vain', (t) =>
    survives(t, async (daemon) => {
      if (!requiresRoot(t)) return;
      const talk = new Talk(daemon.control);
      assert.equal(
        outcome(() => talk.send(Buffer.alloc(10 << 20, 'x'))),
        'EMSGSIZE',
      );
      // With a larger buffer the kernel lets more through, up to what one of its own buffers holds.
      const large = (to: Talk): number => {
        native.setOption(to.fd, constant('SOL_SOCKET'), constant('SO_SNDBUFFORCE'), 32 << 20);
        let size = 10 << 20;
        while (outcome(() => to.send(Buffer.alloc(size, 'x'))) !== 'ok') size /= 2;
        return size;
      };
      assert.ok(large(talk) > 256 * 1024);
      const [answer] = await talk.receiveAll();
      assert.equal(
        answer?.text,
        '{"error":"BadMessage","parameters":{"message":"a request has 65536 bytes at most"}}',
      );
      talk.close();
      const kib = residentKiB(daemon.pid);
      for (let round = 0; round < 20; round++) {
        const again = new Talk(daemon.control);
        large(again);
        await again.receiveAll();
        again.close();
      }
      const more = residentKiB(daemon.pid) - kib;
      assert.ok(more < 64 * 1024, `${more} KiB more`);
    }));

  it('sends many packets is answered once', (t) =>
    survives(t, async (daemon) => {
      const talk = new Talk(daemon.control);
      let sent = 0;
      while (
        outcome(() => {
          if (talk.ask('List')) sent++;
          else throw Object.assign(new Error(), { errno: 0, code: 'full', syscall: '' });
        }) === 'ok' &&
        sent < 1000
      );
      const answers = await talk.receiveAll();
      assert.ok(answers.length <= 1);
      talk.close();
    }));

  it('sends half a JSON, or none, or the wrong one is told so', (t) =>
    survives(t, async ({ control }) => {
      const cases: [string | Buffer, string][] = [
        ['{"method":"Claim","para', 'the request is not JSON'],
        [Buffer.from([0xff, 0xfe, 0]), 'the request is not JSON'],
        ['['.repeat(60_000), 'the request is not JSON'],
        ['null', 'the request has no method'],
        ['[]', 'the request has no method'],
        ['{}', 'the request has no method'],
        ['{"method":7}', 'the request has no method'],
        ['{"method":"Claim","parameters":[]}', 'the parameters are not an object'],
        ['{"method":"Claim","parameters":null}', 'the parameters are not an object'],
        ['{"method":"Nonsense"}', 'there is no such method'],
        ['{"method":"toString"}', 'there is no such method'],
        ['{"method":"Status"}', 'the name is not a string'],
        ['{"method":"Claim","parameters":{"name":"app"}}', 'a claim has one of the forms exec, unit'],
        [
          '{"method":"Claim","parameters":{"name":"app","form":"__proto__"}}',
          'a claim has one of the forms exec, unit',
        ],
        ['{"method":"Claim","parameters":{"name":{},"form":"exec"}}', 'the name is not a string'],
      ];
      for (const [data, message] of cases)
        assert.equal(await refusal(control, data), `BadMessage: ${message}`);
      const long = 'x'.repeat(60_000);
      const answer = await refusal(control, `{"method":"Status","parameters":{"name":"${long}"}}`);
      assert.equal(answer, `NotFound: there is no reservation '${'x'.repeat(255)}'`);
      for (const name of ['__proto__', 'constructor', '../app', 'app\\u0000', '']) {
        assert.match(
          await refusal(control, `{"method":"Status","parameters":{"name":"${name}"}}`),
          /^NotFound: /,
        );
      }
    }));

  it('sends descriptors has them closed, and is told so', (t) =>
    survives(t, async ({ control }) => {
      const request = '{"method":"Claim","parameters":{"name":"app","form":"exec"}}';
      assert.equal(
        await refusal(control, request, [0, 1, 2]),
        'BadMessage: a request carries no descriptors',
      );
      assert.equal(
        await refusal(control, request, Array<number>(253).fill(0)),
        'BadMessage: a request carries no descriptors',
      );
    }));

  it('goes away in the middle costs nothing', (t) =>
    survives(t, async (daemon) => {
      for (let round = 0; round < 200; round++) {
        const talk = new Talk(daemon.control);
        if (round % 2 === 0) talk.ask(round % 4 === 0 ? 'Status' : 'List', { name: 'app' });
        talk.close();
      }
      await daemon.list();
    }));

  it('asks again and again without a pause delays nobody', (t) =>
    survives(t, async (daemon) => {
      const load = spawn(programs.claimLoad, ['berth', daemon.control, 'app', '1', '1500']);
      const ended = once(load, 'exit');
      let claims = 0;
      while (load.exitCode === null && claims++ < 20) await served(daemon);
      assert.deepEqual(await ended, [0, null]);
    }));

  it('is killed while it claims costs nothing either', (t) =>
    survives(t, async (daemon) => {
      for (let round = 0; round < 40; round++) {
        const claimant = daemon.serve('app', ['true']);
        if (round % 2 === 0) await daemon.list();
        claimant.kill('SIGKILL');
        await claimant.gone;
      }
    }));
});

describe('a peer that never reads its answer', () => {
  it('does not keep 600 descriptors, nor anybody waiting', async (t) => {
    const ports = Array.from(
      { length: 600 },
      (_, index) => `ListenStream=${address.host}:${33_000 + index}`,
    ).join('\n');
    const big = `[Socket]\n${ports}\n[Reservation]\nHandoff=exec\n`;
    const daemon = await Berthd.start(t, { big, app, berthd: patient });
    const fds = daemon.fds().size + 601 * guardOf;
    const request = JSON.stringify({ method: 'Claim', parameters: { name: 'big', form: 'exec' } });
    const own = openFds().size;
    const slow = Array.from({ length: 8 }, () => {
      const talk = new Talk(daemon.control);
      // Too little for the three packets.
      native.setOption(talk.fd, constant('SOL_SOCKET'), constant('SO_RCVBUF'), 1);
      talk.send(request);
      return talk;
    });
    await served(daemon);
    for (const talk of slow.slice(4)) talk.close();
    await daemon.list();
    const answers = await exchange(daemon.control, request);
    assert.deepEqual(
      answers.map((answer) => answer.fds),
      [253, 253, 94],
    );
    // Half of them read late, and get all or an orderly end.
    await until(
      () => daemon.fds().size,
      (now) => now <= fds + 1,
      `descriptors, of ${fds}`,
    );
    for (const talk of slow.slice(0, 4)) {
      const got = await talk.receiveAll();
      assert.ok(got.length <= 3);
      talk.close();
    }
    assert.equal(openFds().size, own);
    await served(daemon);
    assert.equal((await daemon.list()).length, 2);
  });
});

/**
 * Sends each path a descriptor that nobody else has then: a connection whose last close(2) lasts for a minute, as its peer
 * takes nothing. To the control socket it comes with a request, behind one, and in an empty packet behind another.
 */
const lingering = `import array, os, socket, struct, sys
def lingerer():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    connection = socket.create_connection(listener.getsockname())
    connection.setblocking(False)
    try:
        while True:
            connection.send(bytes(65536))
    except BlockingIOError:
        pass
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 60))
    return listener, connection
kept = []
def send(path, kind, *packets):
    peer = socket.socket(socket.AF_UNIX, kind)
    peer.connect(path)
    for data in packets[:-1]:
        peer.send(data)
    listener, connection = lingerer()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [connection.fileno()]))
    peer.sendmsg([packets[-1]], [rights])
    connection.close()
    kept.extend((listener, peer))
control, portreserve = sys.argv[1:]
send(portreserve, socket.SOCK_DGRAM, b'app')
for packets in ((b'{"method":"List"}',), (b'{"method":"List"}', b'x'), (b'{"method":"List"}', b'', b''), (b'',)):
    send(control, socket.SOCK_SEQPACKET, *packets)
print('sent', flush=True)
sys.stdin.read()
`;

describe('descriptors that are sent uninvited', () => {
  it('keep nobody waiting, however long they take to be closed', async (t) => {
    const socket = join(scratch(t), 'portreserve');
    const script = join(scratch(t), 'lingering.py');
    writeFileSync(script, lingering);
    const daemon = await Berthd.start(t, { app }, { args: ['--portreserve-socket', socket] });
    const fds = daemon.fds().size + guardOf;
    await served(daemon);
    process.kill(daemon.pid, 'SIGSTOP');
    const peer = new Child(t, 'python3', [script, daemon.control, socket]);
    try {
      await peer.prints('out', /sent/);
    } finally {
      process.kill(daemon.pid, 'SIGCONT');
    }
    for (let round = 0; round < 10; round++) await served(daemon);
    await until(
      () => daemon.fds().size,
      (now) => now === fds,
      `descriptors, of ${fds}`,
    );
    assert.match(daemon.child.err, /1 datagram ignored, the last one because a name carries no descriptors/);
    peer.closeInput();
    await peer.gone;
  });
});

describe('2,000 connections that hang', () => {
  it('keep nobody out', async (t) => {
    const daemon = await Berthd.start(t, { app, berthd: 'PeerTimeoutSec=60\n' });
    const fds = daemon.fds().size + guardOf;
    const memory = residentKiB(daemon.pid);
    const hanging: number[] = [];
    t.after(() => {
      hanging.forEach(closeSync);
    });
    for (let count = 0; count < 2000; count++) hanging.push(new Talk(daemon.control).fd);
    for (let round = 0; round < 10; round++) await served(daemon);
    assert.equal((await daemon.status('app')).name, 'app');
    assert.ok(daemon.fds().size <= fds + 1024 + 1);
    const more = residentKiB(daemon.pid) - memory;
    t.diagnostic(`${more} KiB more`);
    assert.ok(more < 64 * 1024, `${more} KiB more`);
    // The longest waiting ones made room.
    assert.match(
      native.receive(hanging[0] ?? -1, 0, 0)?.data.toString() ?? '',
      /too many connections are open/,
    );
    hanging.splice(0).forEach(closeSync);
    await until(
      () => daemon.fds().size,
      (now) => now <= fds,
      `descriptors, of ${fds}`,
    );
    await served(daemon);
    closing(t, native.duplicate(0));
  });
});
