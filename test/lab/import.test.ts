import assert from 'node:assert/strict';
import { inodesOf, statusOf } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';
import { socketInodesOf } from './sockets.js';

const units = ['nginx.service', 'redis-server.service', 'php8.2-fpm.service', 'ssh.service'];

async function inodesOfUnit(lab: Lab, unit: string): Promise<Set<number>> {
  const pids = (await lab.text(`cat /sys/fs/cgroup/system.slice/${unit}/cgroup.procs`)).split('\n');
  return new Set((await Promise.all(pids.map((pid) => socketInodesOf(lab, pid)))).flat());
}

/** Every unit answers, by a protocol that only it speaks. */
async function assertServe(lab: Lab): Promise<void> {
  const checks = [
    ['curl -sSi http://127.0.0.1/; curl -sSig http://[::1]/', /Server: nginx[^]*Server: nginx/i],
    ['redis-cli ping; redis-cli -h ::1 ping', /^PONG\nPONG$/],
    ['cgi-fcgi -bind -connect 127.0.0.1:9000', /answer of php/],
    ['exec 3<>/dev/tcp/127.0.0.1/22 && head -n 1 <&3', /^SSH-2\.0/],
  ] as const;
  const env = { SCRIPT_FILENAME: '/srv/answer.php', REQUEST_METHOD: 'GET' };
  for (const [command, answer] of checks) {
    await lab.until(command, async () => {
      const { stdout } = await lab.run(['bash', '-c', command], { allowFail: true, env });
      return answer.test(stdout.trim()) ? true : undefined;
    });
  }
}

labTest('what listens becomes reservations that hold after a restart of the services', async (t) => {
  const options = {
    packages: ['nginx-light', 'redis-server', 'php8.2-fpm', 'libfcgi-bin', 'openssh-server', 'curl'],
    keep: units,
    files: {
      '/srv/answer.php': "<?php echo 'answer of php';\n",
      '/etc/php/8.2/fpm/pool.d/www.conf':
        '[www]\nuser = www-data\ngroup = www-data\nlisten = 127.0.0.1:9000\npm = static\npm.max_children = 1\n',
    },
  };
  await withLab(t, options, async (lab) => {
    await assertServe(lab);
    const { stdout: proposed } = await lab.run('berth import --listening');
    t.diagnostic(proposed);
    assert.equal(await lab.text('ls /etc/berth'), '', 'nothing is written unasked');

    const written = await lab.text('berth import --listening --write --no-legend');
    assert.deepEqual(written.split('\n').sort(), [
      'wrote /etc/berth/nginx.conf',
      'wrote /etc/berth/php8.2-fpm.conf',
      'wrote /etc/berth/redis-server.conf',
      'wrote /etc/berth/ssh.conf',
    ]);
    assert.match(await lab.text('cat /etc/berth/redis-server.conf'), /^Handoff=bind$/m);
    // The review: no filter for this one.
    await lab.run('sed -i s/^Handoff=bind/Handoff=lend/ /etc/berth/redis-server.conf');
    assert.equal(
      await lab.text('berth check'),
      '4 reservations, 6 sockets, no mistakes',
      'and no warnings that would go before it',
    );

    // All of it is in use yet.
    assert.equal((await lab.run('berth reload', { allowFail: true })).status, 1);
    await lab.systemctl('daemon-reload');
    await lab.systemctl('restart', ...units);
    await assertServe(lab);
    for (const [name, unit, shares] of [
      ['nginx', 'nginx.service', true],
      ['php8.2-fpm', 'php8.2-fpm.service', true],
      ['ssh', 'ssh.service', true],
      ['redis-server', 'redis-server.service', false],
    ] as const) {
      assert.equal((await statusOf(lab, name)).state, 'active', name);
      const has = await inodesOfUnit(lab, unit);
      for (const inode of await inodesOf(lab, name)) assert.equal(has.has(inode ?? 0), shares, name);
    }
    const { stdout, stderr } = await lab.run('berth import --listening');
    assert.equal(stdout, '');
    assert.match(
      stderr,
      /^skipped tcp 0\.0\.0\.0:80: reserved already as 'nginx' \(\/etc\/berth\/nginx\.conf\)$/m,
    );

    // The command that reloads nginx has the variable, and not the descriptors.
    await lab.systemctl('reload', 'nginx.service');
    await assertServe(lab);
    const before = await inodesOf(lab, 'nginx');
    await lab.systemctl('stop', 'nginx.service');
    await lab.systemctl('start', 'nginx.service');
    await assertServe(lab);
    assert.deepEqual(await inodesOf(lab, 'nginx'), before);
    assert.equal(await lab.systemctl('--failed', '--no-legend'), '');
  });
});
