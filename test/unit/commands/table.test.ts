import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatTable, type TableOptions } from '../../../src/commands/table.js';

const plain: TableOptions = {
  header: true,
  paintHeader: (line) => line,
  paintCell: (text) => text,
};

const heads = ['A', 'LONGER', 'C'];
const rows = [
  ['one', 'x'.repeat(30), 'z'],
  ['twenty', 'y', ''],
];

describe('formatTable', () => {
  it('aligns the columns and leaves no blanks behind the last one', () => {
    assert.equal(formatTable(heads, [['one', 'x', 'z']], plain), 'A    LONGER  C\none  x       z\n');
  });

  it('aligns to the rows alone without a header', () => {
    assert.equal(formatTable(heads, [['one', 'x', 'z']], { ...plain, header: false }), 'one  x  z\n');
  });

  it('cuts the widest column to fit', () => {
    assert.equal(
      formatTable(heads, rows, { ...plain, columns: 23 }),
      `A       LONGER        C\none     ${'x'.repeat(11)}…  z\ntwenty  y             \n`,
    );
  });

  it('leaves the widest column readable however narrow the terminal is', () => {
    const [, line = ''] = formatTable(heads, rows, { ...plain, columns: 5 }).split('\n');
    assert.equal(line, `one     ${'x'.repeat(9)}…  z`);
  });

  it('cuts nothing where it fits, and nothing without a terminal', () => {
    assert.equal(formatTable(heads, rows, { ...plain, columns: 41 }), formatTable(heads, rows, plain));
    assert.ok(!formatTable(heads, rows, plain).includes('…'));
  });

  it('counts characters, not UTF-16 units', () => {
    assert.equal(
      formatTable(
        ['A', 'B'],
        [
          ['\u{1d5ba}', 'x'],
          ['bb', 'y'],
        ],
        { ...plain, header: false },
      ),
      '\u{1d5ba}   x\nbb  y\n',
    );
  });
});
