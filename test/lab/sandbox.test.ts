import assert from 'node:assert/strict';
import { reservation, reservations, statusOf } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';

/** Whether berthd, with its own view of the file system, could make a file there. */
async function mayWrite(lab: Lab, directory: string): Promise<boolean> {
  const pid = await lab.property('berth.service', 'MainPID');
  // Node, because NoExecPaths= leaves nothing else to run there.
  const write = `require('node:fs').writeFileSync('${directory}/probe', '')`;
  const probe = ['nsenter', '--target', pid, '--mount', '/usr/bin/node', '-e', write];
  const { status, stderr } = await lab.run(probe, { allowFail: true });
  assert.ok(status === 0 || stderr.includes('EROFS') || stderr.includes('EACCES'), stderr);
  return status === 0;
}

const directories = [
  '/',
  '/etc',
  '/usr',
  '/usr/lib/berth',
  '/usr/local/lib',
  '/usr/bin',
  '/var/lib',
  '/tmp',
  '/run',
  '/home',
];

labTest('berthd may write nowhere, and runs no shell', async (t) => {
  const files = reservations({ web: reservation(['ListenStream=7801']) });
  await withLab(t, { name: 'sandbox', files }, async (lab) => {
    for (const directory of directories) assert.equal(await mayWrite(lab, directory), false, directory);
    const pid = await lab.property('berth.service', 'MainPID');
    const shell = await lab.run(['nsenter', '--target', pid, '--mount', '/bin/sh', '-c', 'true'], {
      allowFail: true,
    });
    assert.equal(shell.status, 126);
  });
});

labTest('AF_UNIX paths are opened to it by the generator, and nothing else', async (t) => {
  const files = {
    ...reservations({
      web: reservation(['ListenStream=/run/web/one.sock', 'ListenDatagram=/srv/two.sock']),
    }),
  };
  await withLab(t, { name: 'sandbox', files }, async (lab) => {
    const { sockets } = await statusOf(lab, 'web');
    assert.deepEqual(
      sockets.map(({ state }) => state),
      ['held', 'held'],
    );
    assert.equal(await lab.text('stat -c %F /run/web/one.sock /srv/two.sock | uniq'), 'socket');
    for (const directory of directories)
      assert.equal(await mayWrite(lab, directory), directory === '/run', directory);
    // A restart keeps what is there.
    await lab.systemctl('restart', 'berth.service');
    assert.deepEqual((await statusOf(lab, 'web')).sockets, sockets);
  });
});
