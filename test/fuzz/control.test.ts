import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { exitStatuses } from '../../src/model/errors.js';
import { isAnswer, isRecord } from '../../src/protocol/client-answers.js';
import { maxPacket } from '../../src/protocol/messages.js';
import { Berthd } from '../support/berthd.js';
import { inet } from '../support/holds.js';
import { until } from '../support/processes.js';
import { freePort, randomLoopback, steal } from '../support/sockets.js';
import { Talk, type Answer } from '../support/talk.js';
import { counted, runsOf } from './fuzz.js';

const runs = runsOf(1500, 25_000);

const name = fc.oneof(
  fc.constantFrom('app', 'other', 'none', 'missing', '', '__proto__', '\0', 'x'.repeat(300)),
  fc.string(),
);
const parameters = fc.oneof(
  fc.record({ name, form: fc.constantFrom('exec', 'unit', 'nonsense'), after: name }, { requiredKeys: [] }),
  fc.jsonValue(),
);
const method = fc.oneof(
  // No Reload and no granted Claim: they would make a claimant of this very process.
  fc.constantFrom('List', 'Status', 'list', 'toString', '__proto__', 'Done'),
  fc.string(),
);
const request = fc
  .record({ method, parameters, extra: fc.jsonValue() }, { requiredKeys: ['method'] })
  .map((value) => JSON.stringify(value));

const damaged = fc.tuple(request, fc.nat(), fc.integer({ min: 0, max: 255 })).map(([text, at, byte]) => {
  const bytes = Buffer.from(text);
  bytes[at % bytes.length] = byte;
  return bytes;
});
const cut = fc.tuple(request, fc.nat()).map(([text, at]) => Buffer.from(text).subarray(0, at % text.length));
const packet = fc.oneof(
  { weight: 4, arbitrary: request.map((text) => Buffer.from(text)) },
  { weight: 2, arbitrary: damaged },
  { weight: 1, arbitrary: cut },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
  { weight: 1, arbitrary: fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value))) },
);

/** What one peer does: its packets, each with descriptors or without, and whether it waits for the answer. */
const visit = fc.record({
  packets: fc.array(fc.record({ data: packet, fds: fc.constantFrom(0, 0, 0, 0, 1, 253) }), { maxLength: 3 }),
  waits: fc.constantFrom(true, true, true, false),
});

function checkAnswer({ text, fds }: Answer): void {
  assert.equal(fds, 0);
  assert.ok(Buffer.byteLength(text) <= maxPacket);
  const reply: unknown = JSON.parse(text);
  assert.ok(isRecord(reply) && isRecord(reply['parameters']), text);
  if (reply['error'] === undefined) {
    const known =
      isAnswer('List', reply['parameters']) ||
      isAnswer('Status', reply['parameters']) ||
      'mode' in reply['parameters'];
    assert.ok(known, text);
  } else {
    assert.ok(typeof reply['error'] === 'string' && Object.hasOwn(exitStatuses, reply['error']), text);
    const { message } = reply['parameters'];
    assert.ok(typeof message === 'string' && message !== '' && !/\p{Cc}/u.test(message), text);
    // An error of the program's own would read like this.
    assert.doesNotMatch(message, /undefined|is not a function|Cannot read/);
  }
}

describe('the control socket', () => {
  it('answers anything in good form, goes on, and keeps no descriptor', async (t) => {
    const address = inet(randomLoopback(), freePort());
    const file = (port: string, handoff: string) =>
      `[Socket]\nListenStream=${port}\n[Reservation]\nHandoff=${handoff}\n`;
    const daemon = await Berthd.start(t, {
      app: file(`${address.host}:${address.port}`, 'exec'),
      other: file(`${randomLoopback()}:${freePort()}`, 'store'),
      none: file(`${randomLoopback()}:${freePort()}`, 'none'),
    });
    const fds = daemon.fds().size;
    let visits = 0;
    await fc.assert(
      fc.asyncProperty(visit, async ({ packets, waits }) => {
        visits++;
        const talk = new Talk(daemon.control);
        try {
          for (const { data, fds: count } of packets) {
            try {
              talk.send(data, Array<number>(count).fill(0));
            } catch {
              break; // EPIPE: it was answered and closed.
            }
          }
          if (waits && packets.length > 0 && packets[0]?.data.length !== 0) {
            const answers = await talk.receiveAll();
            // Further packets reset the connection, and the answer with it.
            if (packets.length === 1) assert.equal(answers.length, 1);
            answers.forEach(checkAnswer);
          }
        } finally {
          talk.close();
        }
      }),
      { numRuns: runs },
    );
    assert.equal(daemon.child.ended, false);
    assert.equal(daemon.child.err.split('\n').length, 2, daemon.child.err.slice(0, 2000));
    await until(
      () => daemon.fds().size,
      (now) => now === fds,
      `descriptors, of ${fds}`,
    );
    assert.equal((await daemon.claim('app', ['true'])).status, 0);
    assert.deepEqual(steal('stream', address), []);
    counted(t, 'control-socket', visits);
  });
});
