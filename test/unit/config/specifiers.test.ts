import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { expandSpecifiers } from '../../../src/config/specifiers.js';

describe('expandSpecifiers', () => {
  const table: [text: string, name: string, expected: string][] = [
    ['plain', 'a', 'plain'],
    ['%t/%N.sock', 'a@b', '/run/a@b.sock'],
    ['%p-%i', 'a@b', 'a-b'],
    ['%p-%i', 'a', 'a-'],
    ['%i/%I', 'a@b-c@d', 'b-c@d/b/c@d'],
    ['%S %C %L %E %T %V', 'a', '/var/lib /var/cache /var/log /etc /tmp /var/tmp'],
    ['100%', 'a', '100%'],
    ['%%t', 'a', '%t'],
    ['%/x', 'a', '%/x'],
    ['[fe80::1]:22%eth0', 'a', '[fe80::1]:22%eth0'],
    ['[fe80::1]:22%%eth0', 'a', '[fe80::1]:22%eth0'],
    ['[fe80::1]:22%%%i', 'a@eth0', '[fe80::1]:22%eth0'],
  ];
  for (const [text, name, expected] of table) {
    it(`makes '${text}' of ${name} '${expected}'`, () => {
      assert.equal(expandSpecifiers(text, name), expected);
    });
  }

  for (const text of ['%h', '%H/x', 'a%q', '%1', '%hasOwnProperty']) {
    it(`refuses '${text}'`, () => {
      assert.throws(() => expandSpecifiers(text, 'a'), /means nothing in a reservation/);
    });
  }
});
