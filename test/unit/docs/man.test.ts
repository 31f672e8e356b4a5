import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { exitStatuses } from '../../../src/model/errors.js';
import { root } from '../../support/processes.js';
import { readDocument } from './markdown.js';

const pages = [
  {
    page: 'berth-claim.1',
    command: [path('build/bin/berth-claim')],
    statuses: [125, 126, 127],
  },
  {
    page: 'portrelease.1',
    command: [path('build/bin/portrelease')],
    statuses: [0, 1],
  },
  {
    page: 'berthd.8',
    command: [process.execPath, path('build/lib/berthd.cjs')],
    statuses: [0, exitStatuses.Failed, exitStatuses.Usage, exitStatuses.Busy, 75],
  },
] as const;

function path(name: string): string {
  return join(root, name);
}

function run(command: readonly string[]): string {
  const [file = '', ...args] = command;
  const { stdout, stderr, status, error } = spawnSync(file, args, { encoding: 'utf8' });
  assert.equal(error, undefined);
  assert.deepEqual({ stderr, status }, { stderr: '', status: 0 });
  return stdout;
}

/** Text without roff's requests, fonts and escapes. */
function plain(roff: string): string {
  return roff
    .replaceAll(/^\.(?:SY|YS|B|I|BR|RB|BI|IB|RI|IR|TP|PP|SS|EX|EE)\b ?/gm, '')
    .replaceAll(/\\f[BIRP]/g, '')
    .replaceAll(/\\[|&]/g, '')
    .replaceAll('\\-', '-')
    .replaceAll('\\~', ' ');
}

function section(source: string, title: string): string {
  return source.split(`\n.SH ${title}\n`)[1]?.split('\n.SH ')[0] ?? '';
}

function options(text: string): string[] {
  return [...new Set(text.match(/(?<![\w-])--[a-z][a-z0-9-]*/g))].sort();
}

/** Without blanks and quotes, which roff's requests set in their own way. */
function squeezed(text: string): string {
  return text.replaceAll(/\s+/g, '');
}

for (const { page, command, statuses } of pages) {
  describe(page, () => {
    const source = readDocument(`docs/man/${page}`);

    it('describes the options of --help, and no other', () => {
      const heads = [...section(source, 'OPTIONS').matchAll(/^\.TP\n(.*)$/gm)].map(([, head = '']) =>
        plain(head),
      );
      const help = run([...command, '--help']);
      assert.deepEqual(
        options(heads.join('\n')),
        [...new Set([...options(help), '--help', '--version'])].sort(),
      );
    });

    it('has the forms of --help', () => {
      const [usage = ''] = run([...command, '--help']).split('\n\n');
      const forms = [...usage.matchAll(/^(?:usage:| {6}) (.*)$/gm)].map(([, form = '']) => form);
      const synopsis = squeezed(plain(section(source, 'SYNOPSIS')));
      assert.ok(forms.length > 0);
      for (const form of forms) assert.ok(synopsis.includes(squeezed(form)), form);
    });

    it('lists the exit statuses', () => {
      const heads = [...section(source, 'EXIT STATUS').matchAll(/^\.TP\n(.*)$/gm)].map(([, head = '']) =>
        plain(head),
      );
      const numbers = heads.flatMap((head) => (/^\d+$/.test(head) ? [Number(head)] : []));
      assert.deepEqual(
        numbers.toSorted((a, b) => a - b),
        [...statuses].sort((a, b) => a - b),
      );
    });

    it('has the sections that a manual page needs', () => {
      for (const title of ['NAME', 'DESCRIPTION', 'ENVIRONMENT', 'FILES', 'EXAMPLES', 'NOTES', 'SEE ALSO']) {
        assert.notEqual(section(source, title), '', title);
      }
    });

    it('is set without a warning', (t) => {
      const { error, stderr, status } = spawnSync('man', ['--warnings', '-l', path(`docs/man/${page}`)], {
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
}
