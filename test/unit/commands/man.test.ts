import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readArguments, verbs } from '../../../src/commands/arguments.js';
import { exitStatuses } from '../../../src/model/errors.js';

const docs = new URL('../../../../../docs/', import.meta.url);
const page = fileURLToPath(new URL('man/berth.1', docs));
const source = readFileSync(page, 'utf8');

function section(title: string): string {
  const [, rest = ''] = source.split(`.SH ${title}\n`);
  return rest.split('\n.SH ')[0] ?? '';
}

/** The heads of a section's paragraphs, without fonts and roff's escapes. */
function heads(title: string): string[] {
  return [...section(title).matchAll(/^\.TP\n(.*)$/gm)].map(([, head = '']) =>
    head
      .replace(/^\.[BIR]+ /, '')
      .replaceAll('\\-', '-')
      .replaceAll('\\~', ' '),
  );
}

async function help(...argv: string[]): Promise<string> {
  const notice = await readArguments([...argv, '--help'], '1.2.3');
  assert.ok('text' in notice);
  return notice.text;
}

function options(text: string): string[] {
  return [...new Set(text.match(/--[a-z][a-z-]*/g))].sort();
}

/** The paragraph about an option. */
function optionText(option: string): string {
  const paragraphs = section('OPTIONS')
    .replaceAll('\\-', '-')
    .split(/^\.TP\n/m);
  return paragraphs.find((text) => (text.split('\n')[0] ?? '').includes(option)) ?? '';
}

/** The value of an option, as the head of its paragraph names it. */
function optionValue(option: string): string[] {
  return /\b[A-Z]+$/.exec(optionText(option).split('\n')[0] ?? '') ?? [];
}

async function helpOptions(): Promise<string[]> {
  const texts = await Promise.all([help(), ...verbs.map((verb) => help(verb))]);
  return options(texts.join('\n'));
}

const globalOptions = options(await help());

describe('berth(1)', () => {
  it('describes every option of --help, and no other', async () => {
    assert.deepEqual(options(heads('OPTIONS').join('\n')), await helpOptions());
  });

  it('describes every command of --help, and no other', async () => {
    const named = [...(await help()).matchAll(/^ {2}berth (\w+)/gm)].map(([, verb]) => verb);
    assert.deepEqual(named.sort(), [...verbs].sort());
    assert.deepEqual(
      heads('COMMANDS')
        .map((head) => head.split(' ')[0])
        .sort(),
      named,
    );
  });

  for (const verb of verbs) {
    it(`gives berth ${verb} the operands and options of berth ${verb} --help`, async () => {
      const text = await help(verb);
      const [usage = ''] = text.split('\n');
      const synopsis = [...section('SYNOPSIS').matchAll(/^\.SY berth\n([^]*?)^\.YS/gm)]
        .map(([, form = '']) => form.replace(/^\.\w+ /gm, '').replaceAll('\\-', '-'))
        .find((form) => new RegExp(`\\b${verb}\\b`).test(form));
      assert.ok(synopsis !== undefined, 'there is a synopsis');
      const own = options(text).filter((option) => !globalOptions.includes(option));
      assert.deepEqual(options(synopsis), own);
      const operands = (line: string): string[] =>
        (line.match(/\b[A-Z]{3,}\b/g) ?? []).filter((each) => each !== 'OPTION');
      const valued = own.flatMap((option) => optionValue(option));
      assert.deepEqual(
        operands(synopsis).filter((each) => !valued.includes(each)),
        operands(usage),
      );
      for (const option of own)
        assert.match(optionText(option), new RegExp(`^(\\.B?R? ?|For).*\\b${verb}\\b`, 'm'));
    });
  }

  it('lists the exit statuses that there are', () => {
    const all = new Set([0, ...Object.values(exitStatuses)]);
    assert.deepEqual(
      heads('EXIT STATUS').map(Number),
      [...all].sort((a, b) => a - b),
    );
  });

  it('has the sections that a man page needs', () => {
    const titles = [...source.matchAll(/^\.SH (.*)$/gm)].map(([, title]) => title);
    for (const title of ['NAME', 'SYNOPSIS', 'DESCRIPTION', 'FILES', 'EXAMPLES', 'SEE ALSO']) {
      assert.ok(titles.includes(title), title);
    }
  });

  it('is set without a warning', (t) => {
    const { error, stderr, status } = spawnSync('man', ['--warnings', '-l', page], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C.UTF-8', MANPAGER: 'cat' },
    });
    if (error !== undefined) {
      assert.notEqual(process.env['BERTH_MUST_RUN'], '1', 'man is needed');
      t.skip('needs man');
      return;
    }
    assert.deepEqual({ stderr, status }, { stderr: '', status: 0 });
  });
});

describe('the completions', () => {
  for (const file of ['berth.bash', '_berth']) {
    it(`${file} offers every command and option of --help, and no other option`, async () => {
      const text = readFileSync(new URL(`completions/${file}`, docs), 'utf8');
      assert.deepEqual(options(text), await helpOptions());
      for (const verb of verbs) {
        assert.match(text, new RegExp(`['" ]${verb}[:' ]`));
      }
    });
  }
});
