import assert from 'node:assert/strict';
import { inodesOf, reservation, reservations, statusOf } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';
import { socketInodesOf } from './sockets.js';

const units = ['nginx.service', 'redis-server.service', 'php8.2-fpm.service', 'ssh.service'];

async function inodesOfUnit(lab: Lab, unit: string): Promise<Set<number>> {
  return new Set(await socketInodesOf(lab, await lab.property(unit, 'MainPID')));
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
    packages: [
      'nginx-light',
      'redis-server',
      'php8.2-fpm',
      'libfcgi-bin',
      'openssh-server',
      'curl',
      'rpcbind',
    ],
    keep: [...units, 'rpcbind.socket', 'rpcbind.service'],
    files: {
      '/srv/answer.php': "<?php echo 'answer of php';\n",
      '/etc/php/8.2/fpm/pool.d/www.conf':
        '[www]\nuser = www-data\ngroup = www-data\nlisten = 127.0.0.1:9000\npm = static\npm.max_children = 1\n',
    },
  };
  await withLab(t, options, async (lab) => {
    await assertServe(lab);
    const { stdout: proposed, stderr: skipped } = await lab.run('berth import --listening');
    t.diagnostic(proposed);
    assert.match(
      skipped,
      /^skipped udp \[::\]:111: systemd itself has it, for a \.socket unit: see berth import socket$/m,
    );
    assert.equal(
      (await lab.text('berth import socket rpcbind')).replaceAll(/^#.*\n/gm, ''),
      `[Socket]
ListenStream=/run/rpcbind.sock
BindIPv6Only=ipv6-only
ListenStream=0.0.0.0:111
ListenDatagram=0.0.0.0:111
ListenStream=[::]:111
ListenDatagram=[::]:111
FileDescriptorName=rpcbind.socket

[Reservation]
Handoff=store`,
    );
    const { stderr: unseen } = await lab.run('berth import --listening', { user: 'nobody' });
    assert.match(
      unseen,
      /^skipped \d+ sockets: of processes that only root may look into\nnothing to import$/m,
    );
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

/** What else in the table takes descriptors in Debian: as it comes, or once its configuration says so. */
const others = {
  gunicorn: {
    unit: 'web.service',
    reservation: reservation(['ListenStream=127.0.0.1:8000'], ['Service=web.service']),
    check: 'curl -sS http://127.0.0.1:8000/',
    answer: /^of gunicorn$/,
  },
  lighttpd: {
    unit: 'lighttpd.service',
    reservation: reservation(['ListenStream=127.0.0.1:8001'], ['Service=lighttpd.service']),
    check: 'curl -sS http://127.0.0.1:8001/page',
    answer: /^of lighttpd$/,
  },
  uwsgi: {
    unit: 'uwsgi.service',
    reservation: reservation(['ListenStream=127.0.0.1:8002', 'ListenStream=[::1]:8002']),
    check: 'curl -sS http://127.0.0.1:8002/; curl -sS http://[::1]:8002/',
    answer: /^(of uwsgi){2}$/,
  },
  dovecot: {
    unit: 'dovecot.service',
    reservation: reservation(
      ['ListenStream=0.0.0.0:143', 'ListenStream=[::]:143', 'BindIPv6Only=ipv6-only'],
      ['Service=dovecot.service'],
    ),
    check: 'exec 3<>/dev/tcp/127.0.0.1/143 && head -n 1 <&3',
    answer: /^\* OK .*Dovecot/,
  },
} as const;

function pythonApp(name: string): string {
  return `def app(environ, start_response):
    start_response('200 OK', [])
    return [b'of ${name}']
`;
}

labTest('gunicorn, lighttpd, uwsgi and dovecot take what berth has, as the table says', async (t) => {
  const all = Object.entries(others);
  const options = {
    packages: ['gunicorn', 'lighttpd', 'uwsgi-core', 'uwsgi-plugin-python3', 'dovecot-imapd', 'curl'],
    keep: ['lighttpd.service', 'dovecot.service'],
    units: {
      'web.service':
        '[Service]\nType=notify\nWorkingDirectory=/srv\nExecStart=/usr/bin/gunicorn --bind 127.0.0.1:9999 app:app\n[Install]\nWantedBy=multi-user.target\n',
      'uwsgi.service':
        '[Service]\nType=notify\nUser=www-data\nKillSignal=SIGQUIT\nExecStart=/usr/bin/uwsgi --ini /srv/uwsgi.ini\n[Install]\nWantedBy=multi-user.target\n',
    },
    enable: ['web.service', 'uwsgi.service'],
    files: {
      '/srv/app.py': pythonApp('gunicorn'),
      '/srv/uwsgi.py': pythonApp('uwsgi'),
      '/srv/uwsgi.ini':
        '[uwsgi]\nmaster = true\nplugin = python3\nprotocol = http\nwsgi-file = /srv/uwsgi.py\ncallable = app\n',
      '/srv/www/page': 'of lighttpd\n',
      // Its package makes a certificate when it is installed, which is not in the layer.
      '/etc/dovecot/conf.d/10-ssl.conf': 'ssl = no\n',
      '/etc/lighttpd/lighttpd.conf':
        'server.systemd-socket-activation = "enable"\nserver.port = 8001\nserver.bind = "127.0.0.1"\nserver.document-root = "/srv/www"\n',
      ...reservations(Object.fromEntries(all.map(([name, each]) => [name, each.reservation]))),
    },
  };
  await withLab(t, options, async (lab) => {
    for (let round = 0; round < 2; round++) {
      for (const [name, { unit, check, answer }] of all) {
        await lab.until(check, async () => {
          const { stdout } = await lab.run(['bash', '-c', check], { allowFail: true });
          return answer.test(stdout.trim()) ? true : undefined;
        });
        const has = await inodesOfUnit(lab, unit);
        for (const inode of await inodesOf(lab, name)) assert.ok(has.has(inode ?? 0), name);
        await lab.systemctl('restart', unit);
      }
    }
    assert.equal(await lab.text('berth check 2>&1'), '4 reservations, 6 sockets, no mistakes');
    // What is known not to work is said, and is no mistake.
    await lab.run("printf '[Socket]\\nListenStream=6379\\n' >/etc/berth/redis.conf");
    await lab.run(
      "printf '[Service]\\nExecStart=/usr/bin/redis-server\\n' >/etc/systemd/system/redis.service",
    );
    assert.equal(
      await lab.text('berth check 2>&1'),
      '/etc/berth/redis.conf:1: Handoff: warning: redis takes no descriptors, and binds by itself: use Handoff=bind\n' +
        '5 reservations, 7 sockets, no mistakes',
    );
  });
});
