import assert from 'node:assert/strict';
import { blocks, readDocument } from '../unit/docs/markdown.js';
import { inodesOf, statusOf } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';

const readme = blocks(readDocument('README.md'));
const guide = blocks(readDocument('docs/guide.md'));

/** The files of a document, by their paths; where there are several of one name, the first. */
function filesOf(document: typeof guide, ...names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.map((name) => {
      const found = document.find(({ info }) => info === `file=${name}`);
      assert.ok(found, name);
      return [name, found.text];
    }),
  );
}

labTest("the README's first reservation is made by the commands that it shows", async (t) => {
  const units = ['cups.service', 'cups.socket', 'cups.path'];
  const options = {
    packages: ['cups-daemon', 'cups-client', 'cups-ipp-utils', 'curl', 'rpcbind'],
    keep: units,
  };
  await withLab(t, options, async (lab) => {
    // As on a machine where cupsd has its port before berth comes.
    await lab.systemctl('start', 'cups.service');
    const files = filesOf(readme, '/etc/berth/cups.conf', '/etc/berth/cups-udp.conf');
    await lab.write('/etc/berth/cups.conf', files['/etc/berth/cups.conf'] ?? '');
    const commands =
      readme
        .find(({ info }) => info === 'lab=cups')
        ?.text.trimEnd()
        .split('\n') ?? [];
    assert.ok(commands.length >= 5);
    let said = '';
    for (const command of commands) {
      const first = command.startsWith('berth reload');
      const { status, stdout, stderr } = await lab.run(command, { allowFail: first });
      // cupsd runs and has the port itself, which the page says, too.
      if (first) assert.match(stderr, /EADDRINUSE, held by pid \d+ cupsd/);
      assert.equal(status === 0, !first, command);
      said = stdout;
    }
    assert.match(said, /^● cups\n *State: active/);
    const tcp = await inodesOf(lab, 'cups');
    assert.match(await lab.text('curl -sSi http://127.0.0.1:631/'), /^Server: CUPS/m);
    await lab.systemctl('restart', 'cups.service');
    assert.deepEqual(await inodesOf(lab, 'cups'), tcp);

    await lab.write('/etc/berth/cups-udp.conf', files['/etc/berth/cups-udp.conf'] ?? '');
    await lab.run('berth check && berth reload');
    assert.equal((await statusOf(lab, 'cups-udp')).state, 'held');
  });
});

async function says(lab: Lab, port: number, text: string): Promise<void> {
  const ask = async () => {
    const { stdout } = await lab.run(['curl', '-sS', `http://127.0.0.1:${port}/`], { allowFail: true });
    return stdout.trim() === text ? true : undefined;
  };
  await lab.until(`port ${port} to say '${text}'`, ask);
}

labTest("the guide's service of one's own, in Python and in Node, keeps its socket", async (t) => {
  const files = filesOf(
    guide,
    'server.py',
    'server.mjs',
    '/etc/berth/hello.conf',
    '/etc/systemd/system/hello.service',
  );
  const [, inNode] = /`(ExecStart=\/usr\/bin\/node [^`]+)`/.exec(readDocument('docs/guide.md')) ?? [];
  assert.ok(inNode !== undefined);
  const { 'server.py': python = '', 'server.mjs': node = '', ...others } = files;
  const options = {
    packages: ['curl', 'python3'],
    files: {
      ...others,
      '/srv/server.py': python,
      '/srv/server.mjs': node,
    },
  };
  await withLab(t, options, async (lab) => {
    await lab.run('useradd --system web');
    const path = '/etc/systemd/system/hello.service';
    const { stdout, stderr } = await lab.run(['systemd-analyze', 'verify', '--man=no', path]);
    // Of what it pulls in, systemd 252 does not know a key of berth.service.
    const complaints = (stdout + stderr).split('\n').filter((line) => line.includes(path));
    assert.deepEqual(complaints, []);

    const hello = await inodesOf(lab, 'hello');
    await lab.systemctl('start', 'hello.service');
    await says(lab, 8081, 'hello from Python');
    assert.deepEqual(await inodesOf(lab, 'hello'), hello);

    const unit = others['/etc/systemd/system/hello.service'] ?? '';
    await lab.write('/etc/systemd/system/hello.service', unit.replace(/^ExecStart=.*$/m, inNode));
    await lab.systemctl('daemon-reload');
    await lab.systemctl('restart', 'hello.service');
    await says(lab, 8081, 'hello from Node');
    assert.deepEqual(await inodesOf(lab, 'hello'), hello);
  });
});
