import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import * as path from 'node:path';
import { describe, it } from 'node:test';
import { buildReservation } from '../../../src/config/reservation.js';
import { reservationKeys, socketKeys } from '../../../src/config/keys.js';
import { parseServices } from '../../../src/config/services.js';
import { parseSettings, settingsKeys } from '../../../src/config/settings.js';
import { parseSyntax } from '../../../src/config/syntax.js';
import { handoffs } from '../../../src/model/reservation.js';

/** The compiled test is in build/js/test/unit/config. */
const manual = (name: string) => path.join(import.meta.dirname, '../../../../../docs/man', name);
const read = (name: string) => readFileSync(manual(name), 'utf8');

/** The text below a `.SH`, up to the next one. */
function section(page: string, title: string): string {
  const [, ...parts] = page.split(/^\.SH /m);
  return parts.find((part) => part.startsWith(`${title}\n`)) ?? '';
}

/** The keys that have a paragraph of their own: `KEY=` in the line after a .TP. */
function documented(text: string): string[] {
  return [...text.matchAll(/^\.TP\n(.*)$/gm)].flatMap(([, line = '']) =>
    [...line.matchAll(/([A-Za-z0-9]+)=/g)].map(([, key = '']) => key),
  );
}

/** The files among the examples, by the path in their first line. */
function examples(page: string): { file: string; text: string }[] {
  return [...section(page, 'EXAMPLES').matchAll(/^\.nf\n([\s\S]*?)^\.fi$/gm)].map(([, text = '']) => ({
    file: /^# (\/\S+)/.exec(text)?.[1] ?? '',
    text,
  }));
}

describe('berth.conf(5)', () => {
  const page = read('berth.conf.5');

  it('documents every key of [Socket], and no other', () => {
    const keys = documented(section(page, '"[SOCKET] SECTION OPTIONS"'));
    assert.deepEqual(keys.toSorted(), [...socketKeys.keys()].toSorted());
  });

  it('documents every key of [Reservation], and no other', () => {
    const text = section(page, '"[RESERVATION] SECTION OPTIONS"');
    assert.deepEqual(documented(text), [...reservationKeys.keys()]);
    for (const handoff of handoffs) assert.match(text, new RegExp(`^\\.B ${handoff}$`, 'm'));
  });

  it('has examples that are right', () => {
    const all = examples(page);
    assert.ok(all.length >= 3);
    for (const { file, text } of all) {
      const parsed = parseSyntax(file, Buffer.from(text));
      const { mistakes } = buildReservation('x', { file, line: 1 }, [parsed], parseServices(''));
      assert.deepEqual(mistakes, []);
    }
  });
});

describe('berthd.conf(5)', () => {
  const page = read('berthd.conf.5');

  it('documents every setting, and no other', () => {
    assert.deepEqual(documented(section(page, 'OPTIONS')), [...settingsKeys.keys()]);
  });

  it('has examples that are right', () => {
    for (const { file, text } of examples(page)) {
      assert.deepEqual(parseSettings(file, Buffer.from(text)).mistakes, []);
    }
  });
});

const missing = spawnSync('man', ['--version']).status === 0 ? false : 'man is not installed';

describe('the manual pages', { skip: process.env['BERTH_MUST_RUN'] === '1' ? false : missing }, () => {
  for (const name of ['berth.conf.5', 'berthd.conf.5']) {
    it(`format ${name} without a warning`, () => {
      const { status, stderr } = spawnSync('man', ['--warnings', '-l', manual(name)], {
        encoding: 'utf8',
        env: { ...process.env, LC_ALL: 'C.UTF-8', MANWIDTH: '80', MANPAGER: 'cat' },
      });
      assert.equal(stderr, '');
      assert.equal(status, 0);
    });
  }
});
