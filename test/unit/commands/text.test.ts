import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { truncate, width } from '../../../src/commands/text.js';
import { count, printable } from '../../../src/model/text.js';

describe('printable', () => {
  it('leaves ordinary text alone, in any script', () => {
    for (const text of ['cupsd', '/run/x y', 'größe', '日本', '😀', "a'b\\c"]) {
      assert.equal(printable(text), text);
    }
  });

  it('escapes what a terminal obeys or a reader cannot see', () => {
    assert.equal(printable('\u001b[2J'), '\\x1b[2J');
    assert.equal(printable('a\nb\tc\r\0'), 'a\\nb\\tc\\x0d\\x00');
    assert.equal(printable('\u009b\u007f'), '\\x9b\\x7f');
    assert.equal(printable('\u202e\u2028\u200b\ufeff'), '\\u{202e}\\u{2028}\\u{200b}\\u{feff}');
    assert.equal(printable('\ud800'), '\\u{d800}');
  });

  it('never lets one through', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.doesNotMatch(printable(text), /[\p{Cc}\p{Cf}]/u);
      }),
    );
  });
});

describe('truncate', () => {
  it('is never wider than it may be, and says that something is missing', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 1, max: 20 }), (text, columns) => {
        const cut = truncate(text, columns);
        assert.ok(width(cut) <= columns);
        assert.equal(cut === text, width(text) <= columns);
      }),
    );
  });
});

describe('count', () => {
  it('speaks of one and of many', () => {
    assert.deepEqual(
      [0, 1, 2].map((n) => count(n, 'socket')),
      ['0 sockets', '1 socket', '2 sockets'],
    );
  });
});
