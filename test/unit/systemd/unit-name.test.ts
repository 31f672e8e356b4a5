import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dropInDirectories, parseUnitName, templateOf } from '../../../src/systemd/unit-name.js';

describe('parseUnitName', () => {
  it('takes plain names, templates and instances apart', () => {
    assert.deepEqual(parseUnitName('cups.service'), { prefix: 'cups', instance: undefined, type: 'service' });
    assert.deepEqual(parseUnitName('getty@.service'), { prefix: 'getty', instance: '', type: 'service' });
    assert.deepEqual(parseUnitName('a@b@c.d.socket'), { prefix: 'a', instance: 'b@c.d', type: 'socket' });
  });

  it('knows what is no unit name', () => {
    for (const name of [
      'cups',
      '@x.service',
      'a b.service',
      '.service',
      'a/b.service',
      `${'x'.repeat(250)}.service`,
    ])
      assert.equal(parseUnitName(name), undefined, name);
  });
});

describe('templateOf', () => {
  it('is there for instances only', () => {
    assert.equal(templateOf('getty@tty1.service'), 'getty@.service');
    assert.equal(templateOf('getty@.service'), undefined);
    assert.equal(templateOf('cups.service'), undefined);
  });
});

describe('dropInDirectories', () => {
  it('goes from the name to its shortest prefix', () => {
    assert.deepEqual(dropInDirectories('foo-bar-baz.service'), [
      'foo-bar-baz.service.d',
      'foo-bar-.service.d',
      'foo-.service.d',
    ]);
    assert.deepEqual(dropInDirectories('foo-bar@x.service'), [
      'foo-bar@x.service.d',
      'foo-bar@.service.d',
      'foo-.service.d',
      'foo-@x.service.d',
      'foo-@.service.d',
    ]);
  });
});
