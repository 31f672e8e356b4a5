import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { root } from '../../support/processes.js';
import { readDocument, rows, section } from './markdown.js';

const document = readDocument('docs/reliability.md');
const { scripts } = JSON.parse(readDocument('package.json')) as { scripts: Record<string, string> };
const promises = rows(section(document, '## Promises'));
const figures = rows(section(document, '## Figures'));

/** What a command runs: `node build/js/test/lab/vault.test.js` is test/lab/vault.test.ts. */
function sourceOf(command: string): string | undefined {
  const built = /build\/js\/(\S+)\.js/.exec(command)?.[1];
  const script = /npm run (\S+)/.exec(command)?.[1];
  if (built !== undefined) return `${built}.ts`;
  if (script === undefined) return /\b(src\/build\/\S+\.sh)/.exec(command)?.[1];
  const run = scripts[script];
  assert.ok(run !== undefined, command);
  return sourceOf(run) ?? /\b(test\/\S+\.sh)/.exec(run)?.[1];
}

/** A test and what it imports of its own folder. */
function textOf(source: string): string {
  const text = readDocument(source);
  const beside = [...text.matchAll(/from '\.\/([\w-]+)\.js'/g)].map(([, name = '']) =>
    readDocument(join(dirname(source), `${name}.ts`)),
  );
  return [text, ...beside].join('\n');
}

const commands = [...promises, ...figures]
  .map((cells) => cells.at(-1) ?? '')
  .filter((cell) => sourceOf(cell));

describe('docs/reliability.md', () => {
  it('names files that exist', () => {
    const named = [...document.matchAll(/\b(?:test|src)\/[\w./-]+\.(?:ts|sh|c)\b/g)].map(([file]) => file);
    assert.ok(named.length > 20);
    for (const file of named) assert.ok(existsSync(join(root, file)), file);
  });

  it('has a test and a command for each promise, of which one runs the other', () => {
    assert.ok(promises.length > 20);
    for (const [promise, fault, test = '', command = ''] of promises) {
      assert.ok(promise !== '' && fault !== '', promise);
      const source = sourceOf(command) ?? '';
      assert.ok(existsSync(join(root, source)), command);
      const direct = /\bnpm run bench\b|analyse/.test(command);
      if (!direct) assert.equal(source, test, promise);
    }
  });

  it('has a command for each figure', () => {
    for (const [run, , , command = ''] of figures)
      assert.ok(command.startsWith('the same') || existsSync(join(root, sourceOf(command) ?? '')), run);
  });

  it('sets what the tests read', () => {
    for (const command of commands) {
      const source = sourceOf(command) ?? '';
      const text = command.includes('bench') ? readDocument('test/bench/race.ts') : textOf(source);
      for (const [, variable = ''] of command.matchAll(/\b([A-Z_]+)=/g))
        assert.ok(text.includes(`'${variable}'`), `${variable} in ${command}`);
    }
  });

  it('says what the tests do by default', () => {
    const stated = new Map(figures.map(([, byDefault = '', , command = '']) => [command, byDefault]));
    let compared = 0;
    for (const [command, byDefault] of stated) {
      const [, variable = ''] = /\b(LAB_\w+|STORM_FAULTS|FUZZ_RUNS|RACE_RESTARTS)=/.exec(command) ?? [];
      if (variable === '') continue;
      const source = command.includes('bench') ? 'test/bench/race.ts' : (sourceOf(command) ?? '');
      const [, value = '', runs = value] =
        new RegExp(`env\\['${variable}'\\] \\?\\? ([\\d_]+)|runsOf\\(([\\d_]+)`).exec(textOf(source)) ?? [];
      const number = Number(runs.replaceAll('_', '')).toLocaleString('en');
      assert.ok(byDefault.includes(number), `${variable} is ${number} by default: ${byDefault}`);
      compared++;
    }
    assert.ok(compared > 5);
  });

  it('names every test of faults and of fuzz', () => {
    for (const folder of ['test/fault', 'test/fuzz'])
      for (const name of readdirSync(join(root, folder)).filter((each) => each.endsWith('.test.ts')))
        assert.ok(document.includes(`${folder}/${name}`), name);
  });
});
