import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ValueError } from '../../../src/config/values.js';
import { parseCommandLines, wrapCommand } from '../../../src/generator/command-line.js';
import { put, tree } from '../systemd/tree.js';

function wrapped(value: string): string[] {
  return parseCommandLines(value).map((command) => wrapCommand(command, { exec: ['x'], bind: [] }, '/c'));
}

describe('wrapCommand', () => {
  const table: readonly (readonly [string, ...string[]])[] = [
    ['/bin/a', '/c x -- /bin/a'],
    ['-/bin/a  b   c ', '-/c x -- /bin/a b   c'],
    ['+:-/bin/a', '+:-/c x -- /bin/a'],
    ['!!/bin/a', '!!/c x -- /bin/a'],
    ['!-!/bin/a', '!-!/c x -- /bin/a'],
    ['@/bin/a b c', '/c --argv0 b x -- /bin/a c'],
    ['-@!/bin/a "b c"', '-!/c --argv0 "b c" x -- /bin/a'],
    ['/bin/a ; /bin/b', '/c x -- /bin/a', '/c x -- /bin/b'],
    ['/bin/a \\; /bin/b', '/c x -- /bin/a \\; /bin/b'],
    ['/bin/a ";" /bin/b', '/c x -- /bin/a ";" /bin/b'],
    ['/bin/a;b', '/c x -- /bin/a;b'],
    ['"/bin/a b" $c', '/c x -- "/bin/a b" $c'],
    ['"-/bin/a\\x20b" $c', '-/c x -- "/bin/a b" $c'],
    [`'-/bin/a"b' $c`, '-/c x -- "/bin/a\\"b" $c'],
    ['/bin/a \\q', '/c x -- /bin/a \\q'],
    ['/bin/$a $b', '/c x -- /bin/$$a $b'],
    [':/bin/$a $b', ':/c x -- /bin/$a $b'],
    ['cupsd -l', '/c x -- cupsd -l'],
    ['%h/a %i', '/c x -- %h/a %i'],
    [''],
  ];
  for (const [value, ...expected] of table)
    it(`makes ${expected.join(' and ')} of ${value}`, () => {
      assert.deepEqual(wrapped(value), expected);
    });

  it('has the reservations one in the other', () => {
    const [command] = parseCommandLines('-@/bin/a b c');
    assert.ok(command !== undefined);
    const wrap = (exec: string[], bind: string[]) => wrapCommand(command, { exec, bind }, '/c');
    assert.equal(wrap(['x', 'y'], []), '-/c x -- /c --argv0 b y -- /bin/a c');
    assert.equal(wrap(['x'], ['y', 'z']), '-/c x -- /c --argv0 b --bind y z -- /bin/a c');
    assert.equal(wrap([], ['y']), '-/c --argv0 b --bind y -- /bin/a c');
  });

  it('refuses what systemd refuses', () => {
    for (const value of ['a/b', '/a/', '-', '@/a', '--/a', '+!/a', '|/a', '/a "b', "/a 'b", '/a b\\'])
      assert.throws(() => wrapped(value), ValueError, value);
  });
});

const words = [
  'a',
  '$x',
  '${y}',
  '$$',
  '%%',
  '%i',
  '"q r"',
  "'s;'",
  '\\;',
  ';',
  '\\x41',
  '\\t',
  'u"v w"x',
  '""',
  'ü',
  '-',
  '@',
  ';z',
];
const prefixes = ['', '-', ':', '+', '!', '!!', '-:', ':+', '-!', '@', '-@', '@:', '+@-', '"-'];
const values = fc
  .tuple(
    fc.constantFrom(...prefixes),
    fc.constantFrom('/bin/p', '/b$p/x', 'rel'),
    fc.array(fc.constantFrom(...words), { maxLength: 6 }),
  )
  .map(([prefix, program, rest]) => [`${prefix}${program}${prefix === '"-' ? '"' : ''}`, ...rest].join(' '));

/** What ExecStart= lines mean to systemd, which verify prints with debug messages; undefined when it takes them not. */
function meaning(root: string, lines: readonly string[]): string[] {
  put(
    root,
    'etc/systemd/system/t.service',
    `[Service]\nType=oneshot\n${lines.map((line) => `ExecStart=${line}\n`).join('')}`,
  );
  const { stdout, stderr } = spawnSync(
    'systemd-analyze',
    [`--root=${root}`, '--man=no', 'verify', 't.service'],
    {
      encoding: 'utf8',
      env: { ...process.env, SYSTEMD_LOG_LEVEL: 'debug' },
      maxBuffer: 16 * 1024 * 1024,
    },
  );
  // A line that it refuses makes the whole unit fail.
  assert.match(
    stdout,
    /Unit Load State: loaded/,
    stderr
      .split('\n')
      .filter((line) => line.includes('t.service:'))
      .join('\n'),
  );
  return [...stdout.matchAll(/^\t\t\tCommand Line: (.*)$/gm)].map(([, line = '']) => line);
}

describe('systemd and a wrapped command', () => {
  it('agree on the words of the program, for any command', (context) => {
    if (spawnSync('systemd-analyze', ['--version']).status !== 0) {
      assert.notEqual(process.env['BERTH_MUST_RUN'], '1', 'there is no systemd-analyze');
      context.skip('there is no systemd-analyze');
      return;
    }
    const root = tree(context, {});
    const lines = fc.sample(values, { numRuns: 1500, seed: 1 }).filter((value) => {
      try {
        // An empty instance makes an empty path of %i, which only the manager knows.
        return parseCommandLines(value).every(({ plainPath }) => plainPath !== '%i');
      } catch (error) {
        assert.ok(error instanceof ValueError);
        return false;
      }
    });
    assert.ok(lines.length > 500, String(lines.length));
    const before = meaning(root, lines);
    const after = meaning(root, lines.flatMap(wrapped));
    assert.equal(after.length, before.length);
    after.forEach((line, index) => {
      const [, argv0, path = '', rest = ''] =
        /^\/c (?:--argv0 ((?:"(?:[^"\\]|\\.)*"|\S)+) )?x -- (\S+)(.*)$/.exec(line) ?? [];
      // A path has no variables, so that $$ in it, as an argument, is the $ that was there.
      assert.equal(`${argv0 ?? path.replaceAll('\\$\\$', '\\$')}${rest}`, before[index], lines.join('\n'));
    });
  });
});
