import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { bootLab, withLab } from './lab.js';
import { reapStale } from './machine.js';
import { mustRun } from './process.js';
import { labTest } from './requirements.js';

const bare = { berth: false } as const;

/** The labs' cgroups that exist on this machine. */
async function labCgroups(): Promise<string[]> {
  const list = 'mount -t cgroup2 none /run/berth-lab && ls /run/berth-lab';
  const names = await mustRun(['unshare', '--mount', '--propagation', 'private', 'sh', '-c', list]);
  return names.split('\n').filter((name) => name.startsWith('berth-lab.'));
}

labTest('boots a systemd that runs, with no failed unit, in seconds', async (t) => {
  const begun = performance.now();
  await withLab(t, bare, async (lab) => {
    const took = performance.now() - begun;
    assert.equal(lab.state, 'running');
    assert.ok(took < 10_000, `took ${took} ms`);
    assert.equal(await lab.systemctl('--failed', '--no-legend'), '');
    assert.equal(await lab.text('cat /proc/1/comm'), 'systemd');
    t.diagnostic(`up after ${took.toFixed(0)} ms`);
  });
});

labTest('has a network of its own, with the loopback up', async (t) => {
  await withLab(t, bare, async (lab) => {
    const links = await lab.json<{ ifname: string; flags: string[] }[]>(['ip', '-json', 'link']);
    assert.deepEqual(
      links.map(({ ifname }) => ifname),
      ['lo'],
    );
    assert.ok(links[0]?.flags.includes('UP'));
    const addresses = await lab.text(['ip', '-brief', 'address', 'show', 'dev', 'lo']);
    assert.match(addresses, /127\.0\.0\.1\/8 ::1\/128/);
    assert.equal(await lab.text(['ss', '-Hlntu']), '', 'nothing listens');
  });
});

labTest('boots nothing that the machine happens to have enabled, and none of its settings', async (t) => {
  await withLab(t, bare, async (lab) => {
    const links = await lab.text("find /etc/systemd/system -mindepth 2 -path '*.wants/*' -printf '%f\\n'");
    for (const unit of links.split('\n').filter(Boolean)) {
      assert.equal(await lab.property(unit, 'LoadState'), 'masked', unit);
    }
    assert.equal(
      await lab.text('ls -d /etc/berth /usr/lib/berth /run/berth /etc/portreserve 2>&-; true'),
      '',
    );
    const environments = [await lab.text('env'), await lab.text(['systemd-run', '--quiet', '--pipe', 'env'])];
    for (const environment of environments) assert.doesNotMatch(environment, /NODE_|PROXY|CERT/i);
  });
});

labTest(
  'runs commands: as root and as a user, with a status, input, environment and a limit of time',
  async (t) => {
    await withLab(t, bare, async (lab) => {
      assert.equal(await lab.text(['id', '-u']), '0');
      assert.equal(await lab.text(['id', '-un'], { user: 'nobody' }), 'nobody');
      assert.deepEqual(
        await lab.run('cat; echo "$A" >&2; exit 3', { input: 'in', env: { A: 'x y' }, allowFail: true }),
        {
          status: 3,
          stdout: 'in',
          stderr: 'x y\n',
        },
      );
      await assert.rejects(lab.run('echo why >&2; false'), /failed with status 1\nwhy/);
      await assert.rejects(lab.run('sleep 60', { timeoutMs: 100 }), /'sh -c sleep 60' took over 100 ms/);
      assert.equal(await lab.text("sed -n 's/^0:://p' /proc/self/cgroup"), '/lab.scope');
    });
  },
);

labTest('writes files before and after the boot, and replaces a link instead of following it', async (t) => {
  const files = {
    '/etc/lab/early': 'early\n',
    '/etc/lab/tool': { text: '#!/bin/sh\necho tool\n', mode: 0o755 },
  };
  await withLab(t, { ...bare, files }, async (lab) => {
    assert.equal(await lab.text('cat /etc/lab/early'), 'early');
    assert.equal(await lab.text('/etc/lab/tool'), 'tool');
    await lab.run('ln -s /etc/lab/early /etc/lab/late');
    await lab.write('/etc/lab/late', 'late\n', 0o600);
    assert.equal(
      await lab.text('cat /etc/lab/late /etc/lab/early; stat -c %a /etc/lab/late'),
      'late\nearly\n600',
    );
    assert.ok(!existsSync('/etc/lab'), 'and the machine has none of it');
  });
});

labTest('waits for what the journal and the units say', async (t) => {
  const units = {
    'answer.service': '[Service]\nExecStart=/bin/sh -c "echo forty-two; exec sleep infinity"\n',
    'brief.service': '[Service]\nExecStart=/bin/true\n',
  };
  await withLab(t, { ...bare, units }, async (lab) => {
    const before = await lab.journalCursor();
    await lab.systemctl('start', 'answer.service');
    assert.equal(await lab.waitForJournal(/^forty/, { unit: 'answer.service', after: before }), 'forty-two');
    await lab.waitForUnit('answer.service', 'active');
    const after = await lab.journalCursor();
    await assert.rejects(
      lab.waitForJournal(/^forty/, { unit: 'answer.service', after, timeoutMs: 300 }),
      /waited 300 ms in vain/,
    );
    await lab.systemctl('start', 'brief.service');
    await lab.waitForUnit('brief.service', 'inactive');
    await lab.systemctl('kill', '--signal=KILL', 'answer.service');
    await lab.waitForUnit('answer.service', 'failed');
    assert.match(await lab.journal('answer.service'), /status=9\/KILL/);
  });
});

labTest('keeps labs that run side by side apart', async (t) => {
  const unit =
    '[Service]\nType=exec\nExecStart=/usr/bin/node -e "require(\'net\').createServer().listen(631)"\n';
  const options = { ...bare, units: { 'server.service': unit } };
  await withLab(t, { ...options, name: 'left' }, (left) =>
    withLab(t, { ...options, name: 'right' }, async (right) => {
      for (const lab of [left, right]) {
        await lab.systemctl('start', 'server.service');
        const listens = async () => (await lab.text(['ss', '-Hlnt', 'sport', '=', '631'])) || undefined;
        assert.match(await lab.until('a listener on 631', listens), /:631/);
      }
      const machineId = 'cat /etc/machine-id';
      assert.notEqual(await left.text(machineId), await right.text(machineId));
      await left.write('/run/mark', '');
      assert.equal((await right.run('test -e /run/mark', { allowFail: true })).status, 1);
      await left.systemctl('stop', 'server.service');
      assert.equal(await left.property('server.service', 'ActiveState'), 'inactive');
      assert.equal(await right.property('server.service', 'ActiveState'), 'active');
      assert.equal(await left.text('pgrep -c -x node || true'), '0');
      assert.equal(await right.text('pgrep -c -x node'), '1');
    }),
  );
});

labTest('leaves no process, mount or cgroup behind', async () => {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
  const lab = await bootLab(bare);
  assert.ok(existsSync(`/proc/${lab.init}`));
  assert.ok((await labCgroups()).includes(lab.cgroup));
  assert.equal(readFileSync('/proc/self/mountinfo', 'utf8'), mounts, 'not even while it runs');
  await lab.close();
  assert.ok(!existsSync(`/proc/${lab.init}`));
  assert.ok(!(await labCgroups()).includes(lab.cgroup));
  assert.equal(readFileSync('/proc/self/mountinfo', 'utf8'), mounts);
  await lab.close();
});

labTest('tells what happened when a test fails, and is gone then too', async () => {
  const told: string[] = [];
  let init = 0;
  let cgroup = '';
  const units = { 'broken.service': '[Service]\nExecStart=/bin/sh -c "echo I break now; exit 7"\n' };
  const failing = withLab({ diagnostic: (text) => void told.push(text) }, { ...bare, units }, async (lab) => {
    ({ init, cgroup } = lab);
    await lab.systemctl('start', 'broken.service');
    await lab.waitForUnit('broken.service', 'failed');
    throw new Error('as the test says');
  });
  await assert.rejects(failing, /as the test says/);
  const report = told.join('\n');
  assert.match(report, /broken\.service[^]*status=7[^]*I break now/);
  assert.ok(report.length < 40_000, 'bounded');
  assert.ok(!existsSync(`/proc/${init}`));
  assert.ok(!(await labCgroups()).includes(cgroup));
});

labTest(
  'calls a boot with a failed unit an error that says which and why, unless it is expected',
  async (t) => {
    const broken = {
      ...bare,
      units: {
        'broken.service':
          '[Service]\nExecStart=/bin/sh -c "echo I break at boot; exit 7"\n[Install]\nWantedBy=multi-user.target\n',
      },
      enable: ['broken.service'],
    };
    await assert.rejects(bootLab(broken), /degraded after boot[^]*broken\.service[^]*I break at boot/);
    await withLab(t, { ...broken, degraded: true }, (lab) => {
      assert.equal(lab.state, 'degraded');
      return Promise.resolve();
    });
  },
);

for (const [signal, remains] of [
  ['SIGKILL', true],
  ['SIGTERM', false],
  ['SIGINT', false],
] as const) {
  labTest(`dies with a harness that ${signal} ends`, async () => {
    const module = new URL('lab.js', import.meta.url).href;
    const program = `
      const { bootLab } = await import(${JSON.stringify(module)});
      const lab = await bootLab({ berth: false });
      console.log(JSON.stringify({ init: lab.init, cgroup: lab.cgroup }));
      setInterval(() => {}, 60_000);`;
    const harness = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(createInterface({ input: harness.stdout }), 'line')) as [string];
    const { init, cgroup } = JSON.parse(line) as { init: number; cgroup: string };
    assert.ok(existsSync(`/proc/${init}`));
    harness.kill(signal);
    await once(harness, 'exit');
    // After SIGKILL the kernel ends the lab by itself; nobody is left who could tell when.
    for (let tries = 0; existsSync(`/proc/${init}`) && tries < 200; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    assert.ok(!existsSync(`/proc/${init}`));
    assert.equal((await labCgroups()).includes(cgroup), remains);
    await reapStale();
    assert.ok(!(await labCgroups()).includes(cgroup));
  });
}
