import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { BerthError, type ErrorCode } from '../../../src/model/errors.js';
import { maxPacket } from '../../../src/protocol/messages.js';
import { call, listAll } from '../../../src/protocol/client.js';
import {
  fakeDaemon,
  listen,
  type Connection,
  reservation,
  reservationStatus,
  scratch,
} from '../commands/fake-daemon.js';

const short = 300;

function fails(promise: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  return assert.rejects(promise, (error) => {
    assert.ok(error instanceof BerthError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });
}

describe('call', () => {
  it('sends one request and returns the answer', async (t) => {
    const status = reservationStatus('cups', {
      claimants: [{ pid: 812, command: 'cupsd', unit: 'cups.service', since: 5 }],
    });
    const requests: unknown[] = [];
    const path = fakeDaemon(t, (request) => {
      requests.push(request);
      return { parameters: status };
    });
    assert.deepEqual(await call(path, 'Status', { name: 'cups' }), status);
    assert.deepEqual(requests, [{ method: 'Status', parameters: { name: 'cups' } }]);
  });

  it('takes the answer although the connection stays open', async (t) => {
    const path = listen(t, (_, connection) => {
      connection.send({ parameters: { reservations: [], more: false } });
    });
    assert.deepEqual(await call(path, 'List', {}), { reservations: [], more: false });
  });

  it('takes the first answer when there are several', async (t) => {
    const path = listen(t, (_, connection) => {
      connection.send({ parameters: { reservations: [], more: false } });
      connection.send({ error: 'Failed', parameters: { message: 'late' } });
      connection.end();
    });
    assert.deepEqual(await call(path, 'List', {}), { reservations: [], more: false });
  });

  it('leaves no descriptor behind, whatever the end', async (t) => {
    let connections: Connection[] = [];
    const path = listen(t, (packet, connection) => {
      connections.push(connection);
      if (packet.includes('Reload')) {
        connection.drop();
      } else {
        connection.send({ parameters: { reservations: [], more: false } });
      }
    });
    const descriptors = (): number => readdirSync('/proc/self/fd').length;
    const round = async (): Promise<void> => {
      await call(path, 'List', {});
      await assert.rejects(call(path, 'Reload', {}));
      await assert.rejects(call(`${path}.missing`, 'List', {}));
      await Promise.all(connections.map(({ whenClosed }) => whenClosed));
      connections = [];
    };
    await round();
    const before = descriptors();
    for (let i = 0; i < 20; i++) {
      await round();
    }
    assert.equal(descriptors(), before);
  });

  it('throws what berthd refuses with, code and message', async (t) => {
    const path = fakeDaemon(t, ({ parameters }) => ({
      error: 'NotFound',
      parameters: { message: `no reservation '${String(parameters['name'])}'` },
    }));
    await fails(call(path, 'Status', { name: 'x' }), 'NotFound', /^no reservation 'x'$/);
  });

  it('keeps the code of a refusal that it does not know in the message', async (t) => {
    const path = fakeDaemon(t, () => ({ error: 'Tomorrow', parameters: { message: 'not today' } }));
    await fails(call(path, 'List', {}), 'Failed', /^not today \(Tomorrow\)$/);
  });

  it('says that the socket is missing, and what to look at', async (t) => {
    const path = join(scratch(t), 'control');
    await fails(
      call(path, 'List', {}),
      'NoDaemon',
      /^cannot reach berthd at \/.*\/control: no such file; is berth\.service running\? \(systemctl status berth\.service\)$/,
    );
    await fails(call(`${path}/x`.repeat(40), 'List', {}), 'NoDaemon', /longer than 107 bytes/);
  });

  it('says that nobody listens, for a file and for a socket whose berthd is gone', async (t) => {
    const file = join(scratch(t), 'file');
    writeFileSync(file, '');
    await fails(call(file, 'List', {}), 'NoDaemon', /nobody listens there/);
    await fails(call(`${file}/control`, 'List', {}), 'NoDaemon', /not a directory/);

    const path = join(scratch(t), 'control');
    const server = createServer().listen(path);
    await once(server, 'listening');
    await fails(call(path, 'List', {}), 'NoDaemon', /a stream socket listens there/);
    server.close();
  });

  it('says that it may not write to the socket', async (t) => {
    const path = fakeDaemon(t, () => ({ parameters: {} }));
    chmodSync(path, 0o600);
    if (process.getuid?.() !== 0) {
      chmodSync(path, 0);
      await fails(call(path, 'List', {}), 'Denied', /permission denied/);
      return;
    }
    chmodSync(join(path, '..'), 0o755);
    process.seteuid?.('nobody');
    try {
      await fails(call(path, 'List', {}), 'Denied', /permission denied/);
    } finally {
      process.seteuid?.(0);
    }
  });

  it('fails when berthd closes without an answer', async (t) => {
    const closing = listen(t, (_, connection) => {
      connection.end();
    });
    await fails(call(closing, 'List', {}), 'Failed', /closed the connection without an answer/);
    const dropping = listen(t, (_, connection) => {
      connection.drop();
    });
    await fails(call(dropping, 'List', {}), 'Failed', /closed the connection without an answer/);
  });

  it('asks the next berthd when one ends under it, but not for a reload', async (t) => {
    let asked = 0;
    const path = listen(t, (_, connection) => {
      if (++asked % 3 !== 0) connection.drop();
      else connection.send({ parameters: { reservations: [], more: false } });
    });
    assert.deepEqual(await call(path, 'List', {}), { reservations: [], more: false });
    assert.equal(asked, 3);
    await fails(call(path, 'Reload', {}), 'Failed', /closed the connection without an answer/);
    assert.equal(asked, 4);
  });

  it('fails when berthd says nothing', async (t) => {
    const path = listen(t, () => undefined);
    await fails(call(path, 'List', {}, short), 'Failed', /did not answer within 0.3 s/);
  });

  it('waits for a place in a full queue, and gives up at the deadline', async (t) => {
    const path = join(scratch(t), 'control');
    // A listener that never accepts: Python's standard library can make one, Node cannot.
    const script =
      'import socket,sys; s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET); s.bind(sys.argv[1]); s.listen(0); print(1,flush=True); sys.stdin.read()';
    const server = spawn('python3', ['-c', script, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    const started = await Promise.race([
      once(server.stdout, 'data').then(() => true),
      once(server, 'error').then(() => false),
    ]);
    if (!started) {
      assert.notEqual(process.env['BERTH_MUST_RUN'], '1', 'python3 is needed');
      t.skip('needs python3');
      return;
    }
    t.after(() => server.kill());
    const first = call(path, 'List', {}, short);
    const second = call(path, 'List', {}, short);
    await fails(first, 'Failed', /did not answer/);
    await fails(second, 'NoDaemon', /accepted no connection within 0.3 s/);
  });

  it('fails on an answer that is too long', async (t) => {
    const path = listen(t, (_, connection) => {
      connection.sendPacket(Buffer.alloc(maxPacket + 1, ' '));
      connection.end();
    });
    await fails(call(path, 'List', {}), 'Failed', /more than 65536 bytes/);
  });

  const foreign: readonly [string, string][] = [
    ['no JSON', 'HTTP/1.1 400 Bad Request'],
    ['half a JSON', '{"parameters":'],
    ['no object', '[]'],
    ['null', 'null'],
    ['no parameters', '{}'],
    ['an error without a name', '{"error":7,"parameters":{}}'],
    ['parameters of another method', '{"parameters":{"reservations":1,"sockets":1}}'],
    ['a reservation without sockets', '{"parameters":{"reservations":[{"name":"x"}],"more":false}}'],
  ];
  for (const [what, text] of foreign) {
    it(`fails on an answer that is not berthd's: ${what}`, async (t) => {
      const path = listen(t, (_, connection) => {
        connection.sendPacket(Buffer.from(text));
        connection.end();
      });
      await fails(call(path, 'List', {}), 'Failed', /gave no valid answer to List/);
    });
  }

  it('lets keys through that it does not know', async (t) => {
    const path = fakeDaemon(t, () => ({ parameters: { reservations: [], more: false, colour: 'blue' } }));
    assert.deepEqual((await call(path, 'List', {})).reservations, []);
  });

  it('sends no request that is longer than a packet', async (t) => {
    const path = fakeDaemon(t, () => ({ parameters: {} }));
    await fails(call(path, 'Status', { name: 'x'.repeat(maxPacket) }), 'Usage', /longer than 65536 bytes/);
  });
});

describe('listAll', () => {
  it('asks for page after page', async (t) => {
    const all = ['a', 'b', 'c', 'd', 'e'].map((name) => reservation(name));
    const path = fakeDaemon(t, ({ parameters }) => {
      const start = all.findIndex(({ name }) => name === parameters['after']) + 1;
      return { parameters: { reservations: all.slice(start, start + 2), more: start + 2 < all.length } };
    });
    assert.deepEqual(await listAll(path), all);
  });

  it('does not go round in a circle', async (t) => {
    const path = fakeDaemon(t, () => ({ parameters: { reservations: [reservation('a')], more: true } }));
    await fails(listAll(path), 'Failed', /no valid answer/);
    const empty = fakeDaemon(t, () => ({ parameters: { reservations: [], more: true } }));
    await fails(listAll(empty), 'Failed', /no valid answer/);
  });
});
