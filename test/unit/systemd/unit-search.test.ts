import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { diskBelow } from '../../../src/config/disk.js';
import { UnitSearch } from '../../../src/systemd/unit-search.js';
import { tree } from './tree.js';

const unit = '[Service]\nExecStart=/bin/true\n';
const dropIn = '[Service]\nNice=1\n';

const files = {
  'usr/lib/systemd/system/ssh.service': unit,
  'usr/lib/systemd/system/ssh.service.d/10-vendor.conf': dropIn,
  'etc/systemd/system/sshd.service': '-> /usr/lib/systemd/system/ssh.service',
  'etc/systemd/system/sshd.service.d/20-alias.conf': dropIn,
  'etc/systemd/system/ssh.service.d/10-vendor.conf': dropIn,
  'etc/systemd/system/relative.service': '-> ../../../usr/lib/systemd/system/ssh.service',
  'usr/lib/systemd/system/foo-bar@.service': unit,
  'usr/lib/systemd/system/alias@.service': '-> foo-bar@.service',
  'usr/lib/systemd/system/foo-bar@.service.d/30-template.conf': dropIn,
  'etc/systemd/system/foo-bar@x.service.d/40-instance.conf': dropIn,
  'etc/systemd/system/foo-.service.d/50-prefix.conf': dropIn,
  'etc/systemd/system/foo-@x.service.d/51-prefix.conf': dropIn,
  'etc/systemd/system/foo-@.service.d/52-prefix.conf': dropIn,
  'etc/systemd/system/service.d/05-type.conf': dropIn,
  'run/systemd/system/service.d/10-vendor.conf': dropIn,
  'usr/lib/systemd/system/foo-bar-baz.service': unit,
  'usr/lib/systemd/system/foo-bar-baz.service.d/50-prefix.conf': dropIn,
  'opt/linked.service': unit,
  'etc/systemd/system/linked.service': '-> /opt/linked.service',
  'etc/systemd/system/masked.service': '-> /dev/null',
  'usr/lib/systemd/system/masked.service': unit,
  'usr/lib/systemd/system/empty.service': '',
  'usr/lib/systemd/system/other.socket': '[Socket]\nListenStream=/run/x\n',
  'usr/lib/systemd/system/wrong.service': '-> other.socket',
  'etc/systemd/system/loop-a.service': '-> loop-b.service',
  'etc/systemd/system/loop-b.service': '-> loop-a.service',
  'run/systemd/generator/ssh.service.d/50-berth.conf': dropIn,
  lib: '-> usr/lib',
};

describe('UnitSearch', () => {
  it('finds the file, its other names and its drop-ins', (context) => {
    const search = new UnitSearch(diskBelow(tree(context, files)));
    const found = {
      state: 'found',
      id: 'ssh.service',
      file: '/usr/lib/systemd/system/ssh.service',
      dropIns: [
        '/etc/systemd/system/service.d/05-type.conf',
        '/etc/systemd/system/ssh.service.d/10-vendor.conf',
        '/etc/systemd/system/sshd.service.d/20-alias.conf',
      ],
    };
    for (const name of ['ssh.service', 'sshd.service', 'relative.service']) {
      const { names, ...rest } = search.find(name);
      assert.deepEqual(rest, found);
      assert.deepEqual(names.toSorted(), ['relative.service', 'ssh.service', 'sshd.service']);
      assert.equal(names[0], 'ssh.service');
    }
  });

  it('makes an instance of its template, by an alias of the template too', (context) => {
    const search = new UnitSearch(diskBelow(tree(context, files)));
    const direct = search.find('foo-bar@x.service');
    assert.equal(direct.id, 'foo-bar@x.service');
    assert.equal(direct.file, '/usr/lib/systemd/system/foo-bar@.service');
    assert.deepEqual(direct.names, ['foo-bar@x.service', 'alias@x.service']);
    assert.equal(search.find('alias@x.service').id, 'foo-bar@x.service');
  });

  it('tells masked, missing and linked units apart', (context) => {
    const search = new UnitSearch(diskBelow(tree(context, files)));
    assert.equal(search.find('masked.service').state, 'masked');
    assert.equal(search.find('empty.service').state, 'masked');
    assert.equal(search.find('nowhere.service').state, 'missing');
    assert.equal(search.find('wrong.service').state, 'missing');
    assert.equal(search.find('loop-a.service').state, 'missing');
    const linked = search.find('linked.service');
    assert.deepEqual([linked.state, linked.file], ['found', '/etc/systemd/system/linked.service']);
    assert.match(Buffer.from(search.source.read(linked.file ?? '') ?? []).toString(), /ExecStart/);
  });

  it('agrees with systemd', (context) => {
    if (spawnSync('systemd-analyze', ['--version']).status !== 0) {
      context.skip('there is no systemd-analyze');
      return;
    }
    const root = tree(context, files);
    const search = new UnitSearch(diskBelow(root));
    for (const name of ['ssh', 'sshd', 'foo-bar@x', 'alias@x', 'foo-bar-baz', 'relative']) {
      // With debug messages, verify prints the units as the manager has loaded them.
      const { stdout } = spawnSync(
        'systemd-analyze',
        [`--root=${root}`, '--man=no', 'verify', `${name}.service`],
        { encoding: 'utf8', env: { ...process.env, SYSTEMD_LOG_LEVEL: 'debug' } },
      );
      const lines = [...stdout.matchAll(/^\s*(?:-> Unit |Fragment Path: |DropIn Path: )(.*?):?$/gm)];
      const { id, file, dropIns } = search.find(`${name}.service`);
      assert.deepEqual(
        [id, file, ...dropIns],
        // Debian's systemd 252 calls the directory by its other name.
        lines.map(([, text = '']) => text.replace(root, '').replace(/^\/lib\//, '/usr/lib/')),
        name,
      );
    }
  });
});
