import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { run } from '../../src/commands/main.js';
import type { Output } from '../../src/commands/output.js';
import { native } from '../../src/native/index.js';
import { fakeBerthd } from '../support/fake-berthd.js';
import { programs } from '../support/berthd.js';
import { run as runProgram } from '../support/processes.js';
import { requiresRoot } from '../support/requirements.js';
import { corpusOf, counted, mutated, runsOf } from './fuzz.js';

const verbs = fc.constantFrom(
  ['list'],
  ['status', 'a'],
  ['list', '--json'],
  ['status', 'a', '--json'],
  ['reload'],
);

/** What is not to reach a terminal: what it would obey, but for the ends of lines. */
const obeyed = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

/** Answers of the right shape, whose texts and numbers are anything. */
const text = fc.oneof(
  fc.constantFrom('tcp *:1', '\u001b[31m', '\u009b0m', '\n', '\u202e', 'a'),
  fc.string({ unit: 'binary', maxLength: 20 }),
);
const number = fc.oneof(
  fc.nat(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom(-1, 1e300, -1e300, 8.64e15, 8.64e15 + 1),
);
const shared = {
  name: text,
  unit: text,
  handoff: fc.constantFrom('store', 'exec', 'bind'),
  state: fc.constantFrom('held', 'active', 'failed'),
  since: number,
};
const socket = fc.record(
  {
    socket: text,
    listen: text,
    state: fc.constantFrom('held', 'lent', 'failed'),
    error: text,
    inode: fc.nat(),
  },
  { requiredKeys: ['socket', 'listen', 'state'] },
);
const claimant = fc.record(
  { pid: fc.nat(), command: text, unit: text, since: number },
  { requiredKeys: ['pid', 'command', 'since'] },
);
const shaped = fc
  .oneof(
    fc.record({
      reservations: fc.array(fc.record({ ...shared, sockets: fc.array(text, { maxLength: 3 }) }), {
        maxLength: 3,
      }),
      more: fc.boolean(),
    }),
    fc.record({
      ...shared,
      sockets: fc.array(socket, { maxLength: 3 }),
      whileStopped: fc.constantFrom('refuse', 'queue'),
      fdName: text,
      claimants: fc.array(claimant, { maxLength: 2 }),
      definedAt: text,
    }),
    fc.record({
      reservations: fc.nat(),
      sockets: fc.nat(),
      mistakes: fc.array(text),
      failures: fc.array(text),
    }),
  )
  .map((parameters) => Buffer.from(JSON.stringify({ parameters })));
const refused = fc
  .tuple(fc.constantFrom('NotFound', 'Denied', 'Usage', '__proto__', 'x'), text)
  .map(([error, message]) => Buffer.from(JSON.stringify({ error, parameters: { message } })));
const answers = fc.oneof(shaped, refused, mutated('answer'), fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes))); // prettier-ignore

describe('berth, asked by a person at a terminal,', () => {
  it('ends whatever it is answered, with an exit status and nothing that a terminal obeys', async (t) => {
    let next: Buffer = Buffer.alloc(0);
    let pages = 0;
    const control = fakeBerthd(t, (connection) => {
      // A list that goes on for ever is the asker's to stop; here it stops the test's way.
      if (pages++ < 20 && next.length > 0) native.send(connection, next, []);
    });
    const runs = runsOf(300, 5000);
    let ran = 0;
    const check = async (answer: Buffer, verb: readonly string[]): Promise<void> => {
      ran++;
      [next, pages] = [answer, 0];
      let printed = '';
      const take = (more: string): void => void (printed += more);
      const output: Output = { out: take, err: take, columns: 80, paint: (_colour, plain) => plain };
      const status = await run(['--control', control, ...verb], '0', output);
      assert.ok([0, 1, 2, 3, 4, 5, 6, 78].includes(status));
      assert.doesNotMatch(printed.replaceAll('\n', ''), obeyed);
    };
    for (const answer of corpusOf('answer')) await check(answer, ['list']);
    await fc.assert(fc.asyncProperty(answers, verbs, check), { numRuns: runs });
    counted(t, 'berth-answers', ran);
  });
});

describe('berth-claim, answered by somebody else than berthd,', () => {
  it('runs nothing, ends with 125, and prints one line that no terminal obeys', async (t) => {
    if (!requiresRoot(t)) return;
    let next: Buffer = Buffer.alloc(0);
    const control = fakeBerthd(t, (connection) => {
      if (next.length > 0) native.send(connection, next, []);
    });
    const runs = runsOf(60, 3000);
    await fc.assert(
      fc.asyncProperty(fc.oneof(shaped, refused, mutated('answer'), mutated('ask')), async (answer) => {
        next = answer;
        const argv = ['--control', control, 'a', '--', 'echo', 'ran'];
        const { status, out, err } = await runProgram(t, programs.claim, argv);
        assert.deepEqual([status, out], [125, ''], err);
        assert.match(err, /^berth-claim: cannot claim 'a': [^\p{Cc}]*\n$/u);
      }),
      { numRuns: runs },
    );
    counted(t, 'berth-claim-answers', runs);
  });
});
