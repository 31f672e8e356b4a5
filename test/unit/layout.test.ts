import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { describe, it } from 'node:test';
import { root } from '../support/processes.js';

/** A file imports from its own folder and from those before it. */
const order = ['model', 'config', 'native', 'systemd', 'protocol', 'generator', 'daemon', 'commands', 'bin'];

/** Which folders write to a terminal or a log; the others return, or throw. */
const speaking = ['daemon', 'commands', 'bin'];

const source = join(root, 'src');
const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => ({ file, text: readFileSync(join(source, file), 'utf8') }));

function folderOf(file: string): string {
  return file.split('/')[0] ?? '';
}

/** The files that a file imports, below src; packages left out. */
function importsOf({ file, text }: { file: string; text: string }): string[] {
  return [...text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)].map(([, path = '']) =>
    relative(source, normalize(join(source, dirname(file), path))),
  );
}

describe('src', () => {
  it('has no other folders', () => {
    const folders = new Set(files.map(({ file }) => folderOf(file)));
    assert.deepEqual(
      [...folders].filter((folder) => !order.includes(folder)),
      [],
    );
    assert.ok(files.length > 50);
  });

  it('imports one way only', () => {
    const wrong = files.flatMap((each) =>
      importsOf(each)
        .filter((path) => !path.startsWith('..'))
        .filter((path) => order.indexOf(folderOf(path)) > order.indexOf(folderOf(each.file)))
        .map((path) => `${each.file} imports ${path}`),
    );
    assert.deepEqual(wrong, []);
    const crossing = files.flatMap(importsOf).filter((path) => folderOf(path) === 'model');
    assert.ok(crossing.length > 20, 'the search finds imports at all');
  });

  it('speaks in the daemon, the commands and the programs alone', () => {
    const wrong = files
      .filter(({ file }) => !speaking.includes(folderOf(file)))
      .filter(({ text }) => /\bconsole\.|process\.std(out|err)|writeSync\(/.test(text))
      .map(({ file }) => file);
    assert.deepEqual(wrong, []);
  });
});
