import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { suggestHandoff } from '../../../src/commands/suggest.js';
import { daemons } from '../../../src/generator/daemon-table.js';
import { inet, spec } from '../../support/holds.js';
import { tree } from '../systemd/tree.js';

const one = [spec('stream', inet('127.0.0.1', 80))];
const two = [...one, spec('stream', inet('127.0.0.1', 81))];

function suggest(name: string, sockets = one, program?: string) {
  const daemon = daemons.find((each) => each.name === name);
  assert.ok(daemon !== undefined, name);
  const { handoff, reasons } = suggestHandoff(daemon, sockets, program);
  return `${handoff}: ${reasons.join(' ')}`;
}

describe('suggestHandoff', () => {
  it('takes store for what takes descriptors as it is', () => {
    assert.match(suggest('nginx'), /^store: .* by their addresses, and the generator sets NGINX=\./);
    assert.match(suggest('cupsd'), /^store: .* It does so with -l in ExecStart= only\./);
  });

  it('takes bind for what would have to be configured first, and says how store would work', () => {
    assert.match(suggest('haproxy'), /^bind: .*; Handoff=store is better once haproxy\.cfg says 'bind fd@3'/);
  });

  it('takes bind for what takes none, and for what nobody knows', () => {
    assert.match(
      suggest('slapd'),
      /^bind: Handoff=bind, because slapd takes no descriptors, and binds by itself\.$/,
    );
    assert.match(suggest('redis'), /Handoff=lend works, too/);
    assert.equal(suggestHandoff(undefined, one, undefined).handoff, 'bind');
  });

  it('takes bind where numbers could be mistaken for each other', () => {
    assert.match(suggest('php-fpm'), /^store: /);
    assert.match(suggest('php-fpm', two), /^bind: .* knows its sockets by number/);
    assert.match(
      suggest('php-fpm', [spec('stream', { family: 'inet6', host: '::1', port: 9000 })]),
      /^bind: /,
    );
  });

  it('looks into the program where builds differ', (t) => {
    const root = tree(t, { with: 'x sd_listen_fds x', without: 'x' });
    assert.match(suggest('sshd', one, join(root, 'with')), /^store: /);
    assert.match(
      suggest('sshd', one, join(root, 'without')),
      /^bind: .* was built without sd_listen_fds\(3\)/,
    );
    // Who is locked out by a wrong guess cannot correct it.
    for (const program of [join(root, 'gone'), undefined])
      assert.match(suggest('sshd', one, program), /^bind: .* cannot be looked into\./);
  });
});
