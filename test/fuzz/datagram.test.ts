import assert from 'node:assert/strict';
import { closeSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { constant, native } from '../../src/native/index.js';
import { Berthd, residentKiB } from '../support/berthd.js';
import { scratch } from '../support/files.js';
import { inet } from '../support/holds.js';
import { run, until } from '../support/processes.js';
import { requiresRoot } from '../support/requirements.js';
import { freePort, guardOf, randomLoopback, steal } from '../support/sockets.js';
import { counted, runsOf } from './fuzz.js';

const datagram = fc
  .record({
  data: fc.oneof(
    fc.constantFrom('missing', 'app\0', ' app', 'app\n', '**', '/app', '../app', 'x'.repeat(300)).map((name) => Buffer.from(name)),
    fc.string({ unit: 'binary', minLength: 1 }).map((name) => Buffer.from(name)),
    fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    fc.constant(Buffer.alloc(60_000, 'a')),
  ),
  fds: fc.constantFrom(0, 0, 0, 0, 1, 253),
})
  // These would be served: the sender is root.
  .filter(({ data }) => !['app', '*'].includes(data.toString('latin1'))); // prettier-ignore

/** As another user: says who it is not, which the kernel forbids, then sends without saying anything. */
const spoof = `import os, socket, struct, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.connect(sys.argv[1])
for pid, uid in ((1, 0), (os.getppid(), 0), (os.getpid(), 0), (1, 65534)):
    try:
        sender.sendmsg([b'app'], [(socket.SOL_SOCKET, 2, struct.pack('iII', pid, uid, uid))])
        print('sent as', pid, uid)
    except PermissionError:
        pass
for name in (b'app', b'*'):
    sender.send(name)
sender.setblocking(False)
sent = 0
for _ in range(100000):
    try:
        sent += sender.send(b'app') > 0
    except BlockingIOError:
        pass
print('done')
`;

describe("portreserve's socket", () => {
  it('takes anything from anybody, and lets go of nothing that it is not asked for by its owner', async (t) => {
    if (!requiresRoot(t)) return;
    const place = scratch(t);
    const [directory, socket, script] = [join(place, 'portreserve'), join(place, 'socket'), join(place, 'spoof.py')];
    mkdirSync(directory);
    writeFileSync(script, spoof);
    const address = inet('127.0.0.1', freePort());
    writeFileSync(join(directory, 'app'), `${address.port}\n`);
    const web = `[Socket]\nListenStream=${randomLoopback()}:${freePort()}\n[Reservation]\nHandoff=exec\n`;
    const args = ['--portreserve-dir', directory, '--portreserve-socket', socket];
    // Anybody may look for the socket; who may be served is berthd's to say.
    await run(t, 'chmod', ['755', place]);
    const daemon = await Berthd.start(t, { web }, { args });
    const fds = daemon.fds().size + guardOf; // from the first claim on
    const sender = native.socket(constant('AF_UNIX'), constant('SOCK_DGRAM'), 0);
    native.connect(sender, { family: 'unix', path: socket });
    const runs = runsOf(500, 40_000);
    const memory = residentKiB(daemon.pid);
    fc.assert(
      fc.property(datagram, ({ data, fds: count }) => {
        native.sendWaiting(sender, data, Array<number>(count).fill(0));
      }),
      { numRuns: runs },
    );
    closeSync(sender);
    counted(t, 'datagram-socket', runs);
    const flood = run(t, 'python3', [script, socket]);
    for (let round = 0; round < 5; round++) {
      const start = performance.now();
      const { status, err } = await daemon.claim('web', ['true']);
      assert.deepEqual([status, err], [0, '']);
      const took = performance.now() - start;
      assert.ok(took < 1000 * Number(process.env['BERTH_SLOWDOWN'] ?? 1), `a claim took ${took} ms`);
    }
    const { out, err } = await flood;
    assert.deepEqual([out, err], ['done\n', '']);
    assert.equal((await daemon.status('app')).state, 'held');
    assert.deepEqual(steal('stream', address), []);
    await until(() => daemon.fds().size, (now) => now === fds, `descriptors, of ${fds}`);
    const lines = daemon.child.err.split('\n').length;
    assert.ok(lines < 10, daemon.child.err.slice(0, 3000));
    const more = residentKiB(daemon.pid) - memory;
    t.diagnostic(`${more} KiB more, ${lines} lines in the log`);
    assert.ok(more < 64 * 1024, `${more} KiB more`);
    // Its owner is served.
    const root = native.socket(constant('AF_UNIX'), constant('SOCK_DGRAM'), 0);
    native.connect(root, { family: 'unix', path: socket });
    native.sendWaiting(root, Buffer.from('app'), []);
    closeSync(root);
    await until(() => daemon.status('app'), ({ state }) => state === 'released', 'app is not released');
  }); // prettier-ignore
});
