import assert from 'node:assert/strict';
import { failureToAsk, peer, peerAt, reservation, reservations, statusOf, whileKilled } from './claims.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
import { projectRoot } from './paths.js';
import { labTest } from './requirements.js';
import {
  assertServes,
  reserveFor,
  restarts,
  restartUnderThieves,
  startLimits,
  thievesFor,
  type Supervised,
  type SupervisedTable,
} from './supervised.js';
import { askThief } from './thief.js';

const server = '/usr/local/bin/server';
const programs = { ...peerAt(), [server]: `${projectRoot}build/bin/server` };

const asked = (port: number, count: number): string =>
  `for n in $(seq ${count}); do ${peer} ask tcp 127.0.0.1 ${port}; ${peer} ask tcp ::1 ${port}; ` +
  `${peer} ask udp 127.0.0.1 ${port}; ${peer} ask udp ::1 ${port}; done`;

/** Forty answers, and not all of one process. */
const several = /^(?=(?:\d+\n){39}\d+$)(\d+)\n(?:\1\n)*(?!\1(?:\n|$))\d+/;

/** Ways to bind. */
const ways = {
  prefork: {
    unit: 'prefork.service',
    port: 701,
    protocol: 'udp',
    program: 'server',
    check: asked(701, 10),
    answer: several,
    user: 'nobody',
  },
  reuseport: {
    unit: 'reuseport.service',
    port: 702,
    protocol: 'udp',
    program: 'server',
    check: asked(702, 10),
    answer: several,
    user: 'nobody',
  },
  shared: {
    unit: 'shared.service',
    port: 703,
    protocol: 'udp',
    program: 'server',
    check: ['127.0.0.1', '127.0.0.2', '::1'].map((at) => `${peer} ask udp ${at} 703`).join('; '),
    answer: /^0\.0\.0\.0\n127\.0\.0\.2\n::1$/,
    user: 'nobody',
  },
  wildcards: {
    unit: 'wildcards.service',
    port: 704,
    protocol: 'udp',
    program: 'server',
    check: ['127.0.0.1', '::1'].map((at) => `${peer} ask udp ${at} 704`).join('; '),
    answer: /^0\.0\.0\.0\n::$/,
    user: 'nobody',
  },
} as const satisfies SupervisedTable;

const notifying = (command: string): string => `[Service]
ExecStart=${command}
Type=notify
NotifyAccess=all
User=nobody
CapabilityBoundingSet=
`;

function waysLab(thieves: ReturnType<typeof thievesFor>): LabOptions {
  return {
    name: 'supervised-ways',
    units: {
      ...thieves.units,
      ...startLimits(ways),
      'prefork.service': notifying(`${server} prefork 701`),
      'reuseport.service': notifying(`${server} reuseport 702`),
      'shared.service': notifying(`${server} shared 703 127.0.0.2 0.0.0.0 ::1`),
      'wildcards.service': notifying(`${server} datagrams 704 0.0.0.0 ::`),
    },
    programs: { ...thieves.programs, ...programs },
    files: reservations(reserveFor(ways)),
  };
}

labTest(`several processes, several sockets, over ${restarts} restarts`, async (t) => {
  await withLab(t, waysLab(thievesFor(ways)), async (lab) => {
    for (const [name, each] of Object.entries<Supervised>(ways))
      t.diagnostic(await restartUnderThieves(lab, name, each));
  });
});

labTest('a service that is killed, and a berthd that is, leave everything as it was', async (t) => {
  await withLab(t, waysLab(thievesFor(ways)), async (lab) => {
    const thieves = ['thief-prefork.service', 'thief-wildcards.service'];
    await lab.systemctl('start', ...thieves);
    const all = Object.entries<Supervised>(ways);
    const before = await statusOf(lab, 'prefork');
    let ends = 0;
    const kills = await whileKilled(lab, async () => {
      for (let round = 0; round < restarts; round++) {
        for (const [name, each] of all) {
          await lab.systemctl('restart', each.unit);
          await assertServes(lab, each);
          await lab.systemctl('kill', '--signal=KILL', each.unit);
          await lab.waitForUnit(each.unit, 'failed');
          await lab.until(`${name} to be held`, async () => {
            const { status, stdout } = await lab.run(['berth', 'status', name, '--json'], {
              allowFail: true,
            });
            return status === 0 && /"state":\s*"held"/.test(stdout) ? true : undefined;
          });
          ends++;
        }
      }
    });
    const after = await statusOf(lab, 'prefork');
    assert.deepEqual(
      after.sockets.map(({ inode }) => inode),
      before.sockets.map(({ inode }) => inode),
    );
    for (const thief of thieves) {
      const { attempts, thefts } = await askThief(lab, thief);
      assert.ok(attempts > 1000, thief);
      assert.equal(thefts, 0, thief);
    }
    assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 701), 'ECONNREFUSED');
    t.diagnostic(`${ends} services killed, berthd ${kills} times`);
  });
});

/** Settings of units under which the supervised bind works, each with a server of its own. */
const settings = {
  dynamic: ['DynamicUser=yes'],
  nonewprivs: ['User=nobody', 'NoNewPrivileges=yes'],
  system: ['User=nobody', 'SystemCallFilter=@system-service', 'SystemCallErrorNumber=EPERM'],
  strict: ['User=nobody', 'ProtectSystem=strict', 'ProtectHome=yes', 'PrivateTmp=yes', 'PrivateDevices=yes'],
  hardened: [
    'DynamicUser=yes',
    'CapabilityBoundingSet=',
    'RestrictNamespaces=yes',
    'ProtectProc=invisible',
    'ProcSubset=pid',
    'PrivateUsers=yes',
    'MemoryDenyWriteExecute=yes',
    'LockPersonality=yes',
    'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX',
    'SystemCallArchitectures=native',
    'SystemCallFilter=@system-service',
    'SystemCallFilter=~@privileged @resources',
  ],
  root: ['CapabilityBoundingSet='],
  allowed: ['User=nobody', 'SocketBindAllow=tcp:717', 'SocketBindAllow=udp:717', 'SocketBindDeny=any'],
} as const;
type Setting = keyof typeof settings;
const names = Object.keys(settings) as Setting[];
const portOf = (name: Setting): number => 711 + names.indexOf(name);

const unit = (
  name: string,
  port: number,
  lines: readonly string[],
  command = `${peer} serve --bind :: ${port} --notify`,
): Record<string, string> => ({
  [`${name}.service`]: `[Service]
ExecStart=${command}
Type=notify
${lines.join('\n')}
`,
});

const bound = (name: string, port: number): Record<string, string> => ({
  [name]: reservation([`ListenStream=${port}`, `ListenDatagram=${port}`], ['Handoff=bind']),
});

/** Where the generator itself refuses, and the unit is written by hand. */
const wrapped = (name: string, port: number): string =>
  `/usr/bin/berth-claim --bind ${name} -- ${peer} serve --bind :: ${port} --notify`;

/** The settings that forbid it, and what the journal says then. */
const refused = {
  denied: { port: 721, lines: ['SocketBindDeny=any'], reason: /peer: bind: (EPERM|EACCES)/ },
  private: { port: 722, lines: ['PrivateNetwork=yes'], reason: /another network namespace/ },
} as const;

const forking = `[Service]
Type=forking
ExecStart=${peer} serve --bind :: 723 --fork
User=nobody
`;

function settingsLab(root: 'host' | 'trixie'): LabOptions {
  return {
    name: `supervised-${root}`,
    root,
    degraded: true,
    units: Object.assign(
      { 'forking.service': forking },
      ...names.map((name) => unit(name, portOf(name), settings[name])),
      ...Object.entries(refused).map(([name, { port, lines }]) =>
        unit(name, port, lines, wrapped(name, port)),
      ),
    ) as Record<string, string>,
    programs,
    files: reservations(
      Object.assign(
        bound('forking', 723),
        ...names.map((name) => bound(name, portOf(name))),
        ...Object.entries(refused).map(([name, { port }]) => bound(name, port)),
      ) as Record<string, string>,
    ),
  };
}

async function assertAnswers(lab: Lab, port: number): Promise<void> {
  for (const protocol of ['tcp', 'udp'] as const)
    for (const host of ['127.0.0.1', '::1']) await lab.run([peer, 'ask', protocol, host, `${port}`]);
}

for (const root of ['host', 'trixie'] as const) {
  const needs = root === 'trixie' ? { programs: { debootstrap: 'debootstrap' } } : {};
  labTest(
    `what a unit may set beside it, systemd ${root === 'host' ? 'of this machine' : '257'}`,
    async (t) => {
      await withLab(t, settingsLab(root), async (lab) => {
        for (const name of names) {
          for (let restart = 0; restart < 3; restart++) {
            await lab.systemctl('restart', `${name}.service`);
            await assertAnswers(lab, portOf(name));
          }
          assert.equal((await statusOf(lab, name)).state, 'active', name);
          await lab.systemctl('stop', `${name}.service`);
          assert.equal((await statusOf(lab, name)).state, 'held', name);
          assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', portOf(name)), 'ECONNREFUSED', name);
        }
        for (let restart = 0; restart < 3; restart++) {
          await lab.systemctl('restart', 'forking.service');
          await assertAnswers(lab, 723);
        }
        const bpf = (await lab.systemctl('--version')).includes('+BPF_FRAMEWORK');
        for (const [name, { reason }] of Object.entries(refused)) {
          // Debian 12 builds a systemd that does without it, and says so.
          if (name === 'denied' && !bpf) continue;
          const { status } = await lab.run(['systemctl', 'start', `${name}.service`], { allowFail: true });
          assert.notEqual(status, 0, name);
          const said = `${await lab.journal(`${name}.service`)}\n${await lab.journal('berth.service')}`;
          assert.match(said, reason, name);
          assert.equal((await statusOf(lab, name)).state, 'held', name);
        }
      });
    },
    needs,
  );
}
