import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pagers } from '../../../src/commands/pager.js';

describe('pagers', () => {
  it('takes $SYSTEMD_PAGER before $PAGER, and what there is after them', () => {
    assert.deepEqual(pagers({ SYSTEMD_PAGER: 'a -x', PAGER: 'b' }), ['a -x', 'less', 'more', 'pager']);
    assert.deepEqual(pagers({ PAGER: 'b' }), ['b', 'less', 'more', 'pager']);
    assert.deepEqual(pagers({}), ['less', 'more', 'pager']);
  });

  it('starts none where none is wanted', () => {
    for (const env of [{ PAGER: '' }, { PAGER: 'cat' }, { SYSTEMD_PAGER: '', PAGER: 'b' }, { TERM: 'dumb' }])
      assert.deepEqual(pagers(env), []);
  });

  it('lets no caller of sudo choose what runs as root', () => {
    assert.deepEqual(pagers({ SUDO_UID: '1000', PAGER: 'b' }, 0), ['less']);
    assert.deepEqual(pagers({ SUDO_UID: '1000', PAGER: 'b' }, 1000)[0], 'b');
    assert.deepEqual(pagers({ PAGER: 'b' }, 0)[0], 'b');
  });
});
