import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parse } from 'ini';

/** What src/config/settings.ts relies on, and what it guards against. A new version of ini must come past this. */
describe('ini', () => {
  it('reads flat KEY=VALUE lines, and trims both', () => {
    assert.deepEqual({ ...parse(' A = b c \nB=d\r\n') }, { A: 'b c', B: 'd' });
  });

  it('skips comment lines of both kinds', () => {
    assert.deepEqual({ ...parse('# A=1\n  ; B=2\nC=3') }, { C: '3' });
  });

  it('cuts values at ; and #', () => {
    assert.deepEqual({ ...parse('A=b ; c\nB=b#c') }, { A: 'b', B: 'b' });
  });

  it('turns true, false, null and lone keys into values that are not text', () => {
    assert.deepEqual({ ...parse('A=true\nB=false\nC=null\nD') }, { A: true, B: false, C: null, D: true });
  });

  it('lets JSON through in single quotes', () => {
    assert.deepEqual({ ...parse(`A='{"b":1}'\nB='5'\nC="5"`) }, { A: { b: 1 }, B: 5, C: '5' });
  });

  it('takes the last of repeated keys, and makes a list of KEY[]', () => {
    assert.deepEqual({ ...parse('A=1\nA=2\nB[]=1\nB[]=2') }, { A: '2', B: ['1', '2'] });
  });

  it('makes objects of sections', () => {
    const { S } = parse('[S]\nA=b') as { S: object };
    assert.deepEqual({ ...S }, { A: 'b' });
  });

  it('returns an object without a prototype, and drops __proto__', () => {
    const values = parse('__proto__=x\nconstructor=y');
    assert.equal(Object.getPrototypeOf(values), null);
    assert.deepEqual(Object.keys(values), ['constructor']);
  });

  it('throws on a key that is null in quotes', () => {
    assert.throws(() => parse("'null'=x"), TypeError);
  });

  it('tells no line numbers', () => {
    assert.deepEqual(Object.keys(parse('\n\nA=b')), ['A']);
  });
});
