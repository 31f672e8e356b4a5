import assert from 'node:assert/strict';
import { blocks, readDocument } from '../unit/docs/markdown.js';
import { failureToAsk, inodesOf, peerAt, statusOf } from './claims.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
import { labTest } from './requirements.js';
import { askThief, thiefAtBoot } from './thief.js';

const guide = blocks(readDocument('docs/guide.md'));

function fileOf(name: string): string {
  const found = guide.find(({ info }) => info === `file=${name}`);
  assert.ok(found, name);
  return found.text;
}

const image = 'docker.io/library/python:3';
/** The lab's own Python as an image, so that none has to be fetched. */
const makeImage = `set -e; cd /
libraries=$(ldd /usr/bin/python3 | grep -o '/[^ ]*')
tar -ch --exclude=__pycache__ --exclude=dist-packages --exclude=test --exclude='config-3*' -f /tmp/image.tar \\
  $libraries usr/bin/python3 usr/lib/python3.*
chmod 644 /tmp/image.tar`;

/** What is the lab's and not the guide's: its root is an overlay, beside which none can be, and has no pids controller. */
const storage = `[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
`;
const settings = {
  '/etc/containers/storage.conf': storage,
  '/etc/containers/containers.conf': '[containers]\npids_limit = 0\n',
};

const thief = thiefAtBoot(
  '--port 80 --tcp --and --tcp -4 --reuseaddr --listen --and --tcp -4 --reuseport --listen',
  ['container.service'],
);

function options(own: Partial<LabOptions> & Required<Pick<LabOptions, 'files'>>): LabOptions {
  return {
    ...own,
    units: { ...thief.units, 'thief.service.d/nice.conf': '[Service]\nNice=19\n' },
    enable: thief.enable,
    programs: { ...thief.programs, ...peerAt() },
    files: {
      ...settings,
      '/srv/server.py': fileOf('server.py'),
      '/etc/berth/container.conf': fileOf('/etc/berth/container.conf'),
      ...own.files,
    },
  };
}

async function answers(lab: Lab): Promise<void> {
  await lab.until('the container to answer', async () => {
    const { stdout } = await lab.run(['curl', '-sS', 'http://127.0.0.1:80/'], { allowFail: true });
    return stdout === 'hello from Python\n' ? true : undefined;
  });
}

/** Starts, stops, kills and restarts it; the port is the held socket's all the time. */
async function assertKept(lab: Lab): Promise<void> {
  const before = await askThief(lab);
  const inodes = await inodesOf(lab, 'container');
  for (const verb of ['start', 'restart']) {
    await lab.systemctl(verb, 'container.service');
    await answers(lab);
    assert.deepEqual(await inodesOf(lab, 'container'), inodes, verb);
  }
  await lab.systemctl('stop', 'container.service');
  assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 80), 'ECONNREFUSED');
  assert.equal((await statusOf(lab, 'container')).state, 'held');
  await lab.systemctl('start', 'container.service');
  await answers(lab);

  await lab.run(['kill', '-KILL', await lab.property('container.service', 'MainPID')]);
  await lab.waitForUnit('container.service', 'failed', 30_000);
  assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 80), 'ECONNREFUSED');
  const { stdout } = await lab.run(['pgrep', '-x', 'python3'], { allowFail: true });
  assert.equal(stdout, '', 'what it ran does not outlive its unit');
  await lab.systemctl('start', 'container.service');
  await answers(lab);
  assert.deepEqual(await inodesOf(lab, 'container'), inodes, 'after a crash');

  const after = await askThief(lab);
  assert.equal(after.thefts, 0, JSON.stringify(after));
  assert.ok(after.attempts > before.attempts + 100);
}

/** The same container as a unit of the user's own manager, with the command line that the guide names. */
async function assertOfUsersManager(lab: Lab): Promise<void> {
  const uid = await lab.text('id -u web');
  const unit = fileOf('/etc/systemd/system/container.service')
    .replace('User=web\n', '')
    .replace(
      'ExecStart=/usr/bin/podman run',
      'ExecStart=/usr/bin/berth-claim container -- /usr/bin/podman run',
    );
  const settings = `\n[Reservation]\nService=user@${uid}.service\nHandoff=exec\n`;
  await lab.write('/etc/berth/container.conf', fileOf('/etc/berth/container.conf') + settings);
  await lab.run('rm /etc/systemd/system/container.service');
  await lab.write('/etc/systemd/user/container.service', unit);
  const inodes = await inodesOf(lab, 'container');
  await lab.run('berth reload && systemctl daemon-reload');
  assert.doesNotMatch(await lab.text('berth generate'), /berth-claim/);
  const manager = { user: 'web', env: { XDG_RUNTIME_DIR: `/run/user/${uid}`, HOME: '/home/web' } };
  await lab.run('systemctl --user daemon-reload', manager);
  for (let round = 0; round < 2; round++) {
    await lab.run('systemctl --user start container.service', manager);
    await answers(lab);
    assert.deepEqual(await inodesOf(lab, 'container'), inodes);
    await lab.run('systemctl --user stop container.service', manager);
    await lab.until('the socket to be at rest', async () =>
      (await statusOf(lab, 'container')).state === 'held' ? true : undefined,
    );
    assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 80), 'ECONNREFUSED');
  }
}

labTest("the guide's container, an ordinary user's with the real podman, keeps port 80", async (t) => {
  const own = {
    packages: ['podman', 'crun', 'uidmap', 'dbus-user-session', 'curl', 'python3'],
    keep: ['user@.service', 'systemd-logind.service', 'dbus.service', 'dbus.socket'],
    files: { '/etc/systemd/system/container.service': fileOf('/etc/systemd/system/container.service') },
  };
  await withLab(t, options(own), async (lab) => {
    await lab.run('useradd --create-home web && loginctl enable-linger web');
    await lab.waitForUnit(`user@${await lab.text('id -u web')}.service`, 'active');
    await lab.run(makeImage);
    await lab.run(`systemd-run --quiet --wait --uid=web podman import /tmp/image.tar ${image}`);

    await assertKept(lab);
    assert.equal(await lab.property('container.service', 'NotifyAccess'), 'exec');
    const server = await lab.text('pgrep -u web -x python3');
    assert.notEqual(
      await lab.text(['readlink', `/proc/${server}/ns/net`]),
      await lab.text(['readlink', '/proc/1/ns/net']),
      'it has a network of its own',
    );
    await lab.systemctl('stop', 'container.service');
    await assertOfUsersManager(lab);
  });
});

labTest("the guide's container, as podman's own generator makes its unit, keeps port 80", async (t) => {
  const file = '/etc/containers/systemd/container.container';
  const own = {
    root: 'trixie' as const,
    packages: ['podman', 'crun', 'curl', 'python3'],
    keep: ['podman-system-generator'],
    files: {},
  };
  await withLab(t, options(own), async (lab) => {
    await lab.run(makeImage);
    await lab.run(['podman', 'import', '/tmp/image.tar', image]);
    // Not before: the boot would start it.
    await lab.write(file, fileOf(file));
    await lab.systemctl('daemon-reload');

    await assertKept(lab);
    assert.equal(await lab.property('container.service', 'NotifyAccess'), 'all');
    assert.equal(await lab.property('container.service', 'SourcePath'), file);
  });
});
