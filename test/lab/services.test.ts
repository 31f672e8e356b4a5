import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import {
  failureToAsk,
  inodesOf,
  peerAt,
  reservation,
  reservations,
  statusOf,
  whileKilled,
} from './claims.js';
import { withLab } from './lab.js';
import { labTest } from './requirements.js';
import { listenersOn, socketInodesOf } from './sockets.js';
import { askThief, thiefAtBoot, type ThiefReport } from './thief.js';

const restarts = Number(process.env['LAB_CUPS_RESTARTS'] ?? 50);

function assertNoTheft(thief: ThiefReport, before: ThiefReport): void {
  assert.equal(thief.thefts, 0, JSON.stringify(thief));
  for (const [kind, { attempts, otherErrors }] of Object.entries(thief.kinds)) {
    assert.ok(attempts > 100 + (before.kinds[kind]?.attempts ?? 0), `${kind} kept trying`);
    assert.equal(otherErrors, 0, kind);
  }
}

/** As cups.test.ts asks: there is no printer, and the scheduler says so by its protocol. */
const ippRequest = `{
  OPERATION CUPS-Get-Printers
  GROUP operation-attributes-tag
  ATTR charset attributes-charset utf-8
  ATTR language attributes-natural-language en
  STATUS successful-ok
  STATUS client-error-not-found
}
`;

/** CUPS as Debian has it, with all that wants its port, over restarts and a stop. */
async function assertCupsKeepsPort(t: TestContext, root: 'host' | 'trixie', restarts: number): Promise<void> {
  const cupsUnits = ['cups.service', 'cups.socket', 'cups.path'];
  const thief = thiefAtBoot('--port 631 --bindresvport', [...cupsUnits, 'rpcbind.socket']);
  const options = {
    root,
    packages: ['cups-daemon', 'cups-client', 'cups-ipp-utils', 'curl', 'rpcbind'],
    keep: [...cupsUnits, 'rpcbind.service', 'rpcbind.socket'],
    units: {
      ...thief.units,
      ...Object.fromEntries(
        [...cupsUnits, 'rpcbind.service'].map((unit) => [
          `${unit}.d/restarts.conf`,
          '[Unit]\nStartLimitIntervalSec=0\n',
        ]),
      ),
    },
    enable: thief.enable,
    programs: { ...thief.programs, ...peerAt() },
    files: {
      '/etc/lab/printers.test': ippRequest,
      ...reservations({
        cups: reservation(['ListenStream=127.0.0.1:631', 'ListenStream=[::1]:631']),
        'cups-browse': reservation(['ListenDatagram=631'], ['Service=cups.service', 'Handoff=none']),
      }),
    },
  };
  await withLab(t, options, async (lab) => {
    const atBoot = await askThief(lab);
    const tcp = await inodesOf(lab, 'cups');
    const udp = await inodesOf(lab, 'cups-browse');
    const assertServes = async (when: string) => {
      for (const host of ['127.0.0.1', '[::1]']) {
        await lab.run(['ipptool', '-t', '-T', '5', `ipp://${host}:631/`, '/etc/lab/printers.test']);
      }
      const pid = await lab.property('cups.service', 'MainPID');
      assert.equal(await lab.text(['cat', `/proc/${pid}/comm`]), 'cupsd', when);
      const has = await socketInodesOf(lab, pid);
      for (const inode of tcp) assert.ok(has.includes(inode ?? 0), `a held socket ${when}`);
      for (const inode of udp) assert.ok(!has.includes(inode ?? 0), `not the UDP socket ${when}`);
    };
    const assertHeld = async (when: string) => {
      assert.deepEqual(await inodesOf(lab, 'cups'), tcp, when);
      assert.deepEqual(await inodesOf(lab, 'cups-browse'), udp, when);
    };

    assert.match(await lab.property('cups.service', 'ExecStart'), /argv\[\]=\/usr\/sbin\/cupsd -l ;/);
    assert.equal(await lab.property('rpcbind.service', 'ActiveState'), 'active');
    await assertServes('after boot');
    const begun = performance.now();
    for (let restart = 1; restart <= restarts; restart++) {
      await lab.systemctl('restart', 'cups.service');
      if (restart % 5 === 0) await lab.systemctl('restart', 'rpcbind.service');
      if (restart % 10 !== 0) continue;
      await assertServes(`after restart ${restart}`);
      await assertHeld(`after restart ${restart}`);
    }
    const each = (performance.now() - begun) / restarts;

    await lab.systemctl('stop', ...cupsUnits);
    assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 631), 'ECONNREFUSED');
    assert.equal(await failureToAsk(lab, 'tcp', '::1', 631), 'ECONNREFUSED');
    await assertHeld('while it is stopped');
    assert.equal((await statusOf(lab, 'cups')).state, 'held');
    const before = await askThief(lab);
    await lab.until('the thief to try all ports', async () =>
      (await askThief(lab)).attempts > before.attempts + 2000 ? true : undefined,
    );
    await lab.systemctl('start', 'cups.service');
    await assertServes('after a stop');
    await assertHeld('after a stop');

    const [listener] = (await listenersOn(lab, 631)).filter(({ protocol }) => protocol === 'udp');
    assert.equal(listener?.inode, udp[0]);
    const after = await askThief(lab);
    assertNoTheft(after, atBoot);
    t.diagnostic(
      `${restarts} restarts of ${each.toFixed(0)} ms, ${after.attempts} attempts, ${after.thefts} thefts`,
    );
  });
}

labTest(`cups has its TCP 631 from PID 1, its ExecStart= untouched, over ${restarts} restarts`, (t) =>
  assertCupsKeepsPort(t, 'host', restarts),
);

labTest(
  `so it has with systemd 257, over ${Math.ceil(restarts / 5)} restarts`,
  (t) => assertCupsKeepsPort(t, 'trixie', Math.ceil(restarts / 5)),
  { programs: { debootstrap: 'debootstrap' } },
);

interface Service {
  readonly unit: string;
  readonly handoff: 'store' | 'lend';
  readonly sockets: readonly string[];
  readonly port: number;
  /** What tries to take the port all the while. */
  readonly thief: string;
  /** A command that only this service can satisfy. */
  readonly check: string;
  readonly answer: RegExp;
}

const tcpThief = '--tcp --and --tcp -4 --reuseport --listen';
const services: Readonly<Record<string, Service>> = {
  nginx: {
    unit: 'nginx.service',
    handoff: 'store',
    sockets: ['ListenStream=0.0.0.0:80', 'ListenStream=[::]:80', 'BindIPv6Only=ipv6-only'],
    port: 80,
    thief: `${tcpThief} --and --tcp -4 --reuseaddr --listen`,
    check: 'curl -sSi http://127.0.0.1/; curl -sSig http://[::1]/',
    answer: /Server: nginx[^]*Server: nginx/i,
  },
  haproxy: {
    unit: 'haproxy.service',
    handoff: 'store',
    sockets: ['ListenStream=8080'],
    port: 8080,
    thief: `${tcpThief} --and --tcp -4 --reuseaddr --listen`,
    check: 'curl -sS http://127.0.0.1:8080/',
    answer: /^by haproxy$/,
  },
  unbound: {
    unit: 'unbound.service',
    handoff: 'store',
    sockets: ['ListenStream=127.0.0.1:53', 'ListenDatagram=127.0.0.1:53'],
    port: 53,
    // unbound sets SO_REUSEPORT on what it is passed, and on UDP SO_REUSEADDR, by which it would share with whoever sets
    // it, too, but for the guard (docs/design.md, section 5).
    thief:
      '-4 --reuseport --listen --and -4 --reuseaddr --listen --and --udp -4 --reuseaddr --reuseport ' +
      '--and --udp -4 --address 127.0.0.1 --reuseaddr --and --udp',
    check: `node -e "const { Resolver } = require('dns'); const r = new Resolver(); r.setServers(['127.0.0.1']);
      r.resolve4('host.lab', (e, a) => console.log(e ?? a[0]))"`,
    answer: /^192\.0\.2\.7$/,
  },
  redis: {
    unit: 'redis-server.service',
    handoff: 'lend',
    sockets: ['ListenStream=127.0.0.1:6379', 'ListenStream=[::1]:6379'],
    port: 6379,
    thief: tcpThief,
    check: 'redis-cli ping; redis-cli -h ::1 ping',
    answer: /^PONG\nPONG$/,
  },
  rsync: {
    unit: 'rsync.service',
    handoff: 'lend',
    // Type=simple: systemd calls it started when it has forked.
    sockets: ['ListenStream=873'],
    port: 873,
    thief: tcpThief,
    check: 'rsync rsync://127.0.0.1/; rsync rsync://[::1]/',
    answer: /^lab\s+a module\nlab\s+a module$/,
  },
};

/** What these need besides the drop-in that hands them their sockets, and where they differ from what Debian ships. */
const needs = {
  units: {
    // With inherited sockets nginx does not go into the background.
    'nginx.service.d/inherit.conf': `[Service]
Type=exec
PIDFile=
Environment="NGINX=3;4;"
ExecStart=
ExecStart=/usr/sbin/nginx -g 'daemon off; master_process on;'
`,
  },
  files: {
    '/etc/haproxy/haproxy.cfg': `defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend lab
  bind fd@3
  http-request return status 200 content-type text/plain string "by haproxy"
`,
    '/etc/unbound/unbound.conf.d/lab.conf': `server:
  use-systemd: yes
  interface: 127.0.0.1
  local-zone: "lab." static
  local-data: "host.lab. A 192.0.2.7"
`,
    // What its package fetches from the network, and a control socket that it would want from systemd, too.
    '/etc/unbound/unbound.conf.d/root-auto-trust-anchor-file.conf': '',
    '/etc/unbound/unbound.conf.d/remote-control.conf': 'remote-control:\n  control-enable: no\n',
    '/etc/rsyncd.conf': '[lab]\n  path = /etc\n  comment = a module\n',
  },
};

for (const { root, of, nginx } of [
  { root: 'host', of: 'the system', nginx: 'nginx-light' },
  { root: 'trixie', of: 'Debian 13', nginx: 'nginx' },
] as const)
  labTest(
    `three services by store and two by lend keep their ports, over restarts and crashes of berthd (${of})`,
    async (t) => {
      const all = Object.entries(services);
      const units = all.map(([, { unit }]) => unit);
      const thieves = all.map(([name, { port, thief }]) =>
        thiefAtBoot(`--port ${port} ${thief}`, units, `thief-${name}.service`),
      );
      const options = {
        root,
        packages: [
          nginx,
          'haproxy',
          'unbound',
          'rsync',
          'redis-server',
          ...(root === 'host' ? [] : ['curl']),
        ],
        keep: units,
        units: {
          ...Object.fromEntries(thieves.flatMap(({ units }) => Object.entries(units))),
          ...Object.fromEntries(
            thieves
              .flatMap(({ enable }) => enable)
              .map((unit) => [`${unit}.d/nice.conf`, '[Service]\nNice=19\n']),
          ),
          ...Object.fromEntries(
            units.map((unit) => [`${unit}.d/restarts.conf`, '[Unit]\nStartLimitIntervalSec=0\n']),
          ),
          ...needs.units,
        },
        enable: [...thieves.flatMap(({ enable }) => enable), 'rsync.service'],
        programs: { ...thieves[0]?.programs, ...peerAt() },
        files: {
          ...needs.files,
          ...reservations(
            Object.fromEntries(
              all.map(([name, { unit, handoff, sockets }]) => [
                name,
                reservation(sockets, [`Service=${unit}`, `Handoff=${handoff}`]),
              ]),
            ),
          ),
        },
      };
      await withLab(t, options, async (lab) => {
        const held = await Promise.all(all.map(([name]) => inodesOf(lab, name)));
        const atBoot = await Promise.all(all.map(([name]) => askThief(lab, `thief-${name}.service`)));
        const assertServes = async ({ unit, check, answer }: Service) => {
          const said = async () => {
            const { stdout } = await lab.run(check, { allowFail: true });
            return answer.test(stdout.trim()) ? true : undefined;
          };
          await lab.until(`an answer of ${unit}`, said);
        };
        const assertSockets = async (
          name: string,
          { unit, handoff }: Service,
          inodes: readonly (number | undefined)[],
        ) => {
          assert.deepEqual(await inodesOf(lab, name), inodes, name);
          const pids = (await lab.text(`cat /sys/fs/cgroup/system.slice/${unit}/cgroup.procs`)).split('\n');
          const has = new Set((await Promise.all(pids.map((pid) => socketInodesOf(lab, pid)))).flat());
          // What is handed over is the very socket; what is lent stays berthd's alone.
          for (const inode of inodes)
            assert.equal(has.has(inode ?? 0), handoff === 'store', `${name}: ${inode}`);
        };

        for (const [index, [name, service]] of all.entries()) {
          const inodes = held[index] ?? [];
          await assertServes(service);
          await assertSockets(name, service, inodes);
          for (let restart = 0; restart < 3; restart++) {
            await lab.systemctl('restart', service.unit);
            await assertServes(service);
          }
          await assertSockets(name, service, inodes);
          await lab.systemctl('stop', service.unit);
          assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', service.port), 'ECONNREFUSED', name);
          assert.equal((await statusOf(lab, name)).state, 'held', name);
          await lab.systemctl('start', service.unit);
          await assertServes(service);
          await assertSockets(name, service, inodes);
        }

        const kills = await whileKilled(lab, async () => {
          for (let round = 0; round < 1; round++) {
            for (const [, service] of all) {
              await lab.systemctl('restart', service.unit);
              await assertServes(service);
            }
          }
        });
        for (const [index, [name, service]] of all.entries()) {
          await assertServes(service);
          await assertSockets(name, service, held[index] ?? []);
          assert.equal((await statusOf(lab, name)).state, 'active', `${name}: so the new berthd says, too`);
          const thief = await askThief(lab, `thief-${name}.service`);
          assertNoTheft(thief, atBoot[index] ?? thief);
          t.diagnostic(`${name}: ${thief.attempts} attempts, ${thief.thefts} thefts`);
        }
        t.diagnostic(`berthd killed ${kills} times`);
        assert.equal(await lab.systemctl('--failed', '--no-legend'), '');
      });
    },
    root === 'host' ? {} : { programs: { debootstrap: 'debootstrap' } },
  );
