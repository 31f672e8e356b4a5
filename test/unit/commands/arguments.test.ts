import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { readArguments, readPlain, type Invocation } from '../../../src/commands/arguments.js';
import { parseWithYargs } from '../../../src/commands/yargs.js';

const defaults: Invocation = {
  verb: 'list',
  operands: [],
  control: '/run/berth/control',
  json: false,
  jsonForm: 'auto',
  legend: true,
  pager: true,
  configDirs: [],
  diff: false,
  precompute: false,
  listening: false,
  write: false,
  root: '',
  count: 0,
};

async function reads(argv: readonly string[], expected: Partial<Invocation>): Promise<void> {
  assert.deepEqual(await readArguments(argv, '1.2.3'), { ...defaults, ...expected });
}

function refuses(argv: readonly string[], message: string): Promise<void> {
  return assert.rejects(readArguments(argv, '1.2.3'), { name: 'BerthError', code: 'Usage', message });
}

describe('readArguments', () => {
  it('takes list for granted', async () => {
    await reads([], {});
    await reads(['--json'], { json: true });
    await reads(['--control=/x'], { control: '/x' });
    await reads(['list', '--no-legend'], { legend: false });
  });

  it('takes options before and after the command', async () => {
    await reads(['--control', '/x', 'status', 'cups', '--json'], {
      verb: 'status',
      operands: ['cups'],
      control: '/x',
      json: true,
    });
    await reads(['reload', '--control=/x=y'], { verb: 'reload', control: '/x=y' });
  });

  it('takes the last of several --control, and every --config-dir', async () => {
    await reads(['--control', 'a', '--control', 'b'], { control: 'b' });
    await reads(['check', '--config-dir', 'a', 'x.conf', '--config-dir=b', 'y.conf'], {
      verb: 'check',
      operands: ['x.conf', 'y.conf'],
      configDirs: ['a', 'b'],
    });
  });

  it('leaves operands as they are written', async () => {
    await reads(['status', '0x10'], { verb: 'status', operands: ['0x10'] });
    await reads(['--control', '-', 'status', 'help'], { verb: 'status', operands: ['help'], control: '-' });
    await reads(['--control', 'a', 'check', '1e3', '-', '=', '[', "'x'"], {
      verb: 'check',
      operands: ['1e3', '-', '=', '[', "'x'"],
      control: 'a',
    });
  });

  it('takes nothing for an option after the first --', async () => {
    await reads(['status', '--', '--json'], { verb: 'status', operands: ['--json'] });
    await reads(['check', '--json', '--', '-x', '--', '12'], {
      verb: 'check',
      operands: ['-x', '--', '12'],
      json: true,
    });
    await reads(['--'], {});
  });

  const mistakes: readonly [readonly string[], string][] = [
    [['--json=maybe'], 'option --json takes no value but short or pretty'],
    [['list', '--no-legend='], 'option --no-legend takes no value'],
    [['--help=no'], 'option --help takes no value'],
    [['--nope'], 'unknown option --nope'],
    [['-j'], 'unknown option -j'],
    [['--js'], 'unknown option --js'],
    [['--no-json'], 'unknown option --no-json'],
    [['--configDir', 'x'], 'unknown option --configDir'],
    [['--$0', 'x'], 'unknown option --$0'],
    [['--_', 'x'], 'unknown option --_'],
    [['--get-yargs-completions'], 'unknown option --get-yargs-completions'],
    [['--__proto__', 'x'], 'unknown option --__proto__'],
    [['--control'], 'option --control needs a value'],
    [['--control', '--json'], 'option --control needs a value'],
    [['--control='], 'option --control needs a value'],
    [['--control', ''], 'option --control needs a value'],
    [['list', '--config-dir', 'x'], "unexpected argument 'config-dir'"],
    [['lits'], "unknown command 'lits'; did you mean list?"],
    [['--control', 'x', 'relod'], "unknown command 'relod'; did you mean reload?"],
    [['frobnicate'], "unknown command 'frobnicate'"],
    [['631'], "unknown command '631'; did you mean berth why 631?"],
    [['why'], 'why needs a PORT'],
    [['why', '1', '2'], "unexpected argument '2'"],
    [['watch', '--count', 'x'], 'option --count needs a number of events'],
    [['watch', 'x'], "unexpected argument 'x'"],
    [['-'], "unknown command '-'"],
    [['list', 'x'], "unexpected argument 'x'"],
    [['reload', 'x'], "unexpected argument 'x'"],
    [['status'], 'status needs the NAME of a reservation'],
    [['status', '--'], 'status needs the NAME of a reservation'],
    [['status', ''], 'status cannot take an empty argument'],
    [['check', ''], 'check cannot take an empty argument'],
    [['status', 'a', 'b'], "unexpected argument 'b'"],
    [['status', '--', 'a', '-b'], "unexpected argument '-b'"],
    [['help'], "unknown command 'help'; did you mean --help?"],
    [['--', 'x'], "unknown command 'x'"],
  ];
  for (const [argv, message] of mistakes) {
    it(`refuses berth ${argv.join(' ')}`, () => refuses(argv, message));
  }

  it('answers --help and --version, whatever the language of the user', async () => {
    const language = process.env['LC_ALL'];
    process.env['LC_ALL'] = 'de_DE.UTF-8';
    try {
      const help = await readArguments(['--help'], '1.2.3');
      assert.ok('text' in help);
      assert.match(help.text, /^berth \[OPTION…\] \[COMMAND\]\n[^]*Commands:\n[^]*Options:\n[^]*\n$/);
      assert.deepEqual(await readArguments(['list', '-h'], '1.2.3').then((notice) => 'text' in notice), true);
      assert.deepEqual(await readArguments(['--version'], '1.2.3'), { text: 'berth 1.2.3\n' });
    } finally {
      if (language === undefined) {
        delete process.env['LC_ALL'];
      } else {
        process.env['LC_ALL'] = language;
      }
    }
  });
});

describe('readPlain', () => {
  it('reads what is typed every day', () => {
    assert.deepEqual(readPlain([]), defaults);
    assert.deepEqual(readPlain(['status', 'cups', '--json']), {
      ...defaults,
      verb: 'status',
      operands: ['cups'],
      json: true,
    });
  });

  it('reads nothing that yargs would read otherwise', async () => {
    const word = fc.constantFrom(
      ...[
        'list',
        'status',
        'check',
        'reload',
        '--json',
        '--no-legend',
        '--control',
        '-',
        '--',
        '-h',
        '',
        'cups',
      ],
      ...[
        '0x10',
        'a=b',
        '--json=1',
        '12',
        'lits',
        '-json',
        '--help',
        '--no-json',
        'help',
        'completion',
        '$0',
      ],
    );
    const seen = new Set<boolean>();
    await fc.assert(
      fc.asyncProperty(fc.array(word, { maxLength: 4 }), async (argv) => {
        const plain = readPlain(argv);
        seen.add(plain === undefined);
        if (plain !== undefined) {
          assert.deepEqual(plain, await parseWithYargs(argv, [], '1.2.3'));
        }
      }),
      { numRuns: 500 },
    );
    assert.equal(seen.size, 2);
  });
});
