import assert from 'node:assert/strict';
import { spread } from '../bench/statistics.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';
import { isSanitized, rootedSettings } from './sanitized.js';

/** A service that tells in the journal which descriptors it got. */
function teller(lines = '', type = 'exec'): string {
  // systemd makes $ of $$, and the shell the rest.
  const command =
    "/bin/sh -c 'echo $$0: $${LISTEN_FDS:-0} of $${LISTEN_FDNAMES:-nobody}; exec sleep infinity'";
  return `[Service]\nType=${type}\nExecStart=${command}\n${lines}\n[Install]\nWantedBy=multi-user.target\n`;
}

function reservation(port: number, rest = ''): string {
  return `[Socket]\nListenStream=${port}\nListenDatagram=${port}\n\n[Reservation]\n${rest}\n`;
}

/** What a generator says goes to the kernel's log, and from there to the console at its own time. */
async function assertSaid(lab: Lab, pattern: RegExp): Promise<void> {
  await lab.until(`${pattern}`, () => Promise.resolve(pattern.test(lab.console) || undefined));
}

const dropIn = (unit: string) => `/run/systemd/generator/${unit}.d/50-berth.conf`;

labTest('gives each unit at boot what its reservation needs, without an ordering cycle', async (t) => {
  const early = '[Unit]\nDefaultDependencies=no\nBefore=sockets.target sysinit.target\n';
  const jail = [
    'RootDirectory=/srv/jail',
    'MountAPIVFS=yes',
    'BindReadOnlyPaths=/usr /bin /lib -/lib64',
    ...rootedSettings,
  ].join('\n');
  await withLab(
    t,
    {
      files: {
        '/etc/berth/plain.conf': reservation(7001),
        '/etc/berth/early.conf': reservation(7002),
        '/etc/berth/jailed.conf': reservation(7003),
        '/etc/berth/emptyrun.conf': reservation(7004),
        '/etc/berth/wrapped.conf': reservation(7005, 'Handoff=exec'),
        '/etc/berth/inst@one.conf': reservation(7006),
        '/etc/berth/several.conf': reservation(7007),
        '/srv/jail/bin/.keep': '',
      },
      units: {
        'plain.service': teller(),
        'early.service': early + teller().replace('multi-user', 'sysinit'),
        'jailed.service': teller(jail),
        'emptyrun.service': teller('TemporaryFileSystem=/run\n'),
        'wrapped.service': teller().replace('ExecStart=', 'ExecStart=@').replace('/bin/sh', '/bin/sh told'),
        'inst@.service': teller(),
        'several.service':
          '[Service]\nType=oneshot\nRemainAfterExit=yes\n' +
          "ExecStart=/bin/sh -c 'echo first: $${LISTEN_FDS:-0}'\nExecStart=/bin/sh -c 'echo second: $${LISTEN_FDS:-0}'\n" +
          '[Install]\nWantedBy=multi-user.target\n',
      },
      enable: [
        'plain.service',
        'early.service',
        'jailed.service',
        'emptyrun.service',
        'wrapped.service',
        'inst@one.service',
        'several.service',
      ],
    },
    async (lab) => {
      assert.equal(lab.state, 'running');
      for (const [unit, name] of [
        ['plain', 'plain'],
        ['early', 'early'],
        ['jailed', 'jailed'],
        ['emptyrun', 'emptyrun'],
        ['wrapped', 'wrapped'],
        ['inst@one', 'inst@one'],
      ] as const)
        await lab.waitForJournal(new RegExp(`: 2 of ${name}:${name}$`), { unit: `${unit}.service` });
      // Each command of a oneshot gets them, which systemd.service(5) does not say.
      await lab.waitForJournal(/^first: 2$/, { unit: 'several.service' });
      await lab.waitForJournal(/^second: 2$/, { unit: 'several.service' });
      assert.doesNotMatch(await lab.journal(), /ordering cycle/);
    },
  );
});

labTest('reserves beside an activating socket, which alone starts the service', async (t) => {
  const socket =
    '[Socket]\nListenStream=7101\nListenDatagramNoActivate=7101\n\n[Install]\nWantedBy=sockets.target\n';
  const units = { 'post.socket': socket, 'post.service': teller() };
  await withLab(t, { units, enable: ['post.socket'] }, async (lab) => {
    const { unit, sockets } = await lab.json<{ unit: string; sockets: unknown[] }>([
      'berth',
      'status',
      'post',
      '--json',
    ]);
    assert.deepEqual([unit, sockets.length], ['post.service', 1]);
    await lab.run(['bash', '-c', 'for i in 1 2 3; do echo x >/dev/udp/127.0.0.1/7101; done']);
    assert.equal(await lab.property('post.service', 'ActiveState'), 'inactive');
    await lab.run(['bash', '-c', 'exec 3<>/dev/tcp/127.0.0.1/7101']);
    await lab.waitForJournal(/: 2 of post\.socket:post\.socket$/, { unit: 'post.service' });
  });
});

/** What a daemon-reload costs, in milliseconds: the median of some. */
async function reloadCost(lab: Lab, before = (): Promise<void> => Promise.resolve()): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    await before();
    const begun = performance.now();
    await lab.systemctl('daemon-reload');
    times.push(performance.now() - begun);
  }
  return spread(times).median;
}

labTest('costs a daemon-reload next to nothing while nothing changes', async (t) => {
  const generator = '/usr/lib/systemd/system-generators/berth-generator';
  await withLab(t, { files: { '/etc/berth/a.conf': reservation(7001) } }, async (lab) => {
    await lab.systemctl('daemon-reload');
    assert.match(await lab.text(['cat', dropIn('a.service')]), /berth-claim a$/m);
    const kept = await reloadCost(lab);
    let number = 0;
    const changed = await reloadCost(lab, () => lab.write('/etc/berth/a.conf', reservation(7002 + number++)));
    await lab.run(['rm', '/etc/berth/a.conf']);
    const nothing = await reloadCost(lab);
    await lab.run(['mv', generator, '/root/']);
    const without = await reloadCost(lab);
    const figures = { without, nothing, kept, changed };
    t.diagnostic(
      Object.entries(figures)
        .map(([what, ms]) => `${what} ${ms.toFixed(1)} ms`)
        .join(', '),
    );
    // Its own time, which the other generators and the manager do not blur.
    await lab.run(['mv', '/root/berth-generator', generator]);
    await lab.write('/etc/berth/a.conf', reservation(7001));
    await lab.run(['berth', 'reload']);
    await lab.run(['mkdir', '/root/out']);
    // Processor time, of the 100 runs that are the shell's children: how busy the machine is does not count.
    const loop = `for i in $(seq 100); do ${generator} /root/out; done; times`;
    const [, children = ''] = (await lab.text(['bash', '-c', loop])).split('\n');
    const seconds = [...children.matchAll(/(\d+)m([\d.]+)s/g)].map(
      ([, minutes, rest]) => Number(minutes) * 60 + Number(rest),
    );
    assert.equal(seconds.length, 2, children);
    const own = seconds.reduce((sum, each) => sum + each * 10, 0);
    t.diagnostic(`berth-generator itself, with a kept answer: ${own.toFixed(2)} ms of processor time`);
    assert.equal(await lab.text('ls /root/out'), 'a.service.d');
    assert.ok(own < (isSanitized ? 50 : 5), `${own} ms`);
  });
});

labTest('boots to the end without Node, and leaves the units as they are', async (t) => {
  const files = { '/etc/berth/plain.conf': reservation(7001), '/usr/bin/node': { text: '', mode: 0o644 } };
  const units = { 'plain.service': teller() };
  const degraded = true;
  await withLab(t, { files, units, enable: ['plain.service'], degraded }, async (lab) => {
    await lab.waitForUnit('multi-user.target', 'active');
    await lab.waitForJournal(/: 0 of nobody$/, { unit: 'plain.service' });
    assert.equal(await lab.text('ls /run/systemd/generator | grep -c berth; true'), '0');
    await assertSaid(lab, /berth-generator\[\d+\]: .*is Node installed\?/);
  });
});

labTest('boots to the end with a broken reservation among good ones', async (t) => {
  const files = {
    '/etc/berth/plain.conf': reservation(7001),
    '/etc/berth/bad.conf': '[Socket]\nListenStream=x y\n',
  };
  const units = { 'plain.service': teller() };
  await withLab(t, { files, units, enable: ['plain.service'] }, async (lab) => {
    await lab.waitForUnit('multi-user.target', 'active');
    await lab.waitForJournal(/: 2 of plain:plain$/, { unit: 'plain.service' });
    assert.equal(
      lab.console.match(/berth-generator\[\d+\]: \/etc\/berth\/bad\.conf:2: ListenStream: /g)?.length,
      1,
    );
  });
});

labTest('writes no half drop-in into a full /run, and says so', async (t) => {
  await withLab(t, { files: { '/etc/berth/plain.conf': reservation(7001) } }, async (lab) => {
    const generator = '/usr/lib/systemd/system-generators/berth-generator';
    await lab.run('mkdir /root/small && mount -t tmpfs -o size=16k,nr_inodes=8 none /root/small');
    await lab.run('cat /dev/zero >/root/small/fill', { allowFail: true });
    await lab.run([generator, '/root/small']);
    assert.equal(await lab.text('find /root/small -type f ! -name fill'), '');
    await assertSaid(lab, /berth-generator\[\d+\]: cannot write .*: No space left on device/);
  });
});

labTest('takes the drop-ins back when Node goes: nobody would answer the claims', async (t) => {
  await withLab(t, { files: { '/etc/berth/plain.conf': reservation(7001) } }, async (lab) => {
    await lab.systemctl('daemon-reload');
    assert.match(await lab.text(['cat', dropIn('plain.service')]), /berth-claim plain$/m);
    await lab.run('chmod 644 "$(readlink -f /usr/bin/node)"');
    await lab.systemctl('daemon-reload');
    assert.equal(await lab.text('ls /run/systemd/generator | grep -c plain; true'), '0');
    await assertSaid(lab, /berth-generator\[\d+\]: .*is Node installed\?/);
  });
});

/** So many reservations that the drop-ins are links to a tree which outlives daemon-reload. */
async function assertLinked(lab: Lab): Promise<void> {
  const link = '/run/systemd/generator/plain.service.d';
  for (let reload = 0; reload < 3; reload++) {
    const tree = await lab.text(['readlink', '-f', link]);
    assert.match(tree, /^\/run\/berth\/generator\/tree-[0-9a-f]{16}\/plain\.service\.d$/);
    assert.equal(await lab.property('plain.service', 'DropInPaths'), `${tree}/50-berth.conf`);
    assert.equal(await lab.property('plain.service', 'NeedDaemonReload'), 'no');
    const cursor = await lab.journalCursor();
    await lab.systemctl('restart', 'plain.service');
    await lab.waitForJournal(/: 2 of plain:plain$/, { unit: 'plain.service', after: cursor });
    await lab.systemctl('daemon-reload');
  }
  // What is no longer reserved is no longer claimed.
  await lab.run('rm /etc/berth/plain.conf && berth reload');
  await lab.systemctl('daemon-reload');
  const cursor = await lab.journalCursor();
  await lab.systemctl('restart', 'plain.service');
  await lab.waitForJournal(/: 0 of nobody$/, { unit: 'plain.service', after: cursor });
  assert.equal(await lab.text('ls /run/berth/generator | grep -c ^tree-'), '1');
}

const many = {
  files: {
    '/etc/berth/plain.conf': reservation(7001),
    ...Object.fromEntries(
      Array.from({ length: 100 }, (_, index) => [`/etc/berth/many-${index}.conf`, reservation(7100 + index)]),
    ),
  },
  units: { 'plain.service': teller() },
  enable: ['plain.service'],
};

labTest('links to the drop-ins of many units', (t) => withLab(t, many, assertLinked));

labTest(
  'links to the drop-ins of many units, with systemd 257',
  (t) => withLab(t, { ...many, root: 'trixie' }, assertLinked),
  { programs: { debootstrap: 'debootstrap' } },
);
