import assert from 'node:assert/strict';
import { peer, peerAt, reservation, reservations, statusOf } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';

const web = reservation(['ListenStream=127.0.0.1:7001'], ['Handoff=exec']);
const store = reservation(['ListenStream=127.0.0.1:7002'], ['Handoff=store']);
const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
const claim = ['berth-claim', 'web', '--', 'echo', 'stolen'];

/** Takes its own cgroup, which is delegated to it, and makes one in it that is called like the path of web.service. */
const nested = `set -e
own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
mkdir -p "$own/payload/system.slice/web.service"
echo 0 >"$own/payload/system.slice/web.service/cgroup.procs"
exec "$@"`;

/** Runs a command in a new unit of its own, to its end. */
function inUnit(lab: Lab, settings: readonly string[], command: readonly string[]) {
  const argv = ['systemd-run', '--quiet', '--pipe', '--wait', ...settings, ...command];
  return lab.run(argv, { allowFail: true });
}

async function assertDenied(
  outcome: Promise<{ status: number | null; stdout: string; stderr: string }>,
  unit: RegExp,
): Promise<void> {
  const { status, stdout, stderr } = await outcome;
  assert.equal(stdout, '');
  assert.notEqual(status, 0);
  assert.match(stderr, /^berth-claim: cannot claim 'web': 'web' is reserved for web\.service, and pid \d+ /m);
  assert.match(stderr, unit);
}

labTest('a name like the unit’s, wherever a stranger can have it, claims nothing', async (t) => {
  const options = { files: reservations({ web }), degraded: true };
  await withLab(t, options, async (lab) => {
    const before = (await statusOf(lab, 'web')).sockets;
    const delegated = ['-p', 'Delegate=yes'];
    const shell = ['sh', '-c', nested, 'sh'];
    // Delegated to the very user: a cgroup in its own.
    await assertDenied(
      inUnit(lab, ['--unit=evil', '--uid=65534', ...delegated], [...shell, ...claim]),
      /, evil\.service\) is not of it/,
    );
    // As a container is: in a scope of machine.slice, and with a cgroup namespace, in which it sees itself at the top.
    const scope = [
      'systemd-run',
      '--quiet',
      '--scope',
      '--slice=machine.slice',
      '--unit=machine-x',
      ...delegated,
    ];
    await assertDenied(
      lab.run([...scope, ...shell, 'unshare', '--cgroup', ...nobody, ...claim], { allowFail: true }),
      /, machine-x\.scope\) is not of it/,
    );
    // A slice that is called like the unit, and a unit in it.
    await assertDenied(
      inUnit(lab, ['--unit=other', '--slice=web.service.slice', '--uid=65534'], claim),
      /, other\.service\) is not of it/,
    );
    // A user's own manager, which calls its units what it likes.
    await lab.systemctl('start', 'user@65534.service');
    const session = { user: 'nobody', env: { XDG_RUNTIME_DIR: '/run/user/65534' }, allowFail: true };
    for (const slice of ['app.slice', 'system.slice']) {
      const own = [
        'systemd-run',
        '--user',
        '--collect',
        '--quiet',
        '--pipe',
        '--wait',
        '--unit=web.service',
        `--slice=${slice}`,
      ];
      await assertDenied(lab.run([...own, ...claim], session), /, user@65534\.service\) is not of it/);
    }
    assert.deepEqual((await statusOf(lab, 'web')).sockets, before);
    // The unit itself, as the same user.
    const own = await inUnit(lab, ['--unit=web', '--uid=65534'], claim);
    assert.deepEqual([own.status, own.stdout], [0, 'stolen\n'], own.stderr);
  });
});

/** Connects in a process that ends; sends its claim when a process of web.service has its number. */
const reuse = `import json, os, signal, socket, sys
os.makedirs('/run/proc', exist_ok=True)
os.system('mount -t proc proc /run/proc')
for attempt in range(200):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    first = os.fork()
    if first == 0:
        os.setuid(65534)
        connection.connect('/run/berth/control')
        os._exit(0)
    os.waitpid(first, 0)
    with open('/run/proc/sys/kernel/ns_last_pid', 'w') as last:
        last.write(str(first - 1))
    ready, tell = os.pipe()
    second = os.fork()
    if second == 0:
        with open(sys.argv[1] + '/cgroup.procs', 'w') as procs:
            procs.write('0')
        os.write(tell, b'.')
        signal.pause()
    os.read(ready, 1)
    if second == first:
        connection.send(b'{"method":"Claim","parameters":{"name":"web","form":"exec"}}')
        data, fds, _, _ = socket.recv_fds(connection, 65536, 10)
        cgroup = open('/proc/%d/cgroup' % second).read().strip()
        print(json.dumps({'answer': data.decode(), 'fds': len(fds), 'pid': second, 'cgroup': cgroup}))
    os.kill(second, signal.SIGKILL)
    os.waitpid(second, 0)
    if second == first:
        sys.exit(0)
sys.exit('the number never came around')
`;

labTest('a process that has got the number of one that connected is not taken for it', async (t) => {
  const options = {
    files: { ...reservations({ web }), '/srv/reuse.py': reuse },
    units: { 'web.service': `[Service]\nExecStart=${peer} serve\nUser=nobody\n` },
    programs: peerAt(),
  };
  await withLab(t, options, async (lab) => {
    await lab.systemctl('start', 'web.service');
    const cgroup = await lab.property('web.service', 'ControlGroup');
    const said = await lab.json<{ answer: string; fds: number; pid: number; cgroup: string }>([
      'python3',
      '/srv/reuse.py',
      `/sys/fs/cgroup${cgroup}`,
    ]);
    assert.match(said.cgroup, /web\.service$/);
    assert.equal(said.fds, 0);
    assert.equal(
      said.answer,
      `{"error":"Denied","parameters":{"message":"pid ${said.pid}, which asked, has gone"}}`,
    );
  });
});

/**
 * Connects as nobody from one cgroup and claims from another, or the same, for each pair; prints what came of it. A
 * cgroup's number is known to berthd from the second pair on.
 */
const moving = `import json, os, socket, sys
def enter(cgroup, pid):
    with open('/sys/fs/cgroup' + cgroup + '/cgroup.procs', 'w') as procs:
        procs.write(str(pid))
outcomes = []
for pair in sys.argv[1:]:
    first, then = pair.split(',')
    ready, tell = os.pipe()
    wait, go = os.pipe()
    result, say = os.pipe()
    child = os.fork()
    if child == 0:
        enter(first, 0)
        os.setuid(65534)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect('/run/berth/control')
        os.write(tell, b'.')
        os.read(wait, 1)
        connection.send(b'{"method":"Claim","parameters":{"name":"web","form":"exec"}}')
        data, fds, _, _ = socket.recv_fds(connection, 65536, 10)
        os.write(say, b'Denied' if b'Denied' in data else b'%d' % len(fds))
        os._exit(0)
    os.read(ready, 1)
    enter(then, child)
    os.write(go, b'.')
    outcomes.append(os.read(result, 16).decode())
    os.waitpid(child, 0)
print(json.dumps(outcomes))
`;

labTest(
  'what counts is the cgroup that a process is in when it asks, however well it is known',
  async (t) => {
    const serve = `[Service]\nExecStart=${peer} serve\nUser=nobody\n`;
    const options = {
      files: { ...reservations({ web }), '/srv/moving.py': moving },
      units: { 'web.service': serve, 'other.service': serve },
      programs: peerAt(),
    };
    await withLab(t, options, async (lab) => {
      await lab.systemctl('start', 'web.service', 'other.service');
      const own = await lab.property('web.service', 'ControlGroup');
      const other = await lab.property('other.service', 'ControlGroup');
      const claims = (...pairs: [string, string][]) =>
        lab.json<string[]>(['python3', '/srv/moving.py', ...pairs.map((pair) => pair.join())]);
      const pairs: [string, string][] = [
        [own, own],
        [other, other],
        [other, own],
        [own, other],
        [own, own],
      ];
      assert.deepEqual(await claims(...pairs), ['1', 'Denied', '1', 'Denied', '1']);
      // The same paths, and other cgroups.
      await lab.systemctl('restart', 'web.service', 'other.service');
      assert.deepEqual(await claims(...pairs), ['1', 'Denied', '1', 'Denied', '1']);
      // The cgroup of the one, made anew where that of the other was, and below it.
      await lab.systemctl('stop', 'other.service');
      const nested = `${own}${other}`;
      await lab.run(['mkdir', '-p', `/sys/fs/cgroup${other}`, `/sys/fs/cgroup${nested}`]);
      assert.deepEqual(await claims([other, other], [nested, nested], [nested, other]), [
        'Denied',
        '1',
        'Denied',
      ]);
    });
  },
);

/** Stands in for systemd: takes what it is sent, and lets go of it, which is what a barrier waits for. */
const manager = `import os, socket
fake = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
fake.bind('/run/fake/notify')
os.chmod('/run/fake/notify', 0o666)
print('ready', flush=True)
while True:
    data, fds, _, _ = socket.recv_fds(fake, 65536, 10)
    for fd in fds:
        os.close(fd)
`;

labTest('a $NOTIFY_SOCKET that is not systemd’s makes no unit start without its sockets', async (t) => {
  const options = {
    files: {
      ...reservations({ store }),
      '/srv/manager.py': manager,
      // What a user may write whose unit reads it.
      '/srv/environment':
        'NOTIFY_SOCKET=/run/fake/notify\nLISTEN_FDS=1\nLISTEN_PID=1\nLISTEN_FDNAMES=x\nSERVICE_RESULT=x\n',
    },
    units: {
      'store.service': `[Service]\nExecStart=${peer} serve\nUser=nobody\nEnvironmentFile=/srv/environment\n`,
      'fake.service':
        '[Service]\nUser=nobody\nRuntimeDirectory=fake\nExecStart=/usr/bin/python3 /srv/manager.py\n',
    },
    programs: peerAt(),
    degraded: true,
  };
  await withLab(t, options, async (lab) => {
    await lab.systemctl('start', 'fake.service');
    await lab.until('the false manager', async () =>
      (await lab.run(['test', '-S', '/run/fake/notify'], { allowFail: true })).status === 0
        ? true
        : undefined,
    );
    const started = await lab.run(['systemctl', 'start', 'store.service'], { allowFail: true });
    assert.notEqual(started.status, 0);
    const log = await lab.text(['journalctl', '-o', 'cat', '-u', 'store.service']);
    assert.match(log, /systemd kept 0 of 1 sockets/);
    assert.equal(
      (await lab.run([peer, 'ask', 'tcp', '127.0.0.1', '7002', '200'], { allowFail: true })).status,
      1,
    );
    await lab.until("'store' to be held", async () =>
      (await statusOf(lab, 'store')).state === 'held' ? true : undefined,
    );
  });
});
