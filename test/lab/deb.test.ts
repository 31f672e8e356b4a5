import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, type TestContext } from 'node:test';
import { makePackage, makePackageOfVersion, makeSimplePackage } from '../support/deb.js';
import {
  askPeer,
  failureToAsk,
  inodesOf,
  peer,
  peerAt,
  reservation,
  reservations,
  statusOf,
} from './claims.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
import { labTest, whyNoLab } from './requirements.js';
import { askThief, thiefAtBoot } from './thief.js';

const newer = '99.0.0';
const directory = { path: '', current: '', newer: '', node: '' };

before(async () => {
  if (whyNoLab() !== undefined) return;
  directory.path = await mkdtemp(join(tmpdir(), 'berth-deb-'));
  directory.current = await makePackage(directory.path);
  directory.newer = await makePackageOfVersion(directory.path, newer);
  // Where the lab has Node without a package of it, as a copy of this machine's.
  directory.node = await makeSimplePackage(directory.path, {
    Package: 'nodejs',
    Version: process.versions.node,
  });
});
after(async () => {
  if (existsSync(directory.path)) await rm(directory.path, { recursive: true });
});

/** Takes the sockets that it is given, else binds its own: as a service is before berth and after it. */
const adaptable = `[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=all
ExecStart=/usr/bin/node -e "\\
  const http = require('http'), fd = process.env.LISTEN_FDS && 3; \\
  const server = http.createServer((_, answer) => answer.end(fd ? 'passed' : 'own')); \\
  server.listen(fd ? { fd } : { port: 7002 }, () => require('child_process').execFileSync('systemd-notify', ['--ready']))"
`;

const web = `[Service]
ExecStart=${peer} serve
`;

const files = reservations({
  web: reservation(['ListenStream=7001', 'ListenDatagram=7001']),
  own: reservation(['ListenStream=7002']),
  idle: reservation(['ListenStream=7003', 'ListenDatagram=7003'], ['Handoff=none']),
});

function labFor(root: 'host' | 'trixie'): LabOptions {
  const kinds = ['', '--reuseaddr --listen', '--reuseport --listen'].join(' --and ');
  const thief = thiefAtBoot(`--port 7001 ${kinds}`, []);
  return {
    root,
    berth: false,
    units: { ...thief.units, 'web.service': web, 'own.service': adaptable },
    // What says that no service may be started, as container images have it.
    files: { ...files, '/usr/sbin/policy-rc.d': { text: '#!/bin/sh\nexit 0\n', mode: 0o755 } },
    programs: { ...thief.programs, ...peerAt(), ...packages() },
  };
}

const packages = (): Record<string, string> =>
  Object.fromEntries(
    [directory.current, directory.newer, directory.node].map((path) => [`/root/${basename(path)}`, path]),
  );

async function dpkg(lab: Lab, ...args: string[]): Promise<string> {
  const { stdout, stderr } = await lab.run(['dpkg', ...args], { timeoutMs: 120_000 });
  return stdout + stderr;
}

const install = (lab: Lab, path: string): Promise<string> =>
  dpkg(lab, '--install', `/root/${basename(path)}`);

/** Gives the tree the package of Node that the one of berth asks for, unless it has one. */
async function provideNode(lab: Lab): Promise<void> {
  // Else man-db works over all manual pages of the machine after each installation, for ten seconds.
  await lab.run(['rm', '-f', '/var/lib/man-db/auto-update']);
  const { status } = await lab.run(['dpkg-query', '--show', 'nodejs'], { allowFail: true });
  if (status !== 0) await install(lab, directory.node);
}

/** Every path of the tree, but for logs and the package manager's own notes. */
async function everyPath(lab: Lab): Promise<Set<string>> {
  const noise = ['/var/log', '/var/lib/dpkg', '/var/cache', '/var/lib/systemd', '/tmp', '/var/tmp', '/root'];
  const prune = noise.flatMap((path) => ['-path', path, '-prune', '-o']);
  const find = ['find', '/', '-xdev', ...prune, '-print'];
  const run = 'find /run/berth* /run/systemd/generator* /run/systemd/system | grep -i berth || true';
  const outcome = await lab.run(find, { timeoutMs: 120_000 });
  return new Set(`${outcome.stdout}${await lab.text(run)}`.split('\n').filter(Boolean));
}

/** What is in only one of the two. */
const differences = (one: Set<string>, other: Set<string>): string[] =>
  [...new Set([...one, ...other])].filter((path) => !one.has(path) || !other.has(path));

const isBound = async (lab: Lab, port: number): Promise<boolean> =>
  (await lab.text(['ss', '-Htunla', 'sport', '=', `${port}`])) !== '';

const answers = (lab: Lab): Promise<string> =>
  lab.text(['node', '-e', "fetch('http://127.0.0.1:7002').then((a) => a.text()).then(console.log)"]);

async function liveThrough(t: TestContext, root: 'host' | 'trixie'): Promise<void> {
  await withLab(t, labFor(root), async (lab) => {
    await provideNode(lab);
    await lab.systemctl('start', 'own.service');
    const before = await everyPath(lab);

    await install(lab, directory.current);
    for (const unit of ['berth.socket', 'berth-portreserve.socket', 'berth.service']) {
      assert.equal(await lab.systemctl('is-enabled', unit), 'enabled');
      assert.equal(await lab.property(unit, 'ActiveState'), 'active');
    }
    // Worked out for the next boot, too.
    await lab.run(['test', '-s', '/var/lib/berth/generator/manifest']);
    await lab.systemctl('start', 'web.service');
    const inodes = await inodesOf(lab, 'web');
    const served = async (): Promise<void> => {
      const { sockets } = await askPeer(lab, 'tcp', '127.0.0.1', 7001);
      assert.deepEqual(sockets.map(({ inode }) => inode).sort(), [...inodes].sort());
    };
    await served();
    // The service from before goes on, and has its port from berth when it starts again.
    assert.equal(await answers(lab), 'own');
    await lab.systemctl('restart', 'own.service');
    assert.equal(await answers(lab), 'passed');

    await lab.systemctl('start', 'thief.service');
    const thiefBefore = await askThief(lab);
    const state = async (): Promise<unknown> => ({
      inodes: await Promise.all(['web', 'own', 'idle'].map((name) => inodesOf(lab, name))),
      states: await Promise.all(
        ['web', 'own', 'idle'].map(async (name) => (await statusOf(lab, name)).state),
      ),
      services: await Promise.all(
        ['web.service', 'own.service'].map((unit) => lab.property(unit, 'MainPID')),
      ),
      socket: await lab.property('berth.socket', 'InvocationID'),
    });
    const held = await state();
    const pid = await lab.property('berth.service', 'MainPID');
    const upgrade = install(lab, directory.newer);
    // Claims while the files are replaced and berthd is.
    const restarts = (async () => {
      for (let n = 0; n < 5; n++) await lab.systemctl('restart', 'own.service');
    })();
    await Promise.all([upgrade, restarts]);
    assert.match(await lab.text(['berth', '--version']), new RegExp(`${newer}$`));
    assert.notEqual(await lab.property('berth.service', 'MainPID'), pid);
    const services = [
      await lab.property('web.service', 'MainPID'),
      await lab.property('own.service', 'MainPID'),
    ];
    assert.deepEqual(await state(), { ...(held as object), services });
    assert.equal(services[0], (held as { services: string[] }).services[0]);
    await served();
    await lab.systemctl('restart', 'web.service');
    await served();
    assert.equal(await answers(lab), 'passed');
    assert.match(await lab.text('head -1 /var/lib/berth/generator/manifest'), new RegExp(` ${newer}$`));
    const thief = await askThief(lab);
    assert.ok(thief.attempts > thiefBefore.attempts + 100);
    assert.equal(thief.thefts, 0);
    t.diagnostic(`upgraded under ${thief.attempts} attempts of thieves`);
    await lab.systemctl('stop', 'thief.service');

    const running = await lab.property('web.service', 'MainPID');
    await dpkg(lab, '--remove', 'berth');
    assert.equal(await lab.property('web.service', 'MainPID'), running);
    await served();
    assert.equal(await answers(lab), 'passed');
    for (const unit of ['web.service', 'own.service']) {
      assert.equal(await lab.property(unit, 'DropInPaths'), '');
      assert.equal(await lab.property(unit, 'ExecStartPre'), '');
    }
    // Nobody holds what no service has.
    assert.equal(await isBound(lab, 7003), false);
    await lab.systemctl('stop', 'own.service');
    await lab.systemctl('start', 'own.service');
    assert.equal(await answers(lab), 'own');

    await dpkg(lab, '--purge', 'berth');
    // What the administrator wrote is his.
    assert.deepEqual(differences(before, await everyPath(lab)), []);
    assert.equal(await lab.systemctl('is-system-running'), 'running');
  });
}

labTest('is installed, upgraded under thieves, removed and purged', (t) => liveThrough(t, 'host'));

labTest(
  'is installed, upgraded under thieves, removed and purged on Debian 13',
  (t) => liveThrough(t, 'trixie'),
  {
    programs: { debootstrap: 'debootstrap' },
  },
);

labTest('what the administrator or policy-rc.d says about its units counts', async (t) => {
  const lab = labFor('host');
  const forbidden = { '/usr/sbin/policy-rc.d': { text: '#!/bin/sh\nexit 101\n', mode: 0o755 } };
  await withLab(t, { ...lab, files: { ...files, ...forbidden } }, async (lab) => {
    await provideNode(lab);
    await install(lab, directory.current);
    assert.equal(await lab.property('berth.service', 'ActiveState'), 'inactive');
    assert.equal(await lab.systemctl('is-enabled', 'berth.service'), 'enabled');
    assert.equal(await isBound(lab, 7001), false);

    await lab.run(['rm', '/usr/sbin/policy-rc.d']);
    await lab.systemctl('disable', 'berth.service', 'berth.socket');
    await install(lab, directory.newer);
    assert.equal(await lab.property('berth.service', 'ActiveState'), 'inactive');
    const enabled = await lab.run(['systemctl', 'is-enabled', 'berth.service'], { allowFail: true });
    assert.equal(enabled.stdout.trim(), 'disabled');

    // A mistake in a reservation is told, and does not stop the package.
    await lab.write('/etc/berth/bad.conf', '[Socket]\nListenStream=nonsense:\n');
    assert.match(
      await dpkg(lab, '--install', `/root/${basename(directory.current)}`),
      /bad\.conf:2: ListenStream: /,
    );
    assert.match(await dpkg(lab, '--status', 'berth'), /^Status: install ok installed$/m);
  });
});

labTest('takes the place of portreserve, whose files stay', async (t) => {
  const portreserve = await makeSimplePackage(
    directory.path,
    { Package: 'portreserve', Version: '0.0.5-2' },
    {
      '/usr/sbin/portreserve': '#!/bin/sh\nexec sleep infinity\n',
      '/usr/sbin/portrelease': '#!/bin/sh\n',
      '/usr/lib/systemd/system/portreserve.service': '[Service]\nExecStart=/usr/sbin/portreserve\n',
      '/etc/portreserve/ipp': 'ipp/tcp\n',
    },
  );
  const needy = await makeSimplePackage(directory.path, {
    Package: 'needs-portreserve',
    Version: '1',
    Depends: 'portreserve',
  });
  const options = labFor('host');
  const programs = {
    ...options.programs,
    '/root/portreserve.deb': portreserve,
    '/root/needs-portreserve.deb': needy,
  };
  const units = {
    ...options.units,
    // As it was written for portreserve.
    'cups.service': `[Service]
Type=notify
ExecStartPre=-/sbin/portrelease cups
ExecStart=${peer} serve --bind :: 631 --notify
`,
  };
  await withLab(t, { ...options, units, programs }, async (lab) => {
    await provideNode(lab);
    await dpkg(lab, '--install', '/root/portreserve.deb', '/root/needs-portreserve.deb');
    await lab.write('/etc/portreserve/cups', 'ipp\n');
    await lab.systemctl('start', 'cups.service');
    // As apt does it, without its question.
    await dpkg(lab, '--auto-deconfigure', '--install', `/root/${basename(directory.current)}`);
    assert.match(await dpkg(lab, '--status', 'portreserve'), /^Status: \w+ ok config-files$/m);
    await dpkg(lab, '--configure', '--pending');
    assert.match(await dpkg(lab, '--status', 'needs-portreserve'), /^Status: install ok installed$/m);
    assert.equal(await dpkg(lab, '--audit'), '');
    assert.equal(await lab.text(['cat', '/etc/portreserve/ipp', '/etc/portreserve/cups']), 'ipp/tcp\nipp');
    assert.equal((await statusOf(lab, 'web')).state, 'held');

    // Nothing else is edited. What runs goes on; from its next stop on the port is held whenever it does not have it.
    assert.ok((await askPeer(lab, 'tcp', '127.0.0.1', 631)).pid > 0);
    for (let round = 0; round < 3; round++) {
      await lab.systemctl('stop', 'cups.service');
      const held = async () => (await statusOf(lab, 'cups')).state === 'held' || undefined;
      await lab.until('631 to be held', held);
      assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 631), 'ECONNREFUSED');
      const thief = await lab.run([peer, 'pass', 'tcp', '::', '631', 'true'], { allowFail: true });
      assert.match(thief.stderr, /EADDRINUSE/);
      await lab.systemctl('start', 'cups.service');
      assert.equal((await statusOf(lab, 'cups')).state, 'released');
      for (const protocol of ['tcp', 'udp'] as const)
        assert.ok((await askPeer(lab, protocol, '127.0.0.1', 631)).pid > 0);
    }
  });
});

labTest('lintian has nothing to say about it', async (t) => {
  await withLab(t, { ...labFor('host'), packages: ['lintian'] }, async (lab) => {
    const lintian = ['lintian', '--allow-root', '--fail-on=error,warning', '--no-tag-display-limit'];
    const { stdout } = await lab.run([...lintian, `/root/${basename(directory.current)}`], {
      timeoutMs: 120_000,
    });
    assert.equal(stdout, '');
  });
});
