import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import * as path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { tree } from '../systemd/tree.js';
import { berth } from './capture.js';

const services = 'ipp 631/tcp\nipp 631/udp\nrsync 873/tcp\nssh 22/tcp\n';

function machine(t: TestContext, files: Record<string, string> = {}): string {
  return tree(t, { 'etc/services': services, ...files });
}

describe('berth import portreserve', () => {
  const files = {
    'etc/portreserve/cups': '# the printer\nipp\n',
    'etc/portreserve/rsync': 'rsync\n',
    'etc/portreserve/other': '700/udp\n701\n',
    'etc/portreserve/cups.rpmnew': 'nonsense\n',
    'etc/portreserve/cups~': 'nonsense\n',
    'usr/lib/systemd/system/cups.service':
      '[Service]\nExecStartPre=-/sbin/portrelease cups\nExecStart=/usr/sbin/cupsd -l\n',
    'usr/lib/systemd/system/rsync.service': '[Service]\nExecStart=/usr/bin/rsync --daemon --no-detach\n',
  };

  it('proposes a file for each of its files, with what suits the service', async (t) => {
    const { status, out, err } = await berth([
      'import',
      'portreserve',
      '--root',
      machine(t, files),
      '--json',
    ]);
    assert.deepEqual({ status, err }, { status: 0, err: '' });
    const { files: made } = JSON.parse(out) as { files: { name: string; text: string }[] };
    const bodies = Object.fromEntries(made.map(({ name, text }) => [name, text.replaceAll(/^#.*\n/gm, '')]));
    assert.deepEqual(bodies, {
      cups: '[Socket]\nListenStream=ipp\nListenDatagram=ipp\n\n[Reservation]\nHandoff=release\n',
      other:
        '[Socket]\nListenDatagram=700\nListenStream=701\nListenDatagram=701\n\n[Reservation]\nHandoff=release\n',
      rsync: '[Socket]\nListenStream=rsync\n\n[Reservation]\nHandoff=bind\n',
    });
    const [cups] = made;
    assert.match(cups?.text ?? '', /cups\.service:2 runs portrelease/);
    assert.match(
      cups?.text.replaceAll('\n# ', ' ') ?? '',
      /move UDP ipp into a file of its own with Handoff=none/,
    );
  });

  it('takes single files, and says where a mistake is', async (t) => {
    const root = machine(t, { 'srv/web': '80\nnosuch\n99999\nssh/sctp\n', 'srv/ssh': 'ssh/tcp\n' });
    const { status, out, err } = await berth([
      'import',
      'portreserve',
      '/srv/web',
      '/srv/ssh',
      '--root',
      root,
    ]);
    assert.equal(status, 78);
    assert.match(out, /^# \/.*\/etc\/berth\/ssh\.conf\n[^]*\nListenStream=ssh\n/);
    assert.equal(
      err,
      "/srv/web:2: services(5) knows no 'nosuch'\n" +
        "/srv/web:3: '99999' is not a port (1 to 65535)\n" +
        "/srv/web:4: '/sctp' is neither /tcp nor /udp\n",
    );
  });

  it('exits 3 for a file that is not there, and says when there is nothing', async (t) => {
    const root = machine(t);
    assert.deepEqual(await berth(['import', 'portreserve', '/srv/none', '--root', root]), {
      status: 3,
      out: '',
      err: 'berth: there is no /srv/none\n',
    });
    assert.deepEqual(await berth(['import', 'portreserve', '--root', root]), {
      status: 0,
      out: '',
      err: 'nothing to import\n',
    });
  });

  it('writes with --write, and never over a file', async (t) => {
    const root = machine(t, { 'etc/portreserve/rsync': 'rsync\n' });
    const file = path.join(root, 'etc/berth/rsync.conf');
    const first = await berth(['import', 'portreserve', '--write', '--root', root]);
    assert.equal(first.status, 0);
    assert.match(
      first.out,
      /^wrote \/.*\/etc\/berth\/rsync\.conf\n\nRead them, then: .*; systemctl restart rsync\.service\n$/,
    );
    const text = readFileSync(file, 'utf8');
    assert.match(text, /^ListenStream=rsync$/m);
    const second = await berth(['import', 'portreserve', '--write', '--root', root]);
    assert.equal(second.status, 0);
    assert.match(
      second.err,
      /^skipped \/etc\/portreserve\/rsync: 'rsync' is reserved already \(.*rsync\.conf\)\nnothing/,
    );
    assert.equal(readFileSync(file, 'utf8'), text);
  });

  it('leaves a mask alone', async (t) => {
    const root = machine(t, { 'etc/portreserve/rsync': 'rsync\n', 'etc/berth/rsync.conf': '-> /dev/null' });
    const { status, out, err } = await berth(['import', 'portreserve', '--write', '--root', root]);
    assert.deepEqual({ status, out }, { status: 1, out: '' });
    assert.match(err, /etc\/berth\/rsync\.conf is there already, and stays as it is\n$/);
  });
});

describe('berth import socket', () => {
  const units = {
    'usr/lib/systemd/system/web.socket':
      '[Socket]\nListenStream=[::1]:80\nListenStream=80\nBacklog=7\nMaxConnections=3\nAccept=no\nService=httpd.service\n\n[Install]\nWantedBy=sockets.target\n',
    'etc/systemd/system/web.socket.d/more.conf': '[Socket]\nListenDatagram=443\nFileDescriptorName=web\n',
    'usr/lib/systemd/system/echo.socket': '[Socket]\nListenStream=7\nAccept=yes\n',
    'usr/lib/systemd/system/fifo.socket': '[Socket]\nListenFIFO=/run/fifo\n',
    'usr/lib/systemd/system/plain.socket': '[Socket]\nListenStream=/run/plain\n',
  };

  it('takes over what is said of the sockets, and drops the rest with the reason', async (t) => {
    const { status, out, err } = await berth(['import', 'socket', 'web', '--root', machine(t, units)]);
    assert.deepEqual({ status, err }, { status: 0, err: '' });
    assert.match(out, /^# Left out: MaxConnections=3 \(it counts instances of Accept=yes/m);
    assert.equal(
      out.replaceAll(/^#.*\n/gm, ''),
      '[Socket]\nListenStream=[::1]:80\nListenStream=80\nBacklog=7\nListenDatagram=443\nFileDescriptorName=web\n\n' +
        '[Reservation]\nService=httpd.service\nHandoff=store\n',
    );
  });

  it('keeps the name under which systemd passes the sockets', async (t) => {
    const { out } = await berth(['import', 'socket', 'plain.socket', '--root', machine(t, units)]);
    assert.match(out, /^FileDescriptorName=plain\.socket$/m);
  });

  it('says what cannot become a reservation', async (t) => {
    const root = machine(t, units);
    const { status, out, err } = await berth(['import', 'socket', 'echo', 'fifo', '--root', root]);
    assert.deepEqual({ status, out }, { status: 78, out: '' });
    assert.match(err, /echo\.socket:3: Accept: berth starts nothing/);
    assert.match(err, /fifo\.socket:1: nothing to hold/);
  });

  it('exits 3 without such a unit, and 2 for another kind or none', async (t) => {
    const root = machine(t, units);
    assert.equal((await berth(['import', 'socket', 'gone', '--root', root])).status, 3);
    assert.equal((await berth(['import', 'socket', '--root', root])).status, 2);
    assert.equal((await berth(['import', '--root', root])).status, 2);
    assert.equal((await berth(['import', 'else', '--root', root])).status, 2);
  });
});

describe('berth import --listening', () => {
  it('says of what listens by hand that it is no service, and of the rest nothing', async (t) => {
    const server = createServer().listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { status, out, err } = await berth(['import', '--listening', `${port}/tcp`]);
    assert.deepEqual({ status, out }, { status: 0, out: '' });
    assert.match(err, new RegExp(`^skipped tcp 127\\.0\\.0\\.1:${port}: (pid ${process.pid} |shared by )`));
    assert.match(err, /nothing to import\n$/);
    const { err: other } = await berth(['import', '--listening', `${port}/udp`]);
    assert.match(other, /^skipped (port \d+: nobody listens there|\d+ sockets? of)/);
  });

  it('refuses what is no port, and a tree', async () => {
    for (const port of ['0', '65536', 'http', '80/sctp', '-'])
      assert.equal((await berth(['import', '--listening', port])).status, 2, port);
    assert.equal((await berth(['import', '--listening', '--root', '/srv'])).status, 2);
  });

  it('writes nothing for nothing', async (t) => {
    const root = tree(t, {});
    const directory = path.join(root, 'made');
    const { status } = await berth(['import', '--listening', '1', '--write', '--config-dir', directory]);
    assert.equal(status, 0);
    assert.equal(existsSync(directory), false);
  });
});
