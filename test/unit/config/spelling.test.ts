import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { closest } from '../../../src/config/spelling.js';

const keys = ['ListenStream', 'ListenDatagram', 'KeepAlive', 'NoDelay', 'Mark', 'IPTOS', 'IPTTL'];

describe('closest', () => {
  const table: [string, string | undefined][] = [
    ['ListenStreams', 'ListenStream'],
    ['ListnStream', 'ListenStream'],
    ['listenstream', 'ListenStream'],
    ['KeepAilve', 'KeepAlive'],
    ['Nodelay', 'NoDelay'],
    ['marc', 'Mark'],
    ['IPTSO', 'IPTOS'],
    ['Mail', undefined],
    ['x', undefined],
    ['', undefined],
    ['Description', undefined],
    ['L'.repeat(100_000), undefined],
  ];
  for (const [word, expected] of table) {
    it(`takes '${word.slice(0, 20)}' for ${expected ?? 'nothing'}`, () => {
      assert.equal(closest(word, keys), expected);
    });
  }
});
