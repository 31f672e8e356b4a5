import assert from 'node:assert/strict';
import {
  askPeer,
  dropIns,
  failureToAsk,
  flood,
  inodesOf,
  peer,
  peerAt,
  reservation,
  reservations,
  statusOf,
  type PeerAnswer,
} from './claims.js';
import { withLab } from './lab.js';
import { labTest } from './requirements.js';
import { isSanitized } from './sanitized.js';

/** A reservation that has the same port for both protocols. */
function both(port: number | string, ...settings: string[]): string {
  return reservation([`ListenStream=${port}`, `ListenDatagram=${port}`], settings);
}

interface Kind {
  readonly port: number;
  /** The lines of the unit's [Service] section. */
  readonly service: readonly string[];
  /** The user it must run as, when it is not root. */
  readonly uid?: number | 'dynamic';
  readonly idle?: boolean;
}

const served = `ExecStart=${peer} serve`;

/** Takes the name org.berth.Lab on the system's bus, and keeps it: the D-Bus specification's Hello and RequestName. */
const busName = `
const { connect } = require('node:net');
const pad = (bytes, to) => [...bytes, ...Array((to - (bytes.length % to)) % to).fill(0)];
const u32 = (n) => [n & 255, (n >> 8) & 255, 0, 0];
const string = (s) => [...u32(s.length), ...Buffer.from(s), 0];
const field = (code, type, value) => [code, 1, type.charCodeAt(0), 0, ...value];
function call(serial, member, signature, body) {
  const bus = 'org.freedesktop.DBus';
  const fields = [
    field(1, 'o', string('/org/freedesktop/DBus')),
    field(2, 's', string(bus)),
    field(3, 's', string(member)),
    field(6, 's', string(bus)),
    ...(signature === '' ? [] : [field(8, 'g', [signature.length, ...Buffer.from(signature), 0])]),
  ].reduce((all, each) => [...pad(all, 8), ...each], []);
  return Buffer.from([108, 1, 0, 1, ...u32(body.length), ...u32(serial), ...u32(fields.length), ...pad(fields, 8), ...body]);
}
const socket = connect('/run/dbus/system_bus_socket');
socket.write(Buffer.from('\\0AUTH EXTERNAL 30\\r\\n'));
socket.once('data', () => {
  socket.write('BEGIN\\r\\n');
  socket.write(call(1, 'Hello', '', []));
  socket.write(call(2, 'RequestName', 'su', [...pad(string('org.berth.Lab'), 4), ...u32(0)]));
  socket.resume();
});
`;

const kinds: Readonly<Record<string, Kind>> = {
  simple: { port: 7101, service: ['Type=simple', served] },
  exec: { port: 7102, service: ['Type=exec', served] },
  forking: { port: 7103, service: ['Type=forking', `${served} --fork`] },
  notify: { port: 7104, service: ['Type=notify', `${served} --notify`] },
  bus: {
    port: 7114,
    service: [
      'Type=dbus',
      'BusName=org.berth.Lab',
      `ExecStart=/bin/sh -c 'node /srv/bus-name.js & exec ${peer} serve'`,
    ],
  },
  idle: { port: 7105, service: ['Type=idle', served], idle: true },
  // Its READY=1 comes from a process that is not the main one, which NotifyAccess=exec would not take.
  chatty: {
    port: 7106,
    service: [
      'Type=notify',
      'NotifyAccess=all',
      `ExecStart=/bin/sh -c '(systemd-notify --ready) & exec ${peer} serve'`,
    ],
  },
  user: { port: 7107, service: ['User=nobody', served], uid: 65534 },
  dynamic: { port: 7108, service: ['DynamicUser=yes', served], uid: 'dynamic' },
  private: {
    port: 7109,
    service: ['User=nobody', 'PrivateNetwork=yes', 'RestrictAddressFamilies=AF_UNIX', served],
    uid: 65534,
  },
  hardened: {
    port: 7110,
    service: [
      'DynamicUser=yes',
      'ProtectSystem=strict',
      'ProtectProc=invisible',
      'PrivateUsers=yes',
      'CapabilityBoundingSet=',
      'NoNewPrivileges=yes',
      'SystemCallFilter=@system-service',
      'SystemCallFilter=~@privileged',
      'PrivateDevices=yes',
      served,
    ],
    uid: 'dynamic',
  },
  rooted: {
    port: 7111,
    service: ['RootDirectory=/srv/root', 'ExecStart=/peer serve'],
  },
  'tpl@7112': { port: 7112, service: [], uid: 'dynamic' },
  'tpl@7113': { port: 7113, service: [], uid: 'dynamic' },
};

/** What the service was given: the reservation's sockets, TCP before UDP, by their name, and no others. */
function assertHanded(name: string, held: readonly (number | undefined)[], { sockets }: PeerAnswer): void {
  const given = new Map(sockets.map(({ type, inode }) => [type, inode]));
  assert.deepEqual(
    sockets.map((socket) => socket.name),
    [name, name],
  );
  assert.deepEqual([given.get('tcp'), given.get('udp')], held, name);
}

/** systemd 252 and 257. */
for (const { root, of } of [
  { root: 'host', of: 'the system' },
  { root: 'trixie', of: 'Debian 13' },
] as const)
  labTest(
    `every kind of service gets its sockets from PID 1, over restarts and stops (${of})`,
    async (t) => {
      const names = Object.keys(kinds).filter((name) => !isSanitized || name !== 'rooted');
      const options = {
        root,
        packages: ['dbus'],
        units: {
          'tpl@.service': `[Service]\nDynamicUser=yes\n${served}\n`,
          ...Object.fromEntries(
            names
              .filter((name) => !name.includes('@'))
              .map((name) => [`${name}.service`, `[Service]\n${(kinds[name]?.service ?? []).join('\n')}\n`]),
          ),
        },
        programs: peerAt('/srv/root/peer'),
        files: {
          '/srv/root/usr/lib/os-release': 'ID=root\n',
          '/srv/bus-name.js': busName,
          '/etc/dbus-1/system.d/lab.conf':
            '<busconfig><policy user="root"><allow own="org.berth.Lab"/></policy></busconfig>\n',
          // Two instances of one text, as links to tpl@.conf would have it.
          ...reservations(
            Object.fromEntries(
              names.map((name) => [name, both(name.includes('@') ? '%i' : (kinds[name]?.port ?? 0))]),
            ),
          ),
        },
      };
      await withLab(t, options, async (lab) => {
        const all = await Promise.all(names.map((name) => inodesOf(lab, name)));
        for (const [index, name] of names.entries()) {
          const inodes = all[index] ?? [];
          const { port, uid } = kinds[name] ?? { port: 0 };
          const unit = `${name}.service`;
          /** To systemd a unit of Type=idle is active before its first command has run. */
          const start = async (verb: string): Promise<void> => {
            await lab.systemctl(verb, unit);
            if (kinds[name]?.idle !== true) return;
            const running = async () =>
              (await lab.property(unit, 'SubState')) === 'running' ? true : undefined;
            await lab.until('its command to be started', running);
          };
          await start('start');
          const pids = new Set<number>();
          for (const verb of ['restart', 'restart', undefined]) {
            for (const protocol of ['tcp', 'udp'] as const) {
              const answer = await askPeer(lab, protocol, '127.0.0.1', port);
              assertHanded(name, inodes, answer);
              if (uid === 'dynamic')
                assert.ok(answer.uid >= 61184 && answer.uid <= 65519, `${name}: ${answer.uid}`);
              else assert.equal(answer.uid, uid ?? 0, name);
              pids.add(answer.pid);
            }
            if (verb !== undefined) await start(verb);
          }
          assert.equal(pids.size, 3, `${name}: a process for each start`);
          assert.equal((await statusOf(lab, name)).state, 'active', name);

          await lab.systemctl('stop', unit);
          const held = async () => {
            const status = await statusOf(lab, name);
            return status.state === 'held' ? status : undefined;
          };
          const stopped =
            kinds[name]?.idle === true ? await lab.until('the end', held) : await statusOf(lab, name);
          assert.equal(await failureToAsk(lab, 'tcp', '::1', port), 'ECONNREFUSED', name);
          assert.equal(await failureToAsk(lab, 'udp', '127.0.0.1', port), 'EAGAIN', name);
          assert.equal(stopped.state, 'held', name);
          assert.deepEqual(
            stopped.sockets.map(({ state }) => state),
            ['held', 'held'],
            name,
          );

          await start('start');
          assertHanded(name, inodes, await askPeer(lab, 'tcp', '::1', port));
        }
        assert.deepEqual(await Promise.all(names.map((name) => inodesOf(lab, name))), all);
        assert.equal(await lab.systemctl('--failed', '--no-legend'), '');
      });
    },
    root === 'trixie' ? { programs: { debootstrap: 'debootstrap' } } : {},
  );

labTest('oneshot, a socket unit of its own, several reservations, and a service that crashes', async (t) => {
  const unit = (...lines: string[]): string =>
    `[Unit]\nStartLimitIntervalSec=0\n[Service]\n${lines.join('\n')}\n`;
  const options = {
    units: {
      'once.service': unit('Type=oneshot', `${served} --exit 0`, `${served} --exit 0`),
      'own.socket': '[Socket]\nListenStream=7202\nFileDescriptorName=mine\nService=own.service\n',
      'own.service': unit(served),
      'many.service': unit(served),
      'crash.service': unit('Restart=always', 'RestartSec=0', `${served} --exit 3`),
      'killed.service': unit('Restart=always', 'RestartSec=0', served),
    },
    programs: peerAt(),
    files: reservations({
      once: both(7201),
      own: both(7203),
      'many-a': both(7204, 'Service=many.service'),
      'many-b': both(7205, 'Service=many.service'),
      'many-wide': reservation(
        Array.from({ length: 40 }, (_, index) => `ListenStream=${7300 + index}`),
        ['Service=many.service'],
      ),
      crash: both(7206),
      killed: both(7207),
    }),
  };
  await withLab(t, options, async (lab) => {
    const said = async (name: string): Promise<PeerAnswer[]> =>
      (await lab.text(['journalctl', '--output=cat', `--unit=${name}.service`]))
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as PeerAnswer);

    // Every command of a oneshot gets them.
    await lab.systemctl('start', 'once.service');
    await lab.systemctl('start', 'once.service');
    const once = await lab.until('four answers', async () => {
      const answers = await said('once');
      return answers.length === 4 ? answers : undefined;
    });
    const onceHeld = await inodesOf(lab, 'once');
    for (const answer of once) assertHanded('once', onceHeld, answer);
    assert.equal((await statusOf(lab, 'once')).state, 'held');

    // A connection to its own socket starts it; then it has that one, and in front.
    await lab.systemctl('start', 'own.socket');
    for (let start = 0; start < 3; start++) {
      const { sockets } = await askPeer(lab, 'tcp', '127.0.0.1', 7202);
      assert.deepEqual(
        sockets.map(({ name }) => name),
        ['mine', 'own', 'own'],
      );
      const reserved = await askPeer(lab, 'udp', '127.0.0.1', 7203);
      assert.deepEqual(reserved.sockets, sockets);
      await lab.systemctl('stop', 'own.service');
      assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7203), 'ECONNREFUSED');
    }

    const many = ['many-a', 'many-b', 'many-wide'];
    const held = (await Promise.all(many.map((name) => inodesOf(lab, name)))).flat();
    assert.equal(held.length, 44);
    for (let start = 0; start < 3; start++) {
      await lab.systemctl('restart', 'many.service');
      const { sockets } = await askPeer(lab, 'udp', '127.0.0.1', 7205);
      assert.deepEqual(new Set(sockets.map(({ inode }) => inode)), new Set(held));
      for (const name of many) {
        const given = sockets.filter((socket) => socket.name === name).map(({ inode }) => inode);
        assert.deepEqual(new Set(given), new Set(await inodesOf(lab, name)), name);
      }
    }
    await lab.systemctl('stop', 'many.service');
    for (const name of many) assert.equal((await statusOf(lab, name)).state, 'held', name);

    // Many quick ends: the sockets come with every start, and never twice.
    const crashing = await inodesOf(lab, 'crash');
    await lab.systemctl('start', '--no-block', 'crash.service');
    await lab.until('20 crashes', async () =>
      Number(await lab.property('crash.service', 'NRestarts')) >= 20 ? true : undefined,
    );
    await lab.systemctl('stop', 'crash.service');
    for (const answer of await said('crash')) assertHanded('crash', crashing, answer);
    assert.deepEqual(await inodesOf(lab, 'crash'), crashing);
    assert.equal((await statusOf(lab, 'crash')).state, 'held');

    const killed = await inodesOf(lab, 'killed');
    await lab.systemctl('start', 'killed.service');
    for (let kill = 1; kill <= 5; kill++) {
      await lab.systemctl('kill', '--kill-whom=main', '--signal=KILL', 'killed.service');
      await lab.until(`restart ${kill}`, async () =>
        (await lab.property('killed.service', 'NRestarts')) === `${kill}` &&
        (await lab.property('killed.service', 'SubState')) === 'running'
          ? true
          : undefined,
      );
      assertHanded('killed', killed, await askPeer(lab, 'tcp', '127.0.0.1', 7207));
    }
  });
});

labTest('a push that systemd rejects fails the start, and says what to set', async (t) => {
  const wrong = {
    'no-store': { notifyAccess: 'exec', storeMax: 0 },
    'small-store': { notifyAccess: 'exec', storeMax: 1 },
    'main-only': { notifyAccess: 'main' },
    'no-access': { notifyAccess: 'none' },
  };
  const names = Object.keys(wrong) as (keyof typeof wrong)[];
  const options = {
    units: {
      ...Object.fromEntries(names.map((name) => [`${name}.service`, `[Service]\n${served}\n`])),
      ...dropIns(...names.map((name) => ({ unit: `${name}.service`, reservations: [name], ...wrong[name] }))),
    },
    programs: peerAt(),
    files: reservations(Object.fromEntries(names.map((name, index) => [name, both(7401 + index)]))),
  };
  await withLab(t, options, async (lab) => {
    for (const [index, name] of names.entries()) {
      const unit = `${name}.service`;
      const before = await inodesOf(lab, name);
      const { status } = await lab.run(['systemctl', 'start', unit], { allowFail: true });
      assert.equal(status, 1, name);
      assert.equal(await lab.property(unit, 'ActiveState'), 'failed', name);
      const message = await lab.waitForJournal(/^berth-claim: /, { unit });
      // Without NotifyAccess= for it, the helper cannot even ask; else it sees that nothing was kept.
      const expected = name.endsWith('-store')
        ? /cannot claim '.*': .*NotifyAccess=exec.*FileDescriptorStoreMax=\d+/
        : /cannot claim '.*': .*NotifyAccess=exec/;
      assert.match(message, expected);
      assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7401 + index), 'ECONNREFUSED', name);
      const { state, sockets } = await statusOf(lab, name);
      assert.equal(state, 'held', name);
      assert.deepEqual(
        sockets.map(({ inode }) => inode),
        before,
        name,
      );

      // What the message says is the cure.
      await lab.write(
        `/etc/systemd/system/${unit}.d/60-cure.conf`,
        '[Service]\nNotifyAccess=exec\nFileDescriptorStoreMax=10\n',
      );
      await lab.systemctl('daemon-reload');
      await lab.systemctl('restart', unit);
      assertHanded(name, before, await askPeer(lab, 'tcp', '127.0.0.1', 7401 + index));
    }
  });
});

labTest('with WhileStopped=queue clients wait for the next start, with refuse they are told', async (t) => {
  const options = {
    units: {
      'queue.service': `[Unit]\nStartLimitIntervalSec=0\n[Service]\n${served}\n`,
      'refuse.service': `[Unit]\nStartLimitIntervalSec=0\n[Service]\n${served}\n`,
    },
    programs: peerAt(),
    files: reservations({ queue: both(7501, 'WhileStopped=queue'), refuse: both(7502) }),
  };
  await withLab(t, options, async (lab) => {
    /** Bytes that wait in a datagram socket. */
    const waiting = async (port: number): Promise<number> =>
      Number((await lab.text(['ss', '-Hlnu', 'sport', '=', `${port}`])).split(/\s+/)[1]);

    const queue = await inodesOf(lab, 'queue');
    // Even before the first start.
    const early = (['tcp', 'udp'] as const).map((protocol) => askPeer(lab, protocol, '127.0.0.1', 7501));
    await lab.until('the datagram', async () => ((await waiting(7501)) > 0 ? true : undefined));
    assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7502), 'ECONNREFUSED');
    assert.equal(await failureToAsk(lab, 'udp', '127.0.0.1', 7502), 'EAGAIN');
    assert.equal(await waiting(7502), 0);
    await lab.systemctl('start', 'queue.service', 'refuse.service');
    for (const answer of await Promise.all(early)) assertHanded('queue', queue, answer);

    const clients = (['tcp', 'udp'] as const).map((protocol) => flood(lab, protocol, '::1', 7501));
    for (let restart = 0; restart < 15; restart++) {
      await lab.systemctl('restart', 'queue.service');
      assertHanded('queue', queue, await askPeer(lab, 'tcp', '127.0.0.1', 7501));
    }
    await lab.systemctl('stop', 'queue.service');
    const late = (['tcp', 'udp'] as const).map((protocol) => askPeer(lab, protocol, '127.0.0.1', 7501));
    await lab.until('the datagram', async () => ((await waiting(7501)) > 0 ? true : undefined));
    await lab.systemctl('start', 'queue.service');
    for (const answer of await Promise.all(late)) assertHanded('queue', queue, answer);
    const [tcp, udp] = await Promise.all(clients.map((client) => client.end()));
    t.diagnostic(`over 16 restarts: tcp ${JSON.stringify(tcp)}, udp ${JSON.stringify(udp)}`);
    for (const report of [tcp, udp]) {
      assert.ok((report?.answered ?? 0) > 100);
      assert.deepEqual([report?.refused, report?.cut, report?.silent], [0, 0, 0]);
    }

    await lab.systemctl('stop', 'refuse.service');
    assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7502), 'ECONNREFUSED');
    assert.equal(await failureToAsk(lab, 'udp', '127.0.0.1', 7502), 'EAGAIN');
    assert.equal(await waiting(7502), 0);
  });
});
