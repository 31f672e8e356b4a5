import assert from 'node:assert/strict';
import {
  askPeer,
  failureToAsk,
  inodesOf,
  peer,
  peerAt,
  reservation,
  reservations,
  statusOf,
} from './claims.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
import { labTest } from './requirements.js';

const roots = [
  { root: 'host', of: 'the system' },
  { root: 'trixie', of: 'Debian 13' },
] as const;
const debootstrap = { programs: { debootstrap: 'debootstrap' } };

const dropIn = '/run/systemd/generator/web.service.d/50-berth.conf';
const keptPlan = '/var/lib/berth/generator/manifest';

/**
 * A machine with a reservation for `web.service`, which starts at boot, and `accident`, a shell script that comes first:
 * systemd runs environment generators before all others (systemd.environment-generator(7)), and this one once.
 */
function labWith(
  root: LabOptions['root'],
  accident: string,
  files: Readonly<Record<string, string>> = {},
): LabOptions {
  return {
    ...(root === undefined ? {} : { root }),
    units: { 'web.service': `[Service]\nExecStart=${peer} serve\n[Install]\nWantedBy=multi-user.target\n` },
    enable: ['web.service'],
    programs: peerAt(),
    files: {
      ...reservations({ web: reservation(['ListenStream=7901', 'ListenDatagram=7901']) }),
      ...files,
      '/etc/systemd/system-environment-generators/10-accident': {
        text: `#!/bin/sh\nrm "$0"\n${accident}`,
        mode: 0o755,
      },
    },
    degraded: true,
  };
}

async function assertServed(lab: Lab): Promise<void> {
  const { sockets } = await askPeer(lab, 'tcp', '127.0.0.1', 7901);
  assert.deepEqual(await askPeer(lab, 'udp', '::1', 7901), await askPeer(lab, 'tcp', '::1', 7901));
  assert.deepEqual(new Set(sockets.map(({ inode }) => inode)), new Set(await inodesOf(lab, 'web')));
}

/** What the generator said before there was a journal. */
function complaints(lab: Lab): string[] {
  return [...lab.console.matchAll(/berth-generator\[\d+\]: (.*?)\r?\n/g)].map(([, text = '']) => text);
}

/** Without its drop-in, the service starts as its unit says, which here is without a socket. */
async function assertUntouched(lab: Lab): Promise<void> {
  assert.equal(await lab.property('multi-user.target', 'ActiveState'), 'active');
  assert.equal(await lab.property('web.service', 'ActiveState'), 'active');
  assert.equal(await lab.property('web.service', 'DropInPaths'), '');
  assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7901), 'ECONNREFUSED');
}

for (const { root, of } of roots) {
  labTest(
    `boots with a full /run, and hands over when there is room (${of})`,
    async (t) => {
      const accident = `size=$(df --output=used -k /run | tail -n 1)
mount -o remount,size=$((size + 4))k /run
cat /dev/zero >/run/full
`;
      await withLab(t, labWith(root, accident), async (lab) => {
        await assertUntouched(lab);
        assert.deepEqual(complaints(lab), [`cannot write ${dropIn}: No space left on device`]);
        // Even so the port is held.
        const { state, sockets } = await statusOf(lab, 'web');
        assert.equal(state, 'held');
        assert.equal(await failureToAsk(lab, 'udp', '127.0.0.1', 7901), 'EAGAIN');

        await lab.run('rm /run/full && mount -o remount,size=100M /run');
        await lab.systemctl('daemon-reload');
        await lab.systemctl('restart', 'web.service');
        await assertServed(lab);
        assert.deepEqual(
          await inodesOf(lab, 'web'),
          sockets.map(({ inode }) => inode),
        );
      });
    },
    debootstrap,
  );

  labTest(
    `boots with a full /run/berth, where nothing can be kept (${of})`,
    async (t) => {
      const accident = `mkdir /run/berth
mount -t tmpfs -o mode=0755,size=4k full /run/berth
cat /dev/zero >/run/berth/full
`;
      await withLab(t, labWith(root, accident), async (lab) => {
        assert.equal(lab.state, 'running');
        await assertServed(lab);
        await lab.systemctl('daemon-reload');
        await lab.systemctl('restart', 'web.service');
        await assertServed(lab);
        assert.deepEqual(complaints(lab), []);
        assert.equal(await lab.text('find /run/berth -type f'), '/run/berth/full');
      });
    },
    debootstrap,
  );

  labTest(
    `boots by its last plan when the generator fails, and without any when Node has gone (${of})`,
    async (t) => {
      const plan = await withLab(t, labWith(root, ''), async (lab) => {
        await assertServed(lab);
        return (await lab.run(['cat', '/run/berth/generator/manifest'])).stdout;
      });
      const last = { [keptPlan]: plan };

      const failing = "printf '#!/bin/false\\n' >/usr/lib/berth/generator.cjs\n";
      await withLab(t, labWith(root, failing, last), async (lab) => {
        assert.equal(lab.state, 'running');
        await assertServed(lab);
        assert.deepEqual(complaints(lab), [
          '/usr/lib/berth/generator.cjs failed: the drop-ins of its last run are used',
        ]);
      });
      await withLab(t, labWith(root, failing), async (lab) => {
        await assertUntouched(lab);
        assert.deepEqual(complaints(lab), [
          '/usr/lib/berth/generator.cjs failed: no unit gets its reserved sockets',
        ]);
      });

      // What the plan asks for could not be had: there is no berthd without Node.
      const gone = 'mv /usr/bin/node /usr/bin/node.gone\n';
      await withLab(t, labWith(root, gone, last), async (lab) => {
        await assertUntouched(lab);
        assert.deepEqual(complaints(lab), [
          '/usr/lib/berth/generator.cjs cannot be run: is Node installed? No unit gets its reserved sockets',
        ]);
        // It is not tried again and again, and nothing waits for it.
        const shown = await lab.systemctl('show', '--property=ActiveState,NRestarts', 'berth.service');
        assert.deepEqual(shown.split('\n').sort(), ['ActiveState=inactive', 'NRestarts=0']);
        assert.match(lab.console, /Assertion failed for .*Hold reserved sockets/);

        await lab.run(['mv', '/usr/bin/node.gone', '/usr/bin/node']);
        await lab.systemctl('daemon-reload');
        await lab.systemctl('restart', 'web.service');
        await assertServed(lab);
      });
    },
    debootstrap,
  );

  labTest(
    `boots with hostile files in every place, tells of each, and serves the others (${of})`,
    async (t) => {
      const accident = `cd /etc/berth
mkfifo pipe.conf
ln -s /dev/zero endless.conf
ln -s loop.conf loop.conf
mkdir dir.conf
head -c 20000 /bin/sh >binary.conf
cd /etc/systemd/system
mkfifo pipe.service pipe.socket
ln -s /dev/zero endless.service
mkdir dir.socket
{ printf '[X-Berth]\\nListenStream=7902\\n[Service]\\nExecStart='; head -c 2000000 /dev/zero | tr '\\0' a; } >long.service
printf '[X-Berth]\\nListenStream=79\\00003\\n' >nul.service
{ printf '[X-Berth]\\nListenStream=7904\\n'; head -c 20000 /bin/sh; } >blob.service
mkdir web.service.d
head -c 20000 /bin/sh | sed 's/ExecStart//' >web.service.d/binary.conf
`;
      await withLab(t, labWith(root, accident), async (lab) => {
        const bad = [
          ...['binary', 'dir', 'endless', 'loop', 'pipe'].map((name) => `/etc/berth/${name}.conf:1: `),
          '/etc/systemd/system/nul.service:1: ',
        ];
        // The files of both are read, and the sockets held; it is the services that are not there.
        const incomplete = ['blob', 'long'].map((name) => `/etc/systemd/system/${name}.service:2: Service: `);
        const journal = (await lab.text(['journalctl', '--output=cat', '--unit=berth.service'])).split('\n');
        for (const [log, expected] of [
          [complaints(lab), [...bad, ...incomplete]],
          [journal, bad],
        ] as const) {
          for (const start of expected)
            assert.ok(
              log.some((line) => line.startsWith(start)),
              start,
            );
          const told = log.filter((line) => line.startsWith('/'));
          assert.deepEqual(told, [...new Set(told)]);
        }
        assert.equal((await statusOf(lab, 'blob')).state, 'held');
        assert.equal((await statusOf(lab, 'long')).state, 'held');

        assert.equal(lab.state, 'running');
        await assertServed(lab);
        await lab.systemctl('daemon-reload');
        await lab.systemctl('restart', 'web.service');
        await assertServed(lab);
      });
    },
    debootstrap,
  );
}
