import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { reservationKeys, socketKeys } from '../../src/config/keys.js';
import { parseListen } from '../../src/config/listen.js';
import { loadConfiguration } from '../../src/config/load.js';
import { buildReservation } from '../../src/config/reservation.js';
import { parseServices } from '../../src/config/services.js';
import { parseSettings } from '../../src/config/settings.js';
import type { FileSource } from '../../src/config/source.js';
import { parseSyntax, strip } from '../../src/config/syntax.js';
import * as values from '../../src/config/values.js';
import { splitWords } from '../../src/config/words.js';
import { describeSocket, type Mistake } from '../../src/model/reservation.js';
import { counted, runsOf } from './fuzz.js';

const services = parseServices('ipp 631/tcp\nipp 631/udp\n');

/** As many inputs as this run gives to each property. */
function assertAll<T>(t: TestContext, target: string, property: fc.IProperty<T>): void {
  const numRuns = runsOf(400, 25_000);
  fc.assert(property, { numRuns });
  counted(t, target, numRuns);
}

/** Text that is half a configuration file: random bytes alone seldom get past the first bracket. */
const keys = [
  ...socketKeys.keys(),
  ...reservationKeys.keys(),
  'Accept',
  'User',
  'ListenFIFO',
  'X-Y',
  '',
  '__proto__',
];
const pieces = ['', '0', '1', 'yes', '631', '-1', '65536', '/run/x', '@x', '[::1]:22', '127.0.0.1:80', 'ipp', '%%', '%i', '1min', '5K', '0x', '"', '\\', 'é', '\0']; // prettier-ignore
const value = fc
  .array(fc.oneof(fc.constantFrom(...pieces), fc.string()), { maxLength: 3 })
  .map((all) => all.join(''));
const line = fc.oneof(
  fc.constantFrom('[Socket]', '[Reservation]', '[Unit]', '[Install]', '[X-Y]', '[', '[]', '#', ';', '\\', ' \\', '\uFEFF'), // prettier-ignore
  fc.tuple(fc.constantFrom(...keys), value).map(([key, text]) => `${key}=${text}`),
  fc.tuple(fc.constantFrom(...keys), value).map(([key, text]) => ` ${key} = ${text} \\`),
  fc.string({ unit: 'binary' }),
);
const text = fc.oneof(
  fc.array(line, { maxLength: 30 }).map((lines) => Buffer.from(`[Socket]\n${lines.join('\n')}`)),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
);

function assertPlaced(mistakes: readonly Mistake[], bytes: Uint8Array): void {
  const last = Buffer.from(bytes).toString('latin1').split('\n').length;
  for (const { file, line: at, message } of mistakes) {
    assert.equal(file, 'f');
    assert.ok(Number.isInteger(at) && at >= 1 && at <= last, `line ${at} of ${last}`);
    assert.notEqual(message, '');
    // eslint-disable-next-line no-control-regex -- nothing that a terminal would obey
    assert.doesNotMatch(message, /[\u0000-\u001f\u007f-\u009f]/);
  }
}

/** Either a value or a ValueError with something to say, whatever the input. */
function assertParses(parse: () => unknown): void {
  try {
    parse();
  } catch (error) {
    assert.ok(error instanceof values.ValueError, String(error));
    assert.notEqual(error.message, '');
  }
}

describe('the configuration, whatever the files are', () => {
  it('never throws in the lexer, and puts every mistake and assignment on a line of the file', (t) => {
    assertAll(
      t,
      'syntax-lines',

      fc.property(text, (bytes) => {
        const { assignments, mistakes } = parseSyntax('f', bytes);
        assertPlaced(mistakes, bytes);
        let before = 0;
        for (const { line: at, key, value: content } of assignments) {
          assert.ok(at > before);
          before = at;
          assert.equal(key, strip(key));
          assert.equal(content, strip(content));
          assert.notEqual(key, '');
        }
      }),
    );
  });

  it('reads back what it is given, with comments and continuations put in between', (t) => {
    const word = fc.stringMatching(/^[A-Za-z0-9=/. é]{1,10}$/).map(strip);
    const gap = fc.constantFrom('', '# x\n', '; A=\\\n', '   # y\n');
    const assignment = fc.tuple(fc.stringMatching(/^[A-Za-z]{1,8}$/), word, word, gap);
    assertAll(
      t,
      'syntax-back',

      fc.property(fc.array(assignment, { maxLength: 10 }), (all) => {
        const file = all.map(([key, a, b, comment]) => `${comment}${key} =${a}\\\n${comment}${b}\n`).join('');
        const { assignments, mistakes } = parseSyntax('f', Buffer.from(`[S]\n${file}`));
        assert.deepEqual(mistakes, []);
        assert.deepEqual(
          assignments.map(({ key, value: content }) => [key, content]),
          all.map(([key, a, b]) => [key, strip(`${a} ${b}`)]),
        );
      }),
    );
  });

  it('never throws in a reservation, which has either mistakes or sockets', (t) => {
    assertAll(
      t,
      'reservation',

      fc.property(text, fc.constantFrom('a', 'a@b', 'berthd', 'a@', ' '), (bytes, name) => {
        const built = buildReservation(name, { file: 'f', line: 1 }, [parseSyntax('f', bytes)], services);
        assertPlaced(built.mistakes, bytes);
        assert.equal(built.reservation === undefined, built.mistakes.length > 0);
        for (const spec of built.reservation?.sockets ?? []) {
          assert.notEqual(describeSocket(spec), '');
          if ('port' in spec.address) assert.ok(spec.address.port >= 1 && spec.address.port <= 65535);
        }
      }),
    );
  });

  it('never throws in the settings', (t) => {
    assertAll(
      t,
      'berthd.conf-lines',

      fc.property(
        fc.oneof(
          text,
          fc.string().map((all) => Buffer.from(all)),
        ),
        (bytes) => {
          const { mistakes, settings } = parseSettings('f', bytes);
          for (const { line: at } of mistakes) assert.ok(at >= 1);
          assert.ok(settings.peerTimeoutSec > 0);
        },
      ),
    );
  });

  it('never throws in the parsers of values, but for a ValueError', (t) => {
    const parsers: ((input: string) => unknown)[] = [
      values.parseBoolean,
      (input) => values.parseInteger(input, 0, 100),
      (input) => values.parseSize(input, 1e9),
      values.parseTimeSpan,
      (input) => values.parseKernelSeconds(input, 100),
      values.parseMode,
      values.parseTypeOfService,
      values.parseUserName,
      values.parseInterfaceName,
      values.parseFdName,
      values.parseAbsolutePath,
      (input) => splitWords(input, { escapes: 'c' }),
      (input) => splitWords(input, { escapes: 'relaxed' }),
      (input) => splitWords(input, { escapes: 'plain' }),
      (input) => parseListen(input, { type: 'stream', services }),
      (input) => parseListen(input, { type: 'seqpacket', services }),
    ];
    assertAll(
      t,
      'values',

      fc.property(fc.oneof(value, fc.string({ unit: 'binary' })), (input) => {
        for (const parse of parsers) assertParses(() => parse(input));
      }),
    );
  });

  it('reads a time span as the sum of its terms', (t) => {
    const units = { us: 1, ms: 1e3, s: 1e6, min: 60e6, h: 3600e6, d: 86400e6, w: 604800e6 };
    const term = fc.tuple(fc.nat(10_000), fc.constantFrom(...(Object.keys(units) as (keyof typeof units)[])));
    assertAll(
      t,
      'time-spans',

      fc.property(
        fc.array(term, { minLength: 1, maxLength: 5 }),
        fc.constantFrom('', ' '),
        (terms, space) => {
          const written = terms.map(([count, unit]) => `${count}${space}${unit}`).join(space);
          const sum = terms.reduce((total, [count, unit]) => total + count * units[unit], 0);
          assert.equal(values.parseTimeSpan(written), sum);
        },
      ),
    );
  });

  it('gives every word of a quoted line back', (t) => {
    assertAll(
      t,
      'words-quoted',

      fc.property(fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 6 }), (all) => {
        const written = all.map((word) => `"${word.replace(/[\\"]/g, '\\$&')}"`).join(' \t');
        assert.deepEqual(
          splitWords(written, { escapes: 'c' }).map((word) => word.text),
          all,
        );
      }),
    );
  });

  it('never lets one file touch another', (t) => {
    assertAll(
      t,
      'files',

      fc.property(text, (bytes) => {
        const source: FileSource = {
          list: () => ['bad.conf', 'good.conf'],
          read: (file) =>
            file === '/d/bad.conf' ? bytes : file === '/d/good.conf' ? Buffer.from(good) : undefined,
        };
        const { reservations, broken } = loadConfiguration(source, ['/d'], services);
        assert.ok(reservations.some(({ name }) => name === 'good') || broken.includes('good'));
        // The only thing that a later file can lose is a socket that an earlier one has.
        assert.equal(
          broken.includes('good'),
          reservations.some(({ name }) => name === 'bad') && broken.includes('good'),
        );
      }),
    );
  });

  const hostile: [string, (size: number) => string][] = [
    ['wrong lines', (size) => 'x\n'.repeat(size)],
    ['unknown keys', (size) => `[Socket]\n${'Fo=1\n'.repeat(size)}`],
    ['continuations', (size) => `[Socket]\nA=${'\\\n'.repeat(size)}`],
    ['sections', (size) => '[x]\n'.repeat(size)],
    ['links', (size) => `[Socket]\nListenStream=/a\n${'Symlinks=/a\n'.repeat(size)}`],
    ['spaces', (size) => `[Socket]\nNoDelay=x${' '.repeat(size)}x\n`],
    ['backslashes', (size) => `[Socket]\nNoDelay=${'\\'.repeat(size)}\n`],
    ['digits', (size) => `[Socket]\nKeepAliveTimeSec=${'1'.repeat(size)}\nSendBuffer=${'1 '.repeat(size)}\n`],
    ['time spans', (size) => `[Socket]\nKeepAliveTimeSec=${'1 '.repeat(size)}\n`],
    ['quotes', (size) => `[Socket]\nSymlinks=${'"'.repeat(size)}\n`],
    [
      'percent signs',
      (size) => `[Socket]\nFileDescriptorName=${'%'.repeat(size)}\nListenStream=[${']:%'.repeat(size)}\n`,
    ],
    ['sockets', (size) => `[Socket]\n${'ListenStream=@x\n'.repeat(size)}`],
  ];
  for (const [what, make] of hostile) {
    it(`takes no more than linear time for ${what}`, () => {
      const bytes = Buffer.from(make(200_000));
      const start = performance.now();
      buildReservation('a', { file: 'f', line: 1 }, [parseSyntax('f', bytes)], services);
      // Linear takes a fraction of a second even here; quadratic would take 40,000,000,000 steps.
      assert.ok(performance.now() - start < 3000);
    });
  }
});

const good = '[Socket]\nListenStream=/run/good\n';
