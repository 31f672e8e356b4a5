// What src/protocol/client-socket.ts relies on in node-unix-socket 0.2.7, and the faults that it works around. A test
// of a fault that fails after an update says that its workaround can go.
import assert from 'node:assert/strict';
import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { SeqpacketServer, SeqpacketSocket } from 'node-unix-socket';
import { listen, scratch, type Connection } from '../commands/fake-daemon.js';

const library = createRequire(import.meta.url).resolve('node-unix-socket');

interface Seen {
  readonly packets: Buffer[];
  readonly events: string[];
}

/** Connects, sends `request` once connected, ends on 'end', and tells what happened once the socket has closed. */
async function converse(path: string, request: string, readSize?: number): Promise<Seen> {
  const socket = new SeqpacketSocket();
  if (readSize !== undefined) {
    socket.setInternalReadBufferSize(readSize);
  }
  const packets: Buffer[] = [];
  const events: string[] = [];
  for (const event of ['connect', 'end', 'error']) {
    socket.on(event, () => events.push(event));
  }
  socket.on('connect', () => {
    socket.write(Buffer.from(request));
  });
  socket.on('data', (packet: Buffer) => packets.push(packet));
  socket.on('end', () => {
    socket.end();
  });
  socket.connect(path);
  await once(socket, 'close');
  return { packets, events };
}

function answering(t: TestContext, answer: (connection: Connection) => void): string {
  return listen(t, (_, connection) => {
    answer(connection);
  });
}

describe('node-unix-socket', () => {
  it('keeps the boundaries of packets, and says end after the last of them', async (t) => {
    const path = answering(t, (connection) => {
      connection.sendPacket(Buffer.from('one'));
      connection.sendPacket(Buffer.from('two'));
      connection.end();
    });
    const { packets, events } = await converse(path, 'x');
    assert.deepEqual(packets.map(String), ['one', 'two']);
    assert.deepEqual(events, ['connect', 'end']);
  });

  it('delivers what was sent as one packet, up to 64 KiB', async (t) => {
    const sizes: number[] = [];
    const path = listen(t, (packet, connection) => {
      sizes.push(packet.length);
      connection.sendPacket(Buffer.alloc(64 * 1024, 'x'));
      connection.end();
    });
    const { packets } = await converse(path, 'y'.repeat(64 * 1024), 64 * 1024 + 1);
    assert.deepEqual(sizes, [64 * 1024]);
    assert.deepEqual(
      packets.map((packet) => packet.length),
      [64 * 1024],
    );
  });

  it('cuts a packet in silence at the size of its read buffer, which can be set', async (t) => {
    const path = answering(t, (connection) => {
      connection.sendPacket(Buffer.alloc(70_000, 'x'));
      connection.end();
    });
    const { packets, events } = await converse(path, 'x', 65_537);
    assert.deepEqual(
      packets.map((packet) => packet.length),
      [65_537],
    );
    assert.deepEqual(events, ['connect', 'end']);
  });

  it('says end when the peer closes without a word', async (t) => {
    const path = answering(t, (connection) => {
      connection.drop();
    });
    const { packets, events } = await converse(path, 'x');
    assert.deepEqual(packets, []);
    assert.deepEqual(events, ['connect', 'end']);
  });

  it('says end or error, and closes, when the peer is killed', async (t) => {
    const path = join(scratch(t), 'control');
    const server = fork('', [], {
      execArgv: [
        '-e',
        `const { SeqpacketServer } = require(${JSON.stringify(library)});
         const server = new SeqpacketServer();
         server.on('connection', (c) => c.on('data', () => process.kill(process.pid, 'SIGKILL')));
         server.listen(${JSON.stringify(path)});
         process.send('listening');`,
      ],
    });
    await once(server, 'message');
    const { packets, events } = await converse(path, 'x');
    assert.deepEqual(packets, []);
    assert.equal(events.length, 2);
  });

  it('throws synchronously from connect(), whatever the reason, with a text that cannot be used', async (t) => {
    const directory = scratch(t);
    const missing = join(directory, 'missing');
    assert.throws(() => {
      new SeqpacketSocket().connect(missing);
    }, Error);

    const abandoned = join(directory, 'abandoned');
    const server = new SeqpacketServer();
    server.listen(abandoned);
    server.close();
    assert.throws(
      () => {
        new SeqpacketSocket().connect(abandoned);
      },
      (error: NodeJS.ErrnoException) => error.code !== 'ECONNREFUSED' && !/refused/i.test(error.message),
    );
    await new Promise((resolve) => setImmediate(resolve));
  });

  it('never says connect when something is written before', (t) => {
    const path = join(scratch(t), 'control');
    const script = `
      const { SeqpacketServer, SeqpacketSocket } = require(${JSON.stringify(library)});
      const server = new SeqpacketServer();
      server.on('connection', (peer) => peer.on('data', (packet) => {
        peer.write(packet);
        setImmediate(() => setImmediate(() => { console.log('no answer'); process.exit(); }));
      }));
      server.listen(${JSON.stringify(path)});
      const socket = new SeqpacketSocket();
      for (const event of ['connect', 'data']) socket.on(event, () => console.log(event));
      socket.connect(${JSON.stringify(path)});
      socket.write(Buffer.from('x'));`;
    const { stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 10_000 });
    assert.equal(stdout, 'no answer\n');
  });

  it('can be destroyed from outside its callbacks, before and after the end, and then lets the process go', () => {
    const script = `
      const { mkdtempSync, rmSync } = require('node:fs');
      const { SeqpacketServer, SeqpacketSocket } = require(${JSON.stringify(library)});
      const directory = mkdtempSync(require('node:os').tmpdir() + '/berth-test-');
      const server = new SeqpacketServer();
      server.on('connection', (peer) => {
        let closed = false;
        peer.on('close', () => (closed = true));
        peer.on('data', (packet) => peer.write(packet));
        peer.on('end', () => { if (!closed) peer.end(); });
      });
      server.listen(directory + '/s');
      const socket = new SeqpacketSocket();
      socket.connect(directory + '/s');
      socket.on('connect', () => socket.write(Buffer.from('x')));
      socket.on('close', () => {
        server.close();
        rmSync(directory, { recursive: true });
        console.log('closed');
      });
      socket.on('data', () => setImmediate(() => { socket.destroy(); socket.destroy(); }));`;
    const { stdout, status } = spawnSync(process.execPath, ['-e', script], {
      encoding: 'utf8',
      timeout: 10_000,
    });
    assert.equal(stdout, 'closed\n');
    assert.equal(status, 0);
  });
});
