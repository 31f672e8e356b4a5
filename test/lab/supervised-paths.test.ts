import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { reservation, reservations, statusOf, whileKilled } from './claims.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
import { projectRoot } from './paths.js';
import { labTest } from './requirements.js';
import { restarts } from './supervised.js';

interface PathService {
  readonly unit: string;
  readonly path: string;
  /** Of the unit, whose owner is also the file's. */
  readonly user: string;
  readonly check: string;
  readonly answer: RegExp;
}

const say = (text: string, path: string): string =>
  `printf '${text}' | timeout 5 socat -t 2 - UNIX-CONNECT:${path}`;

/** Each in a directory of berthd's, where they may not remove or make anything. */
const services: Readonly<Record<string, PathService>> = {
  memcached: {
    unit: 'memcached-path.service',
    path: '/run/cache/memcached.sock',
    user: 'memcache',
    check: say('version\\r\\n', '/run/cache/memcached.sock'),
    answer: /^VERSION \d/,
  },
  redis: {
    unit: 'redis-path.service',
    path: '/run/store/redis.sock',
    user: 'redis',
    check: say('PING\\r\\n', '/run/store/redis.sock'),
    answer: /^\+PONG/,
  },
  slapd: {
    unit: 'slapd-path.service',
    path: '/run/ldap/ldapi',
    user: 'openldap',
    check: `ldapsearch -x -LLL -H ldapi://%2Frun%2Fldap%2Fldapi -b '' -s base supportedLDAPVersion`,
    answer: /supportedLDAPVersion: 3/,
  },
};

/** Without a network of their own, which a path does not need. */
const service = (user: string, line: string, more: readonly string[] = []): string =>
  [
    '[Service]',
    `User=${user}`,
    'PrivateNetwork=yes',
    'CapabilityBoundingSet=',
    'Restart=no',
    ...more,
    `ExecStart=${line}`,
    '[Unit]',
    'StartLimitIntervalSec=0',
    '',
  ].join('\n');

const thiefOf = (name: string): string => `path-thief-${name}.service`;

function options(): LabOptions {
  const binder = `${projectRoot}build/bin/path-binder`;
  if (!existsSync(binder)) throw new Error(`${binder} is not built`);
  const thieves = Object.entries(services).map(([name, { path }]) => [
    thiefOf(name),
    `[Service]\nNice=19\nExecStart=/usr/local/bin/path-binder thief ${path} 0\n`,
  ]);
  return {
    name: 'supervised-paths',
    packages: ['memcached', 'redis-server', 'slapd', 'ldap-utils', 'socat'],
    units: {
      ...(Object.fromEntries(thieves) as Record<string, string>),
      'memcached-path.service': service(
        'memcache',
        '/usr/bin/memcached -s /run/cache/memcached.sock -a 0666',
      ),
      'redis-path.service': service(
        'redis',
        '/usr/bin/redis-server --port 0 --unixsocket /run/store/redis.sock --save "" --dir /tmp',
      ),
      'slapd-path.service': service(
        'openldap',
        '/usr/sbin/slapd -d 0 -h ldapi://%%2Frun%%2Fldap%%2Fldapi -F /etc/ldap/slapd.d',
        ['RuntimeDirectory=slapd'],
      ),
    },
    programs: { '/usr/local/bin/path-binder': binder },
    files: reservations(
      Object.fromEntries(
        Object.entries(services).map(([name, { unit, path, user }]) => [
          name,
          reservation([`ListenStream=${path}`, `SocketUser=${user}`], [`Service=${unit}`, 'Handoff=bind']),
        ]),
      ),
    ),
  };
}

async function assertServes(lab: Lab, { unit, check, answer }: PathService): Promise<void> {
  await lab.until(`an answer of ${unit}`, async () => {
    const { stdout } = await lab.run(check, { allowFail: true });
    return answer.test(stdout.trim()) ? true : undefined;
  });
}

async function thiefSays(lab: Lab, name: string): Promise<string> {
  return lab.text(`journalctl -q -o cat -u ${thiefOf(name)} | grep looks`);
}

labTest(`three services keep their paths over ${restarts} restarts, under a thief`, async (t) => {
  await withLab(t, options(), async (lab) => {
    for (const [name, each] of Object.entries(services)) {
      const { unit, path, user } = each;
      const fileId = () => lab.text(['stat', '-c', '%d:%i', path]);
      const held = await fileId();
      await lab.systemctl('start', thiefOf(name));
      const bound = `[ "$(stat -c %d:%i ${path})" != ${held} ]`;
      const wait = `i=0; until ${bound}; do i=$((i+1)); [ $i -lt 400 ] || { echo not bound; exit 1; }; sleep 0.025; done`;
      await lab.run(`for n in $(seq ${restarts}); do systemctl restart ${unit} || exit; ${wait}; done`, {
        timeoutMs: 60_000 + restarts * 15_000,
      });
      await assertServes(lab, each);
      assert.equal(await lab.text(['stat', '-c', '%U %a', path]), `${user} 666`);
      assert.equal((await statusOf(lab, name)).state, 'active', name);
      await lab.systemctl('stop', unit);
      await lab.until(`the hold at ${path}`, async () => ((await fileId()) === held ? true : undefined));
      await lab.systemctl('stop', thiefOf(name));
      const said = await thiefSays(lab, name);
      assert.match(said, /^[1-9]\d* looks, absent 0, stolen 0$/, name);
      t.diagnostic(`${name}: ${restarts} restarts, ${said}`);
      await lab.systemctl('start', unit);
      await assertServes(lab, each);
    }
    const kills = await whileKilled(lab, async () => {
      for (const each of Object.values(services)) {
        await lab.systemctl('restart', each.unit);
        await assertServes(lab, each);
      }
    });
    t.diagnostic(`berthd killed ${kills} times`);
    for (const each of Object.values(services)) {
      await assertServes(lab, each);
      await lab.systemctl('stop', each.unit);
      assert.match(await lab.text(['stat', '-c', '%F %A', each.path]), /^socket s/);
      const left = await lab.text(`ls -A $(dirname ${each.path})`);
      assert.equal(left, each.path.slice(each.path.lastIndexOf('/') + 1));
    }
    assert.equal(await lab.systemctl('--failed', '--no-legend'), '');
  });
});
