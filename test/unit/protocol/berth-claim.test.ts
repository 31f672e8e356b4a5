import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { BerthError } from '../../../src/model/errors.js';
import { native } from '../../../src/native/index.js';
import { claimReply, errorReply, type Reply } from '../../../src/protocol/replies.js';
import { fakeBerthd } from '../../support/fake-berthd.js';
import { root, run, type Exit } from '../../support/processes.js';

const program = `${root}build/bin/berth-claim`;
/** Prints what it was given. */
const print = 'printf "%s\\n" "$LISTEN_FDS" "$LISTEN_FDNAMES"; [ "$LISTEN_PID" = $$ ] || echo "wrong pid"';

interface Claimed extends Exit {
  readonly requests: readonly string[];
}

/** Runs the real berth-claim against a server that sends `replies`. */
async function claim(
  t: TestContext,
  replies: readonly Reply[],
  command: readonly string[] = ['sh', '-c', print],
  name = 'x',
): Promise<Claimed> {
  const requests: string[] = [];
  const path = fakeBerthd(t, (connection, request) => {
    requests.push(request);
    for (const { data, fds } of replies) native.send(connection, data, fds);
  });
  const exit = await run(t, program, ['--control', path, name, '--', ...command]);
  return { ...exit, requests };
}

function text(data: string, fds: readonly number[] = []): Reply {
  return { data: Buffer.from(data), fds };
}

function named(names: readonly string[], fd: number) {
  return names.map((name) => ({ fd, name }));
}

describe('berth-claim asks', () => {
  it('in the words of the protocol', async (t) => {
    const { requests } = await claim(t, [], ['true'], 'Az0_.@-');
    // More than once, because nobody answers here: berthd may have been restarted.
    assert.deepEqual(
      [...new Set(requests)],
      ['{"method":"Claim","parameters":{"name":"Az0_.@-","form":"exec"}}'],
    );
  });

  it('for nothing that is no name', async (t) => {
    for (const name of ['', 'a b', 'a"b', 'a/b', 'ä', 'x'.repeat(256)]) {
      const { status, err, requests } = await claim(t, [], ['true'], name);
      assert.equal(status, 125);
      assert.match(err, /^berth-claim: cannot claim '.*': this is no name of a reservation: .*\n$/);
      assert.deepEqual(requests, []);
    }
  });
});

describe('berth-claim reads what berthd writes', () => {
  it('any names, in any number', async (t) => {
    // What FileDescriptorName= allows: printable ASCII but colons, at most 255.
    const name = fc.stringMatching(/^[ -9;-~]{1,40}$/);
    await fc.assert(
      fc.asyncProperty(fc.array(name, { minLength: 1, maxLength: 20 }), async (names) => {
        const { status, out, err } = await claim(t, claimReply('exec', named(names, 0)));
        assert.deepEqual(
          { status, err, out },
          { status: 0, err: '', out: `${names.length}\n${names.join(':')}\n` },
        );
      }),
      { numRuns: 40 },
    );
  });

  for (const count of [1, 253, 254, 506, 600]) {
    it(`${count} descriptors`, async (t) => {
      const names = Array.from({ length: count }, (_, index) => `n${index}"\\`);
      const replies = claimReply('exec', named(names, 0));
      const { status, out, err } = await claim(t, replies);
      assert.deepEqual({ status, err }, { status: 0, err: '' });
      assert.equal(out, `${count}\n${names.join(':')}\n`);
      // The standard streams and what was handed over, then the directory that ls reads; nothing else.
      const numbers = (list: string) => list.trim().split('\n').map(Number);
      const inherited = numbers((await run(t, 'ls', ['/proc/self/fd'])).out).filter((fd) => fd > 3);
      const open = numbers((await claim(t, replies, ['ls', '/proc/self/fd'])).out);
      const expected = [...Array.from({ length: count + 4 }, (_, fd) => fd), ...inherited];
      assert.deepEqual(new Set(open), new Set(expected));
    });
  }

  it('errors with odd messages', async (t) => {
    for (const message of [
      'plain',
      'a "quoted" \\ one',
      'ümlaut 日本 😀',
      'é'.repeat(2000),
      'two\nlines\u001b[31m',
    ]) {
      const [reply] = errorReply(new BerthError('Denied', message));
      assert.ok(reply !== undefined);
      const { parameters } = JSON.parse(reply.data.toString()) as { parameters: { message: string } };
      const { status, out, err } = await claim(t, [reply]);
      assert.deepEqual(
        { status, out, err },
        { status: 125, out: '', err: `berth-claim: cannot claim 'x': ${parameters.message}\n` },
      );
    }
  });
});

describe('berth-claim refuses', () => {
  const good = '{"parameters":{"mode":"exec","fds":1,"left":0,"names":"x"}}';
  const cases: [what: string, replies: readonly Reply[]][] = [
    ['no answer at all', []],
    ['an empty packet', [text('')]],
    ['noise', [text('\u0000\u0001\u0002')]],
    ['half an answer', [text(good.slice(0, 40), [0])]],
    ['half an answer, within the names', [text(good.slice(0, -4), [0])]],
    ['an answer without its descriptors', [text(good)]],
    ['fewer descriptors than it says', [text(good.replace('"fds":1', '"fds":2'), [0])]],
    ['more descriptors than it says', [text(good, [0, 0])]],
    ['no descriptors as it says', [text(good.replace('"fds":1', '"fds":0'))]],
    ['fewer names than descriptors', [text(good.replace('"fds":1', '"fds":2'), [0, 0])]],
    ['more names than descriptors', [text(good.replace('"x"', '"x:y:z"'), [0])]],
    ['a page that never comes', [text(good.replace('"left":0', '"left":7'), [0])]],
    ['another mode', [text(good.replace('exec', 'store'), [0])]],
    ['JSON in another form', [text('{ "parameters": { "mode": "exec" } }', [0])]],
    ['an error without a message', [text('{"error":"Denied","parameters":{}}')]],
    ['an error whose message does not end', [text('{"error":"Denied","parameters":{"message":"abc')]],
    ['an error that ends in a backslash', [text('{"error":"Denied","parameters":{"message":"abc\\')]],
    [
      'an error that is too long',
      [text(`{"error":"Denied","parameters":{"message":"${'x'.repeat(5000)}"}}`)],
    ],
    ['an error of two lines', [text('{"error":"Denied","parameters":{"message":"a\nb\u001b[2Jc"}}')]],
    ['old names without end', [text(good.replace('}}', `,"remove":"${'x'.repeat(10_000)}"}}`), [0])]],
    ['names without end', [text(good.replace('"x"', `"${'x'.repeat(140_000)}"`), [0])]],
    [
      'names that leave no room for the others',
      [
        text(
          good.replace('"fds":1', '"fds":253').replace('"x"', `"${'x'.repeat(131_000)}"`),
          Array.from({ length: 253 }, () => 0),
        ),
      ],
    ],
  ];
  for (const [what, replies] of cases) {
    it(`${what}: exit 125, one line, and the command never runs`, async (t) => {
      const { status, signal, out, err } = await claim(t, replies);
      assert.deepEqual({ status, signal, out: out.slice(0, 100) }, { status: 125, signal: null, out: '' });
      assert.ok(err.length < 1200);
      assert.match(err, /^berth-claim: cannot claim 'x': [^\n\p{Cc}]+\n$/u);
    });
  }

  it('descriptors that its limit does not let it have', async (t) => {
    const path = fakeBerthd(t, (connection) => {
      for (const { data, fds } of claimReply('exec', named(Array<string>(100).fill('x'), 0)))
        native.send(connection, data, fds);
    });
    // LeakSanitizer, where there is one, would wait for a free descriptor of its own.
    const script = 'ulimit -n 50; ASAN_OPTIONS="${ASAN_OPTIONS-}:detect_leaks=0" exec "$0" "$@"';
    const { status, out, err } = await run(t, 'sh', [
      '-c',
      script,
      program,
      '--control',
      path,
      'x',
      '--',
      'echo',
      'ran',
    ]);
    assert.deepEqual({ status, out }, { status: 125, out: '' });
    assert.match(err, /not all descriptors could be received; is LimitNOFILE= large enough\?\n$/);
  });

  it('any noise, without a crash', async (t) => {
    const fd = openSync('/dev/null', 'r');
    t.after(() => {
      closeSync(fd);
    });
    const piece = fc.oneof(
      fc.constantFrom(
        good,
        '{"parameters":{"mode":"exec","fds":',
        '"left":',
        '"names":"',
        '"message":"',
        '\\',
        '"',
        '1',
        '-1',
        '99999999999999999999',
      ),
      fc.string({ unit: 'binary', maxLength: 20 }),
    );
    const packet = fc.record({
      data: fc.array(piece, { maxLength: 8 }).map((pieces) => Buffer.from(pieces.join(''))),
      fds: fc.nat({ max: 3 }).map((count) => Array<number>(count).fill(fd)),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(packet, { maxLength: 3 }), async (replies) => {
        const { status, signal, out } = await claim(t, replies);
        assert.equal(signal, null);
        assert.ok(status === 125 ? out === '' : status === 0, String(status));
      }),
      { numRuns: 40 },
    );
  });
});
