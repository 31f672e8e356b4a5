import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { root } from '../../support/processes.js';
import { requires } from '../../support/requirements.js';
import { readDocument } from './markdown.js';

const folder = 'docs/man';
const pages = readdirSync(join(root, folder));
/** Each with its page; berth-generator is run by systemd alone. */
const programs: Readonly<Record<string, string>> = {
  'berth.1': 'build/lib/berth.cjs',
  'berth-claim.1': 'build/bin/berth-claim',
  'portrelease.1': 'build/bin/portrelease',
  'berthd.8': 'build/lib/berthd.cjs',
  'berth-generator.8': 'build/bin/berth-generator',
};

function titles(page: string): string[] {
  return [...readDocument(`${folder}/${page}`).matchAll(/^\.SH "?(.*?)"?$/gm)].map(([, title = '']) => title);
}

describe('the manual pages', () => {
  it('are those of the programs and of the files', () => {
    const ofFiles = pages.filter((page) => page.endsWith('.5'));
    assert.deepEqual(ofFiles.toSorted(), ['berth.conf.5', 'berthd.conf.5']);
    assert.deepEqual(
      pages.filter((page) => !ofFiles.includes(page)).toSorted(),
      Object.keys(programs).toSorted(),
    );
    for (const program of Object.values(programs)) assert.ok(existsSync(join(root, program)), program);
  });

  for (const page of pages) {
    describe(page, () => {
      const source = readDocument(`${folder}/${page}`);

      it('has the sections of its kind, none of them empty, in their order', () => {
        const has = titles(page);
        const owed = ['NAME', 'SYNOPSIS', 'DESCRIPTION', 'FILES', 'EXAMPLES', 'SEE ALSO'];
        if (page in programs) owed.push('OPTIONS', 'EXIT STATUS');
        for (const title of owed) assert.ok(has.includes(title), title);
        assert.ok(
          has.some((title) => /\bOPTIONS$/.test(title)),
          'OPTIONS',
        );
        assert.deepEqual(has.slice(0, 3), ['NAME', 'SYNOPSIS', 'DESCRIPTION']);
        assert.equal(has.at(-1), 'SEE ALSO');
        for (const part of source.split(/^\.SH .*$/m).slice(1)) assert.notEqual(part.trim(), '');
      });

      it('is named as its heading says', () => {
        const [, name = '', number = ''] = /^\.TH (\S+) (\d)/.exec(source) ?? [];
        assert.equal(`${name.toLowerCase().replaceAll('\\-', '-')}.${number}`, page);
      });

      it('refers to pages of berth that there are, and to the errors', () => {
        const own = [...source.matchAll(/^\.BR (berth\S*|portrelease) \((\d)\)/gm)].map(
          ([, name = '', number = '']) => `${name.replaceAll('\\-', '-')}.${number}`,
        );
        assert.ok(own.length > 0);
        for (const name of own) assert.ok(pages.includes(name), name);
        assert.match(source, /^\.I \/usr\/share\/doc\/berth\/docs\/errors\.md$/m);
      });

      it('is set by groff without a warning', (t) => {
        const { error, stdout, stderr, status } = spawnSync(
          'groff',
          ['-man', '-Tutf8', '-K', 'utf8', '-ww', '-z', join(root, folder, page)],
          { encoding: 'utf8' },
        );
        if (!requires(t, error === undefined, 'this needs groff')) return;
        assert.deepEqual({ stdout, stderr, status }, { stdout: '', stderr: '', status: 0 });
      });
    });
  }
});
