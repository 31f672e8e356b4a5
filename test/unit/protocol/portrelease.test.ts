import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { BerthError } from '../../../src/model/errors.js';
import { native } from '../../../src/native/index.js';
import { answer, errorReply } from '../../../src/protocol/replies.js';
import { fakeBerthd } from '../../support/fake-berthd.js';
import { root, run, type Exit } from '../../support/processes.js';

const program = `${root}build/bin/portrelease`;

/** Runs the real portrelease against a server that answers with `reply`; without one it closes. */
async function release(
  t: TestContext,
  names: readonly string[],
  reply?: Buffer,
): Promise<Exit & { requests: string[] }> {
  const requests: string[] = [];
  const path = fakeBerthd(t, (connection, request) => {
    requests.push(request);
    if (reply !== undefined) native.send(connection, reply, []);
  });
  return { ...(await run(t, program, ['--control', path, ...names])), requests };
}

const done = answer({ released: 1 })[0]?.data;

describe('portrelease', () => {
  it('asks for all names at once, in the words of the protocol', async (t) => {
    const { status, out, err, requests } = await release(t, ['cups', '*', 'Az0_.@-'], done);
    assert.deepEqual([status, out, err], [0, '', '']);
    assert.deepEqual(requests, ['{"method":"Release","parameters":{"names":["cups","*","Az0_.@-"]}}']);
  });

  it('passes over what is no name, and says so', async (t) => {
    const bad = ['', 'a b', 'a"b', 'a/b', '**', 'ä', 'x'.repeat(256)];
    const { status, err, requests } = await release(t, [...bad, 'good'], done);
    assert.equal(status, 0);
    assert.deepEqual(requests, ['{"method":"Release","parameters":{"names":["good"]}}']);
    assert.equal(err.match(/^portrelease: there is no such reservation: .*$/gm)?.length, bad.length);
  });

  it('takes as many names as a request holds, and no more', async (t) => {
    const names = Array.from({ length: 400 }, (_, index) => `${index}`.padStart(150, 'x'));
    const { status, requests } = await release(t, names, done);
    assert.equal(status, 0);
    assert.deepEqual(JSON.parse(requests[0] ?? ''), { method: 'Release', parameters: { names } });
    const more = await release(t, [...names, ...names], done);
    assert.deepEqual([more.status, more.requests], [1, []]);
    assert.match(more.err, /too many names/);
  });

  it('says why it was refused, and ends with 0', async (t) => {
    const [refusal] = errorReply(new BerthError('Denied', 'the "cups" of\tothers \\ \u001b[31m'));
    const { status, err } = await release(t, ['cups'], refusal?.data);
    assert.deepEqual([status, err], [0, 'portrelease: the "cups" of others \\  [31m\n']);
  });

  it('asks again where berthd closes without an answer, and ends with 1 at last', async (t) => {
    const { status, err, requests } = await release(t, ['cups']);
    assert.equal(status, 1);
    assert.match(err, /^portrelease: .*: berthd closes the connection without an answer\n$/);
    assert.ok(requests.length > 1);
  });

  it('survives every answer, and prints one line of it at the most', async (t) => {
    const anything = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 5000 }),
      fc
        .string({ unit: 'binary', maxLength: 3000 })
        .map((text) => Buffer.from(`{"error":"Failed","parameters":{"message":"${text}`)),
    );
    await fc.assert(
      fc.asyncProperty(anything, async (bytes) => {
        const { status, signal, out, err } = await release(t, ['cups'], Buffer.from(bytes));
        assert.deepEqual([status, signal, out], [0, null, '']);
        assert.match(err, /^(portrelease: .*\n)?$/);
      }),
      { numRuns: 60 },
    );
  });
});
