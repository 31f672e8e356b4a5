import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { buildReservation } from '../../../src/config/reservation.js';
import { parseServices } from '../../../src/config/services.js';
import { parseSyntax } from '../../../src/config/syntax.js';
import { handoffs } from '../../../src/model/reservation.js';
import { root } from '../../support/processes.js';
import { blocks, readDocument, rows, section } from '../../unit/docs/markdown.js';
import { Session } from './session.js';

const document = readDocument('README.md');
const all = blocks(document);
const nameOf = ({ info }: { info: string }) => info.slice('file='.length);

describe('README.md', () => {
  it('has reservations without a mistake', () => {
    const files = all.filter(({ info }) => info.startsWith('file='));
    assert.ok(files.length >= 3);
    for (const block of files) {
      const parsed = parseSyntax(nameOf(block), Buffer.from(block.text));
      const at = { file: nameOf(block), line: 1 };
      assert.deepEqual(buildReservation('x', at, [parsed], parseServices('')).mistakes, []);
    }
  });

  it('has a session that goes as it says', async (t) => {
    const session = new Session(t);
    for (const block of all) {
      if (block.info === 'session') await session.play(block);
      else if (block.info.startsWith('file=conf/')) session.write(block);
    }
  });

  it('names every mode, and those that this version does not have', () => {
    const table = rows(section(document, '## Modes'));
    assert.deepEqual(table.map(([mode]) => mode).toSorted(), [...handoffs].toSorted());
    const missing = table.filter(([, , state]) => state === 'not in this version').map(([mode]) => mode);
    assert.deepEqual(missing.toSorted(), ['bind']);
  });

  it('has commands of npm that there are', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    const named = [...document.matchAll(/npm (?:run )?([a-z:]+)/g)].flatMap(([, name = '']) =>
      ['and', 'skips'].includes(name) ? [] : [name],
    );
    assert.ok(named.length > 5);
    for (const name of named) assert.ok(name in scripts, name);
  });

  it('has links that lead somewhere', () => {
    for (const name of [
      'README.md',
      'docs/guide.md',
      'docs/design.md',
      'docs/protocol.md',
      'docs/security.md',
    ]) {
      const folder = name.startsWith('docs/') ? 'docs' : '.';
      for (const [, target = ''] of readDocument(name).matchAll(/\]\(([^)#:]+)\)/g))
        assert.doesNotThrow(() => readFileSync(join(root, folder, target)), `${name}: ${target}`);
    }
  });
});
