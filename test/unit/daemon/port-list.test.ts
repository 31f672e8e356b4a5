import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { formatPortList, parsePortList } from '../../../src/daemon/port-list.js';

describe('port lists', () => {
  const both: [string, number[]][] = [
    ['', []],
    ['8080', [8080]],
    ['1-3,5', [1, 2, 3, 5]],
    ['8080,9148-9150', [8080, 9148, 9149, 9150]],
    ['65534-65535', [65534, 65535]],
  ];
  for (const [text, ports] of both) {
    it(`reads and writes '${text}'`, () => {
      assert.deepEqual([...parsePortList(`${text}\n`)], ports);
      assert.equal(formatPortList(ports), text);
    });
  }

  it('reads what it writes', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 65535 })), (ports) => {
        const sorted = ports.toSorted((a, b) => a - b);
        assert.deepEqual([...parsePortList(formatPortList(ports))], sorted);
      }),
    );
  });
});
