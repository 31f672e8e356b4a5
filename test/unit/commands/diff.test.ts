import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { diffLines } from '../../../src/commands/diff.js';

describe('diffLines', () => {
  it('marks what went and what came', () => {
    assert.deepEqual(diffLines('a\nb\nc\n', 'a\nx\nc\nd\n'), [' a', '-b', '+x', ' c', '+d']);
    assert.deepEqual(diffLines('', 'a\n'), ['+a']);
    assert.deepEqual(diffLines('a\n', ''), ['-a']);
    assert.deepEqual(diffLines('', ''), []);
  });

  it('has both texts in it, whatever they are', () => {
    const lines = fc.array(fc.constantFrom('a', 'b', 'c', ''), { maxLength: 12 });
    fc.assert(
      fc.property(lines, lines, (before, after) => {
        const text = (all: readonly string[]) => all.map((line) => `${line}\n`).join('');
        const marked = diffLines(text(before), text(after));
        const side = (mark: string) =>
          marked.filter((line) => !line.startsWith(mark)).map((line) => line.slice(1));
        assert.deepEqual(side('+'), before);
        assert.deepEqual(side('-'), after);
      }),
    );
  });
});
