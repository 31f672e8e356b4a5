import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import * as path from 'node:path';
import { describe, it } from 'node:test';
import { put, tree } from '../systemd/tree.js';
import { berth } from './capture.js';

const files = {
  'etc/berth/cups.conf': '[Socket]\nListenStream=631\n',
  'usr/lib/systemd/system/cups.service': '[Service]\nNotifyAccess=all\nExecStart=/usr/sbin/cupsd -l\n',
  'etc/berth/later.conf': '[Socket]\nListenStream=632\n\n[Reservation]\nHandoff=exec\n',
};
const dropIn = 'cups.service.d/50-berth.conf';

describe('berth generate', () => {
  it('prints each drop-in under its path, and what else there is to know', async (t) => {
    const { status, out, err } = await berth(['generate', '--root', tree(t, files)]);
    assert.deepEqual({ status, err }, { status: 0, err: '' });
    assert.match(out, /^# \/run\/systemd\/generator\/cups\.service\.d\/50-berth\.conf\n/);
    assert.match(out, /^ExecStartPre=\+\/usr\/bin\/berth-claim cups$/m);
    assert.match(
      out,
      /\n\n# later\.service: without later\.service there is no ExecStart= to wrap for later\n$/,
    );
  });

  it('says that there is nothing to print', async (t) => {
    const root = tree(t, { 'etc/berth/x.conf': '-> /dev/null' });
    assert.deepEqual(await berth(['generate', '--root', root]), { status: 0, out: '', err: 'no drop-ins\n' });
  });

  it('prints mistakes on standard error, and exits 78', async (t) => {
    const root = tree(t, { ...files, 'etc/berth/bad.conf': '[Socket]\nListenStream=99999\n' });
    const { status, out, err } = await berth(['generate', '--root', root]);
    assert.equal(status, 78);
    assert.match(out, /berth-claim cups/);
    assert.match(err, /^\/etc\/berth\/bad\.conf:2: ListenStream: .*\n1 mistake\n$/);
  });

  it('shows what a daemon-reload would change with --diff', async (t) => {
    const root = tree(t, files);
    const { out: whole } = await berth(['generate', '--json', '--root', root]);
    const { dropIns } = JSON.parse(whole) as { dropIns: { path: string; text: string }[] };
    assert.deepEqual(
      dropIns.map((each) => each.path),
      [dropIn],
    );
    const text = dropIns[0]?.text ?? '';
    put(root, `run/systemd/generator/${dropIn}`, text.replaceAll('cups\n', 'ipp\n'));
    put(root, 'run/systemd/generator/gone.service.d/50-berth.conf', '[Service]\n');
    put(root, 'run/systemd/generator/other.service.d/10-x.conf', '[Service]\n');
    const { out, status } = await berth(['generate', '--diff', '--root', root]);
    assert.equal(status, 0);
    const changes = out.split('\n').filter((line) => /^[-+]/.test(line));
    assert.deepEqual(changes, [
      '--- /run/systemd/generator/cups.service.d/50-berth.conf',
      '+++ /run/systemd/generator/cups.service.d/50-berth.conf',
      '-ExecStartPre=+/usr/bin/berth-claim ipp',
      '-ExecStopPost=-+/usr/bin/berth-claim --done ipp',
      '+ExecStartPre=+/usr/bin/berth-claim cups',
      '+ExecStopPost=-+/usr/bin/berth-claim --done cups',
      '--- /run/systemd/generator/gone.service.d/50-berth.conf',
      '+++ /dev/null',
      '-[Service]',
    ]);
    const { out: json } = await berth(['generate', '--diff', '--json', '--root', root]);
    const { dropIns: both } = JSON.parse(json) as { dropIns: Record<string, string | null>[] };
    assert.deepEqual(both[1], { path: 'gone.service.d/50-berth.conf', text: null, current: '[Service]\n' });
  });

  it('says that nothing changes', async (t) => {
    const { 'etc/berth/cups.conf': reservation } = files;
    const root = tree(t, { 'etc/berth/cups.conf': reservation });
    const { out } = await berth(['generate', '--json', '--root', root]);
    const { dropIns } = JSON.parse(out) as { dropIns: { path: string; text: string }[] };
    for (const { path, text } of dropIns) put(root, `run/systemd/generator/${path}`, text);
    const { err } = await berth(['generate', '--diff', '--root', root]);
    assert.equal(err, 'no change\n');
  });

  it('keeps a manifest for the generator with --precompute', async (t) => {
    const root = tree(t, files);
    const place = path.join(root, 'var/lib/berth/generator/manifest');
    const deadline = Date.now() + 10_000;
    // A file that changed a moment ago may change again unseen.
    while (!existsSync(place)) {
      assert.ok(Date.now() < deadline);
      const { status, out } = await berth(['generate', '--precompute', '--root', root]);
      assert.deepEqual({ status, out }, { status: 0, out: '' });
    }
    const text = readFileSync(place, 'utf8');
    assert.match(text, /^berth-generator 1 1\.2\.3\nD /);
    assert.ok(text.includes(` ${dropIn}\n# Written by`), text);
    assert.ok(text.endsWith('\nend\n'));
    assert.equal(readFileSync(path.join(root, 'run/berth/generator/manifest'), 'utf8'), text);
  });

  it('refuses --precompute with what prints', async () => {
    const { status, err } = await berth(['generate', '--precompute', '--diff']);
    assert.equal(status, 2);
    assert.match(err, /^berth: --precompute and --diff cannot be combined\n/);
  });
});
