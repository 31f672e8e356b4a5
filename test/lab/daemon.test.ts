import assert from 'node:assert/strict';
import type { ReservationInfo } from '../../src/protocol/messages.js';
import { failureToAsk, inodesOf, peer, peerAt, reservation, reservations, statusOf } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';
import { askThief, thiefAtBoot } from './thief.js';

const web = reservation(['ListenStream=7001', 'ListenDatagram=7001']);

/** What berthd said, each message with the priority that journald understood. */
async function messages(lab: Lab): Promise<{ message: string; priority: number }[]> {
  const lines = await lab.text(['journalctl', '--output=json', '_SYSTEMD_UNIT=berth.service']);
  return lines.split('\n').map((line) => {
    const { MESSAGE: message, PRIORITY: priority } = JSON.parse(line) as {
      MESSAGE: string;
      PRIORITY: string;
    };
    return { message, priority: Number(priority) };
  });
}

function priorityOf(said: { message: string; priority: number }[], pattern: RegExp): number | undefined {
  return said.find(({ message }) => pattern.test(message))?.priority;
}

/** When a unit began and ended its last start, in microseconds of CLOCK_MONOTONIC. */
async function startOf(lab: Lab, unit: string): Promise<{ begun: number; active: number }> {
  return {
    begun: Number(await lab.property(unit, 'InactiveExitTimestampMonotonic')),
    active: Number(await lab.property(unit, 'ActiveEnterTimestampMonotonic')),
  };
}

async function outcomeOf(
  lab: Lab,
  argv: readonly string[],
  user?: string,
): Promise<{ status: number; stderr: string }> {
  return lab.run(argv, { allowFail: true, ...(user === undefined ? {} : { user }) });
}

function early(command: string): string {
  return `[Unit]
DefaultDependencies=no
Before=berth.service
[Service]
Type=notify
ExecStart=${command}
[Install]
WantedBy=sysinit.target
`;
}

labTest('holds what it can before anything else starts, and says what it cannot', async (t) => {
  const thief = thiefAtBoot('--port 7001', []);
  const options = {
    packages: ['rpcbind'],
    keep: ['rpcbind.service', 'rpcbind.socket'],
    units: {
      ...thief.units,
      // Whoever is there even before berth.
      'early-tcp.service': early(`${peer} hold tcp :: 7003`),
      'early-udp.service': early(`${peer} hold udp 127.0.0.1 7003`),
      // It pulls in network-pre.target, as whatever sets a firewall up does.
      'firewall.service': `[Unit]
Wants=network-pre.target
Before=network-pre.target
[Service]
Type=oneshot
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
`,
    },
    enable: ['thief.service', 'early-tcp.service', 'early-udp.service', 'firewall.service'],
    programs: { ...thief.programs, ...peerAt() },
    files: reservations({
      web,
      broken: '[Socket]\nListenStream=70000\nListenFifo=/run/x\n[Reservation]\nHandoff=perhaps\n',
      taken: reservation(['ListenStream=7003', 'ListenDatagram=127.0.0.1:7003']),
      fine: reservation(['ListenStream=/run/fine']),
    }),
  };
  await withLab(t, options, async (lab) => {
    const started = await startOf(lab, 'berth.service');
    for (const unit of [
      'rpcbind.socket',
      'rpcbind.service',
      'sockets.target',
      'network-pre.target',
      'thief.service',
    ]) {
      const { begun } = await startOf(lab, unit);
      assert.ok(started.active > 0 && started.active <= begun, `${unit} starts after berth.service is ready`);
    }
    t.diagnostic(`ready ${((started.active - started.begun) / 1000).toFixed(0)} ms after its start`);

    assert.equal(
      await lab.property('berth.service', 'StatusText'),
      'Holding 3 sockets of 3 reservations; 2 cannot be held',
    );
    const said = await messages(lab);
    assert.equal(priorityOf(said, /^\/etc\/berth\/broken\.conf:2: ListenStream: /), 3);
    assert.equal(priorityOf(said, /^\/etc\/berth\/broken\.conf:3: ListenFifo: /i), 3);
    assert.equal(priorityOf(said, /^\/etc\/berth\/broken\.conf:5: Handoff: /), 3);
    for (const [protocol, address] of [
      ['tcp', String.raw`\*`],
      ['udp', String.raw`127\.0\.0\.1`],
    ] as const) {
      const inTheWay = new RegExp(
        `^taken: cannot bind '${protocol} ${address}:7003': .*held by pid \\d+ peer \\(early-${protocol}\\.service\\)`,
      );
      assert.equal(priorityOf(said, inTheWay), 3, JSON.stringify(said));
    }
    assert.equal(priorityOf(said, /^Holding 3 sockets of 3 reservations; 2 cannot be held$/), 6);
    const list = await lab.json<ReservationInfo[]>(['berth', 'list', '--json'], { user: 'nobody' });
    assert.deepEqual(
      list.map(({ name, state }) => [name, state]),
      [
        ['fine', 'held'],
        ['taken', 'failed'],
        ['web', 'held'],
      ],
    );

    // The moment that it goes, the port is ours.
    const after = await lab.journalCursor();
    await lab.systemctl('stop', 'early-tcp.service', 'early-udp.service');
    await lab.waitForJournal(/^No longer so: taken: cannot bind 'tcp \*:7003'/, {
      unit: 'berth.service',
      after,
    });
    await lab.until('both to be held', async () =>
      (await statusOf(lab, 'taken')).state === 'held' ? true : undefined,
    );
    assert.equal(priorityOf(await messages(lab), /^No longer so: /), 5);
    assert.equal(await lab.property('berth.service', 'StatusText'), 'Holding 5 sockets of 3 reservations');

    const { attempts, thefts } = await askThief(lab);
    assert.ok(attempts > 1000);
    assert.equal(thefts, 0, 'never, since the boot');
  });
});

/** Claims from a cgroup below its own unit's. */
const disguise = `#!/bin/sh
set -e
top=/sys/fs/cgroup/system.slice/stranger.service/$1
mkdir -p "$top"
echo $$ >"$top/cgroup.procs"
exec /usr/bin/berth-claim web -- true
`;

labTest('grants a claim to its unit and to root, by what the kernel says of them', async (t) => {
  const options = {
    units: {
      // Claims as an ordinary user, by what it is.
      'own.service':
        '[Service]\nUser=nobody\nType=oneshot\nExecStart=/usr/bin/berth-claim own -- /bin/sh -c "echo fds: $LISTEN_FDS"\n',
    },
    programs: peerAt(),
    files: {
      '/etc/lab/disguise': { text: disguise, mode: 0o755 },
      ...reservations({ web, own: reservation(['ListenStream=7002'], ['Handoff=exec']) }),
    },
  };
  await withLab(t, options, async (lab) => {
    const before = await inodesOf(lab, 'web');
    const claim = ['/usr/bin/berth-claim', 'web', '--', 'true'];
    assert.equal((await outcomeOf(lab, claim)).status, 0, 'root');

    const unknown = await outcomeOf(lab, ['/usr/bin/berth-claim', 'nosuch', '--', 'true']);
    assert.deepEqual(unknown, {
      status: 125,
      stdout: '',
      stderr: "berth-claim: cannot claim 'nosuch': there is no reservation 'nosuch'\n",
    });

    const refused =
      /cannot claim 'web': 'web' is reserved for web\.service, and pid \d+ \(berth-claim, uid 65534/;
    const ordinary = await outcomeOf(lab, claim, 'nobody');
    assert.equal(ordinary.status, 125);
    assert.match(ordinary.stderr, refused);

    const transient = ['systemd-run', '--quiet', '--wait', '--pipe', '--property=User=nobody'];
    const other = await outcomeOf(lab, [...transient, '--unit=other.service', ...claim]);
    assert.equal(other.status, 125);
    assert.match(other.stderr, refused);
    assert.match(other.stderr, /, other\.service\) is not of it/);
    assert.equal(
      (await outcomeOf(lab, [...transient, '--unit=web.service', ...claim])).status,
      0,
      'the unit',
    );
    await lab.systemctl('start', 'own.service');
    await lab.waitForJournal(/^fds: 1$/, { unit: 'own.service' });

    // Whoever may make cgroups of his own gives them names as he likes.
    for (const cgroup of ['web.service', 'system.slice/web.service', 'user.slice/web.service']) {
      const delegated = [...transient, '--property=Delegate=yes', '--unit=stranger.service'];
      const { status, stderr } = await outcomeOf(lab, [...delegated, '/etc/lab/disguise', cgroup]);
      assert.equal(status, 125, stderr);
      assert.match(stderr, refused);
      assert.match(stderr, /, stranger\.service\) is not of it/);
      await lab.run(['systemctl', 'reset-failed', 'stranger.service'], { allowFail: true });
    }

    assert.equal((await outcomeOf(lab, ['berth', 'reload'], 'nobody')).status, 5);
    assert.deepEqual(await inodesOf(lab, 'web'), before);
    await lab.until('the claimants to be gone', async () =>
      (await statusOf(lab, 'web')).state === 'held' ? true : undefined,
    );
  });
});

labTest('a second berthd, a reload with a mistake and an isolate change nothing', async (t) => {
  const options = {
    units: { 'small.target': '[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\nAllowIsolate=yes\n' },
    programs: peerAt(),
    files: reservations({ web, other: reservation(['ListenStream=7002']) }),
  };
  await withLab(t, options, async (lab) => {
    const pid = await lab.property('berth.service', 'MainPID');
    const before = [await statusOf(lab, 'other'), await statusOf(lab, 'web')];
    const assertSame = async (when: string) => {
      assert.equal(await lab.property('berth.service', 'MainPID'), pid, when);
      assert.deepEqual([await statusOf(lab, 'other'), await statusOf(lab, 'web')], before, when);
    };

    const second = await outcomeOf(lab, ['/usr/sbin/berthd']);
    assert.equal(second.status, 4);
    assert.match(second.stderr, /another berthd serves \/run\/berth\/control/);
    await assertSame('a second berthd');

    await lab.write('/etc/berth/web.conf', '[Socket]\nListenStream=7001\nListenDatagram=seven\n');
    const reload = await outcomeOf(lab, ['systemctl', 'reload', 'berth.service']);
    assert.equal(reload.status, 1);
    await lab.waitForJournal(/^\/etc\/berth\/web\.conf:3: ListenDatagram: /, { unit: 'berth.service' });
    const direct = await outcomeOf(lab, ['berth', 'reload']);
    assert.equal(direct.status, 78);
    assert.match(direct.stderr, /web\.conf:3: ListenDatagram: /);
    await assertSame('a reload with a mistake');
    await lab.write('/etc/berth/web.conf', web);
    await lab.systemctl('reload', 'berth.service');
    await assertSame('a reload');

    await lab.systemctl('isolate', 'small.target');
    await lab.waitForUnit('multi-user.target', 'inactive');
    assert.equal(await lab.property('berth.socket', 'ActiveState'), 'active');
    await assertSame('isolate');
  });
});

labTest('systemd notices a berthd that hangs, and the next one has the same sockets', async (t) => {
  const options = {
    units: { 'berth.service.d/watchdog.conf': '[Service]\nWatchdogSec=1s\n' },
    programs: peerAt(),
    files: reservations({ web }),
  };
  await withLab(t, options, async (lab) => {
    const before = await statusOf(lab, 'web');
    const pid = await lab.property('berth.service', 'MainPID');
    await lab.run(['kill', '-STOP', pid]);
    // A client that asks meanwhile waits, and is answered.
    assert.deepEqual((await statusOf(lab, 'web')).sockets, before.sockets);
    assert.notEqual(await lab.property('berth.service', 'MainPID'), pid);
    await lab.waitForJournal(/Watchdog timeout/, { unit: 'berth.service' });
    assert.equal(await lab.property('berth.service', 'NRestarts'), '1');
    // A healthy one gives signs of life for longer than that.
    const healthy = await lab.property('berth.service', 'MainPID');
    const lastSign = async () => Number(await lab.property('berth.service', 'WatchdogTimestampMonotonic'));
    const first = await lastSign();
    await lab.until('signs of life', async () => ((await lastSign()) > first + 2e6 ? true : undefined));
    assert.equal(await lab.property('berth.service', 'MainPID'), healthy);
  });
});

labTest('ports are held until the last unit of a shutdown has ended', async (t) => {
  const thief = thiefAtBoot('--port 7001', []);
  const options = {
    units: {
      ...thief.units,
      'web.service': `[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop=${peer} ask tcp 127.0.0.1 7001\n[Install]\nWantedBy=multi-user.target\n`,
      // Nothing comes later than what final.target waits for.
      'last.service': `[Unit]
DefaultDependencies=no
After=shutdown.target umount.target
Before=final.target
[Service]
Type=oneshot
ExecStart=/bin/cat /run/gate
[Install]
WantedBy=final.target
`,
    },
    enable: ['web.service', 'last.service'],
    programs: { ...thief.programs, ...peerAt() },
    files: reservations({ web }),
  };
  await withLab(t, options, async (lab) => {
    await lab.run(['mkfifo', '/run/gate']);
    const before = await inodesOf(lab, 'web');
    await lab.systemctl('poweroff', '--no-block');
    await lab.until('the last unit', async () =>
      (await lab.property('last.service', 'ActiveState')) === 'activating' ? true : undefined,
    );
    assert.equal(await lab.property('berth.service', 'ActiveState'), 'active');
    assert.equal(await lab.property('berth.socket', 'ActiveState'), 'active');
    assert.deepEqual(await inodesOf(lab, 'web'), before);
    assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7001), 'ECONNREFUSED');
    const { stdout } = await lab.run('/usr/local/bin/thief --port 7001 --stdin </dev/null');
    const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { attempts: number; thefts: number };
    assert.ok(report.attempts >= 4);
    assert.equal(report.thefts, 0);
    await lab.run('echo >/run/gate');
    await lab.ended;
  });
});

labTest('berth.service is hardened as far as Node allows', async (t) => {
  await withLab(t, {}, async (lab) => {
    const analysis = await lab.text(['systemd-analyze', 'security', '--no-pager', 'berth.service']);
    const exposure = /Overall exposure level for berth\.service: ([\d.]+) (\w+)/.exec(analysis);
    t.diagnostic(`systemd-analyze security berth.service: ${exposure?.[1] ?? '?'} ${exposure?.[2] ?? ''}`);
    assert.ok(Number(exposure?.[1]) <= 3, analysis);
  });
});
