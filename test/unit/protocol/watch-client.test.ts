// What `berth watch` relies on in the addon, and would not get of node-unix-socket.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { WatchEvent } from '../../../src/protocol/messages.js';
import { watchEvents } from '../../../src/protocol/watch-client.js';
import { listen, scratch, type Connection } from '../commands/fake-daemon.js';
import { openFds } from '../../support/files.js';

const event = (count: number): unknown => ({ parameters: { event: 'retried', time: 1, count } });

async function collect(path: string, signal?: AbortSignal): Promise<WatchEvent[]> {
  const seen: WatchEvent[] = [];
  for await (const each of watchEvents(path, signal)) seen.push(each);
  return seen;
}

describe('watchEvents', () => {
  it('yields every packet in order, those too that came before the end', async (t) => {
    let asked = '';
    const path = listen(t, (packet, connection) => {
      asked = packet.toString();
      for (let count = 0; count < 100; count++) connection.send(event(count));
      connection.end();
    });
    const before = openFds().size;
    assert.deepEqual(
      (await collect(path)).map(({ count }) => count),
      Array.from({ length: 100 }, (_, count) => count),
    );
    assert.deepEqual(JSON.parse(asked), { method: 'Watch', parameters: {} });
    assert.ok(openFds().size <= before + 1, 'the connection is closed; the other end may still be');
  });

  it('can be left in the middle', async (t) => {
    let connected: Connection | undefined;
    const path = listen(t, (_, connection) => {
      connected = connection;
      connection.send(event(1));
    });
    for await (const { count } of watchEvents(path)) {
      assert.equal(count, 1);
      break;
    }
    await connected?.whenClosed;
  });

  it('ends when it is told to, though nothing comes', async (t) => {
    const abort = new AbortController();
    const path = listen(t, () => {
      abort.abort();
    });
    assert.deepEqual(await collect(path, abort.signal), []);
  });

  it('throws what berthd refuses with', async (t) => {
    const path = listen(t, (_, connection) => {
      connection.send({ error: 'Busy', parameters: { message: 'too many' } });
      connection.end();
    });
    await assert.rejects(collect(path), { name: 'BerthError', code: 'Busy', message: 'too many' });
  });

  it('throws NoDaemon where nobody is, and Failed for what is no event', async (t) => {
    await assert.rejects(collect(join(scratch(t), 'x')), { code: 'NoDaemon' });
    await assert.rejects(collect('x'.repeat(200)), { code: 'NoDaemon' });
    const path = listen(t, (_, connection) => {
      connection.send({ parameters: { event: 5 } });
    });
    await assert.rejects(collect(path), { code: 'Failed' });
  });
});
