import assert from 'node:assert/strict';
import { existsSync, lstatSync, readdirSync, readFileSync, statSync, chmodSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { blacklistText, updateBlacklist } from '../../../src/daemon/blacklist-file.js';
import { tree } from '../systemd/tree.js';

describe('blacklistText', () => {
  it("adds lines of berth's own below the others, and takes out those from before", () => {
    const admins = '# mine\n631 # cups\n\n  873\n';
    const once = blacklistText(admins, [700, 623]);
    assert.equal(once, `${admins}623 # berth\n700 # berth\n`);
    assert.equal(blacklistText(once, [664]), `${admins}664 # berth\n`);
    assert.equal(blacklistText(once, []), admins);
  });

  it('ends a last line that has no end', () => {
    assert.equal(blacklistText('631', [1]), '631\n1 # berth\n');
  });

  it('gives back what others wrote, however often it is changed', () => {
    const lines = fc.array(fc.stringMatching(/^[ -~]{0,12}$/).filter((line) => !line.endsWith('# berth')));
    const ports = fc.array(fc.integer({ min: 1, max: 1023 }));
    fc.assert(
      fc.property(lines, ports, ports, (lines, first, second) => {
        const text = lines.map((line) => `${line}\n`).join('');
        assert.equal(blacklistText(blacklistText(blacklistText(text, first), second), []), text);
      }),
    );
  });
});

describe('updateBlacklist', () => {
  it('makes the file readable for all, and removes it with its last line', (t) => {
    const file = join(tree(t, { keep: '' }), 'list');
    updateBlacklist(file, []);
    assert.equal(existsSync(file), false);
    updateBlacklist(file, [631]);
    assert.equal(readFileSync(file, 'utf8'), '631 # berth\n');
    assert.equal(statSync(file).mode & 0o777, 0o644);
    updateBlacklist(file, []);
    assert.equal(existsSync(file), false);
  });

  it('keeps the mode, follows a link, leaves nothing beside it, and touches nothing without need', (t) => {
    const root = tree(t, { 'real/list': '# mine\n', list: '-> real/list' });
    const real = join(root, 'real/list');
    chmodSync(real, 0o640);
    updateBlacklist(join(root, 'list'), [700]);
    assert.ok(lstatSync(join(root, 'list')).isSymbolicLink());
    assert.equal(readFileSync(real, 'utf8'), '# mine\n700 # berth\n');
    assert.equal(statSync(real).mode & 0o777, 0o640);
    assert.deepEqual(readdirSync(join(root, 'real')), ['list']);
    const { ino } = statSync(real);
    updateBlacklist(join(root, 'list'), [700]);
    assert.equal(statSync(real).ino, ino);
  });
});
