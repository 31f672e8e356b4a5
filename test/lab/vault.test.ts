import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ReservationInfo, ReservationStatus } from '../../src/protocol/messages.js';
import {
  askPeer,
  failureToAsk,
  inodesOf,
  peer,
  peerAt,
  reservation,
  reservations,
  statusOf,
  whileKilled,
} from './claims.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
import { labTest } from './requirements.js';

const kills = Number(process.env['LAB_KILLS'] ?? 15);

/** More sockets than one packet of the vault takes. */
const wide = Array.from({ length: 300 }, (_, index) => `ListenStream=127.0.0.1:${8000 + index}`);

const service = `[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=${peer} serve
[Install]
WantedBy=multi-user.target
`;

/** Sockets of every kind: claimed, never claimed, not to be claimed, lent. */
const options: LabOptions = {
  units: {
    'web.service': service,
    'queue.service': service,
    'idle.service': service,
    // Whoever has the lock keeps berthd from starting, for as long as a test needs it dead.
    'berth.service.d/gate.conf': '[Service]\nExecStartPre=+/usr/bin/flock /run/gate true\n',
  },
  enable: ['web.service', 'queue.service'],
  programs: peerAt(),
  files: reservations({
    web: reservation(['ListenStream=7001', 'ListenDatagram=7001', 'FileDescriptorName=site']),
    queue: reservation(['ListenStream=7002', 'ListenDatagram=7002'], ['WhileStopped=queue']),
    idle: reservation(['ListenStream=7003', 'ListenDatagram=127.0.0.1:7003']),
    local: reservation(
      ['ListenStream=/run/local.stream', 'ListenDatagram=/run/local.dgram', 'ListenSequentialPacket=@local'],
      ['Handoff=exec'],
    ),
    wide: reservation(wide, ['Handoff=none']),
    lent: reservation(['ListenStream=7004'], ['Handoff=lend']),
  }),
};

const berthd = '/usr/lib/berth/berthd.cjs';

/** Everything about the reservations that has to outlive berthd. */
async function snapshot(lab: Lab): Promise<unknown> {
  const list = await lab.json<ReservationInfo[]>(['berth', 'list', '--json']);
  const all = await Promise.all(list.map(({ name }) => statusOf(lab, name)));
  return all.map(({ name, unit, fdName, handoff, state, whileStopped, sockets }: ReservationStatus) => {
    return { name, unit, fdName, handoff, state, whileStopped, sockets };
  });
}

/** Those that run are served by what is held, the others refused or kept waiting. */
async function assertInService(lab: Lab): Promise<void> {
  const names = async (port: number) =>
    (await askPeer(lab, 'tcp', '127.0.0.1', port)).sockets.map(({ name }) => name);
  assert.deepEqual(await names(7001), ['site', 'site']);
  assert.deepEqual(await names(7002), ['queue', 'queue']);
  assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7003), 'ECONNREFUSED');
  assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 8000), 'ECONNREFUSED');
}

/** Runs something while berthd is dead and cannot come back. */
async function whileDead(lab: Lab, action: () => Promise<void>): Promise<void> {
  const gate = lab.spawn(['flock', '/run/gate', 'sh', '-c', 'echo closed; cat']);
  await once(gate.stdout, 'data');
  try {
    await lab.systemctl('kill', '--kill-whom=main', '--signal=KILL', 'berth.service');
    const waits = async () =>
      (await lab.property('berth.service', 'SubState')) === 'start-pre' ? true : undefined;
    await lab.until('berthd to be dead', waits);
    await action();
  } finally {
    gate.stdin.end();
  }
}

labTest(
  'a crash, a restart, an upgrade, daemon-reload and daemon-reexec leave every socket as it was',
  async (t) => {
    await withLab(t, options, async (lab) => {
      const before = await snapshot(lab);
      const events: Record<string, () => Promise<unknown>> = {
        'kill -9': () => lab.systemctl('kill', '--kill-whom=main', '--signal=KILL', 'berth.service'),
        restart: () => lab.systemctl('restart', 'berth.service'),
        'daemon-reload': () => lab.systemctl('daemon-reload'),
        'daemon-reexec': () => lab.systemctl('daemon-reexec'),
        upgrade: async () => {
          await lab.upgradeBerth();
          await lab.systemctl('daemon-reload');
          await lab.systemctl('restart', 'berth.service');
        },
        reload: () => lab.systemctl('reload', 'berth.service'),
        'kill -9 after all that': () =>
          lab.systemctl('kill', '--kill-whom=main', '--signal=KILL', 'berth.service'),
      };
      for (const [event, happen] of Object.entries(events)) {
        const pid = await lab.property('berth.service', 'MainPID');
        await happen();
        if (/kill|restart|upgrade/.test(event)) {
          await lab.until('another berthd', async () => {
            const now = await lab.property('berth.service', 'MainPID');
            return now !== pid && now !== '0' ? true : undefined;
          });
        }
        assert.deepEqual(await snapshot(lab), before, event);
        await assertInService(lab);
        // One descriptor, whatever is in it. The one before it goes with a message that systemd has yet to read.
        await lab.until(`one vault after ${event}`, async () =>
          (await lab.property('berth.service', 'NFileDescriptorStore')) === '1' ? true : undefined,
        );
      }
    });
  },
);

labTest(`berthd killed ${kills} times at random moments loses nothing`, async (t) => {
  await withLab(t, options, async (lab) => {
    const before = await snapshot(lab);
    let killed = 0;
    while (killed < kills) {
      killed += await whileKilled(lab, async () => {
        // Claims and ends of claims fall into every phase of its starts.
        await lab.systemctl('restart', 'web.service', 'queue.service');
        await lab.systemctl('start', 'idle.service');
        await lab.systemctl('stop', 'idle.service');
      });
    }
    await lab.until('the last berthd', async () =>
      (await lab.property('berth.service', 'SubState')) === 'running' ? true : undefined,
    );
    assert.deepEqual(await snapshot(lab), before);
    await assertInService(lab);
    t.diagnostic(`killed ${killed} times`);
  });
});

labTest('a berthd without descriptors for all that was held leaves it to the next one', async (t) => {
  await withLab(t, options, async (lab) => {
    const before = await snapshot(lab);
    const limit = '/run/systemd/system/berth.service.d/limit.conf';
    // Enough to begin with; the second packet of the vault has the rest of `wide`.
    await lab.write(limit, '[Service]\nLimitNOFILE=320\n');
    await lab.systemctl('daemon-reload');
    await lab.run(['systemctl', 'restart', 'berth.service'], { allowFail: true });
    await lab.waitForJournal(/cannot take over what an earlier berthd held.*out of descriptors/);
    await assertInService(lab);
    await lab.run(['rm', limit]);
    await lab.systemctl('daemon-reload');
    await lab.until('berthd to serve', async () =>
      (await lab.property('berth.service', 'SubState')) === 'running' ? true : undefined,
    );
    assert.deepEqual(await snapshot(lab), before);
    await assertInService(lab);
  });
});

labTest('a vault that berthd cannot read, of a later version, costs no socket and no service', async (t) => {
  await withLab(t, options, async (lab) => {
    const inodes = async () => {
      const list = await lab.json<ReservationInfo[]>(['berth', 'list', '--json']);
      const all = await Promise.all(list.map(({ name }) => inodesOf(lab, name)));
      return Object.fromEntries(list.map(({ name }, index) => [name, all[index]]));
    };
    const before = await inodes();
    const { local: paths, ...ports } = before;
    assert.equal(paths?.length, 3);
    // An upgrade to what writes another vault, and the way back.
    for (const [version, next] of [
      [3, 99],
      [99, 3],
    ] as const) {
      const cursor = await lab.journalCursor();
      await lab.run(['sed', '-i', `s/formatVersion = ${version};/formatVersion = ${next};/`, berthd]);
      await lab.run(['grep', `formatVersion = ${next};`, berthd]);
      await lab.systemctl('restart', 'berth.service');
      await lab.waitForJournal(/stored cannot be read.* sockets that the files ask for stay held/, {
        after: cursor,
      });
      await assertInService(lab);
      const { local, ...others } = await inodes();
      assert.deepEqual(others, ports);
      assert.equal(local?.length, 3);
      await lab.systemctl('restart', 'web.service', 'queue.service');
      await assertInService(lab);
      await lab.systemctl('stop', 'web.service');
      assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7001), 'ECONNREFUSED');
      await lab.systemctl('start', 'web.service');
    }
  });
});

labTest('what is asked of a dead berthd waits for the next one', async (t) => {
  await withLab(t, options, async (lab) => {
    const before = await snapshot(lab);
    await whileDead(lab, async () => {
      // Held and served all the same.
      await assertInService(lab);
      const bind =
        "require('net').createServer().on('error', (e) => console.log(e.code)).listen(8001, '127.0.0.1')";
      assert.equal(await lab.text(['node', '-e', bind]), 'EADDRINUSE');
      await lab.systemctl('start', '--no-block', 'idle.service');
      await lab.until('the claim', async () =>
        (await lab.property('idle.service', 'SubState')) === 'start-pre' ? true : undefined,
      );
    });
    await lab.waitForUnit('idle.service', 'active');
    const { sockets } = await askPeer(lab, 'tcp', '127.0.0.1', 7003);
    assert.deepEqual(new Set(sockets.map(({ inode }) => inode)), new Set(await inodesOf(lab, 'idle')));
    await lab.systemctl('stop', 'idle.service');
    assert.deepEqual(await snapshot(lab), before);
  });
});

labTest('a service that starts or ends while berthd is dead is found in its state', async (t) => {
  await withLab(t, options, async (lab) => {
    const { sockets } = await statusOf(lab, 'web');
    await whileDead(lab, async () => {
      await lab.systemctl('stop', 'web.service');
    });
    const held = await lab.until('the end of web.service to be seen', async () => {
      const status = await statusOf(lab, 'web');
      return status.state === 'held' ? status : undefined;
    });
    assert.deepEqual(
      held.sockets.map(({ inode }) => inode),
      sockets.map(({ inode }) => inode),
    );
    assert.deepEqual(
      held.sockets.map(({ state }) => state),
      ['held', 'held'],
    );
    assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7001), 'ECONNREFUSED');
    await lab.systemctl('start', 'web.service');
    assert.deepEqual((await statusOf(lab, 'web')).sockets, sockets);
  });
});

labTest('a configuration that changes while berthd is dead counts, but for what is broken', async (t) => {
  await withLab(t, options, async (lab) => {
    const web = await statusOf(lab, 'web');
    const queue = await statusOf(lab, 'queue');
    await whileDead(lab, async () => {
      await lab.run(['rm', '/etc/berth/idle.conf']);
      await lab.write('/etc/berth/new.conf', reservation(['ListenStream=7005'], ['Service=idle.service']));
      await lab.write('/etc/berth/queue.conf', '[Socket]\nListenStream=7002\nListenDatagram=nonsense:\n');
      await lab.write(
        '/etc/berth/web.conf',
        reservation([
          'ListenStream=7001',
          'ListenDatagram=7001',
          'ListenStream=7006',
          'FileDescriptorName=site',
        ]),
      );
    });
    await lab.waitForJournal(/^\/etc\/berth\/queue\.conf:3: ListenDatagram: /, { unit: 'berth.service' });
    const list = await lab.json<ReservationInfo[]>(['berth', 'list', '--json']);
    assert.deepEqual(list.map(({ name }) => name).sort(), ['lent', 'local', 'new', 'queue', 'web', 'wide']);
    assert.deepEqual((await statusOf(lab, 'queue')).sockets, queue.sockets);
    const grown = await statusOf(lab, 'web');
    assert.deepEqual(grown.sockets.slice(0, 2), web.sockets);
    assert.equal(grown.sockets.length, 3);
    assert.equal((await statusOf(lab, 'new')).state, 'held');
    // Let go, for anybody.
    const bind =
      "require('net').createServer().listen(7003, () => { console.log('bound'); process.exit(); })";
    assert.equal(await lab.text(['node', '-e', bind]), 'bound');
  });
});

labTest(
  'systemd 257 keeps the sockets even while berth.service is stopped',
  async (t) => {
    const { units, ...rest } = options;
    await withLab(t, { ...rest, units: units ?? {}, root: 'trixie' }, async (lab) => {
      const before = await snapshot(lab);
      await lab.systemctl('stop', 'berth.service');
      assert.equal(await lab.property('berth.service', 'ActiveState'), 'inactive');
      const bind =
        "require('net').createServer().on('error', (e) => console.log(e.code)).listen(8001, '127.0.0.1')";
      assert.equal(await lab.text(['node', '-e', bind]), 'EADDRINUSE');
      await lab.systemctl('start', 'berth.service');
      assert.deepEqual(await snapshot(lab), before);
      await assertInService(lab);

      await lab.systemctl('daemon-reexec');
      await lab.systemctl('restart', 'berth.service', 'web.service');
      await lab.systemctl('kill', '--kill-whom=main', '--signal=KILL', 'berth.service');
      await lab.systemctl('restart', 'queue.service');
      assert.deepEqual(await snapshot(lab), before);
      await assertInService(lab);
    });
  },
  { programs: { debootstrap: 'debootstrap' } },
);
