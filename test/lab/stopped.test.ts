import assert from 'node:assert/strict';
import {
  askPeer,
  failureToAsk,
  flood,
  inodesOf,
  peer,
  peerAt,
  reservation,
  reservations,
  statusOf,
} from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';

const modes = ['store', 'exec'] as const;
const hosts = ['127.0.0.1', '::1'] as const;

/** It has started when it serves, which in exec mode is later than its first process is there. */
function unit(...lines: string[]): string {
  const service = ['Type=notify', `ExecStart=${peer} serve --notify`, ...lines];
  return `[Unit]\nStartLimitIntervalSec=0\n[Service]\n${service.join('\n')}\n`;
}

function both(port: number, ...settings: string[]): string {
  return reservation([`ListenStream=${port}`, `ListenDatagram=${port}`], settings);
}

async function assertServed(lab: Lab, port: number, when: string): Promise<void> {
  for (const host of hosts) {
    for (const protocol of ['tcp', 'udp'] as const) {
      const { sockets } = await askPeer(lab, protocol, host, port);
      assert.equal(sockets.length, 2, when);
    }
  }
}

/** Clients are refused at once, and what datagrams they send is dropped. */
async function assertRefused(lab: Lab, port: number, when: string): Promise<void> {
  for (const host of hosts) {
    assert.equal(await failureToAsk(lab, 'tcp', host, port), 'ECONNREFUSED', when);
    assert.equal(await failureToAsk(lab, 'udp', host, port), 'EAGAIN', when);
  }
  assert.equal(await waitingBytes(lab, port), 0, when);
}

/** What waits in a datagram socket. */
async function waitingBytes(lab: Lab, port: number): Promise<number> {
  return Number((await lab.text(['ss', '-Hlnu', 'sport', '=', `${port}`])).split(/\s+/)[1]);
}

/** Until berthd has seen that the unit has ended, which in exec mode only the kernel tells it, a moment later. */
function waitForState(lab: Lab, name: string, state: 'held' | 'active'): Promise<true> {
  const reached = async () => ((await statusOf(lab, name)).state === state ? true : undefined);
  return lab.until(`'${name}' to be ${state}`, reached, 30_000);
}

async function crash(lab: Lab, name: string): Promise<void> {
  await lab.systemctl('kill', '--kill-whom=main', '--signal=KILL', `${name}.service`);
}

function waitForSubState(lab: Lab, name: string, state: string): Promise<true> {
  const reached = async () =>
    (await lab.property(`${name}.service`, 'SubState')) === state ? true : undefined;
  return lab.until(`${name}.service to be ${state}`, reached, 30_000);
}

for (const { root, of } of [
  { root: 'host', of: 'the system' },
  { root: 'trixie', of: 'Debian 13' },
] as const) {
  labTest(
    `with WhileStopped=refuse clients are refused whenever the service is not there (${of})`,
    async (t) => {
      const cases = modes.map((mode, index) => ({ mode, name: `r-${mode}`, port: 7801 + index }));
      const options = {
        root,
        units: Object.fromEntries(
          // Long enough to see that nobody is served meanwhile, whatever the machine has to do.
          cases.map(({ name }) => [`${name}.service`, unit('Restart=on-abnormal', 'RestartSec=1h')]),
        ),
        programs: peerAt(),
        files: reservations(
          Object.fromEntries(cases.map(({ mode, name, port }) => [name, both(port, `Handoff=${mode}`)])),
        ),
      };
      await withLab(t, options, async (lab) => {
        for (const { name, port } of cases) {
          const service = `${name}.service`;
          const inodes = await inodesOf(lab, name);
          await assertRefused(lab, port, `${name} at boot`);
          for (const round of [1, 2]) {
            await lab.systemctl('start', service);
            await assertServed(lab, port, `${name} started, ${round}`);
            await lab.systemctl('stop', service);
            await waitForState(lab, name, 'held');
            await assertRefused(lab, port, `${name} stopped, ${round}`);
          }
          await lab.systemctl('start', service);
          for (const round of [1, 2]) {
            await crash(lab, name);
            await waitForSubState(lab, name, 'auto-restart');
            await waitForState(lab, name, 'held');
            await assertRefused(lab, port, `${name} before its restart, ${round}`);
            await lab.systemctl('restart', service);
            await assertServed(lab, port, `${name} restarted, ${round}`);
          }
          await lab.systemctl('kill', '--signal=TERM', service);
          await lab.waitForUnit(service, 'inactive');
          await waitForState(lab, name, 'held');
          await assertRefused(lab, port, `${name} ended by itself`);
          assert.deepEqual(await inodesOf(lab, name), inodes);
        }
      });
    },
    { programs: { debootstrap: 'debootstrap' } },
  );
}

labTest('with WhileStopped=refuse nobody is left waiting, however often the service restarts', async (t) => {
  const options = {
    units: { 'r-store.service': unit(), 'r-exec.service': unit() },
    programs: peerAt(),
    files: reservations({ 'r-store': both(7811), 'r-exec': both(7812, 'Handoff=exec') }),
  };
  await withLab(t, options, async (lab) => {
    await lab.systemctl('start', 'r-store.service', 'r-exec.service');
    const clients = [7811, 7812].flatMap((port) => hosts.map((host) => flood(lab, 'tcp', host, port)));
    for (let restart = 1; restart <= 15; restart++) {
      await lab.systemctl('restart', 'r-store.service', 'r-exec.service');
      for (const port of [7811, 7812]) await assertServed(lab, port, `restart ${restart}`);
    }
    await lab.systemctl('stop', 'r-store.service', 'r-exec.service');
    for (const [index, name] of ['r-store', 'r-exec'].entries()) {
      await waitForState(lab, name, 'held');
      await assertRefused(lab, 7811 + index, name);
    }
    const reports = await Promise.all(clients.map((client) => client.end()));
    t.diagnostic(reports.map((report) => JSON.stringify(report)).join(' '));
    for (const { answered, silent, refused } of reports) {
      assert.equal(silent, 0);
      assert.ok(answered > 100);
      assert.ok(refused > 0);
    }
  });
});

labTest('with WhileStopped=queue no client is refused, and no datagram lost, over 30 restarts', async (t) => {
  const cases = modes.map((mode, index) => ({ mode, name: `q-${mode}`, port: 7821 + index }));
  const options = {
    units: Object.fromEntries(cases.map(({ name }) => [`${name}.service`, unit()])),
    programs: peerAt(),
    files: reservations(
      Object.fromEntries(
        cases.map(({ mode, name, port }) => [name, both(port, `Handoff=${mode}`, 'WhileStopped=queue')]),
      ),
    ),
  };
  await withLab(t, options, async (lab) => {
    const services = cases.map(({ name }) => `${name}.service`);
    const inodes = await Promise.all(cases.map(({ name }) => inodesOf(lab, name)));
    /** Asks while nobody is there to answer; the answers come after `start`. */
    const assertKept = async (when: string): Promise<void> => {
      const asked = cases.flatMap(({ port }) =>
        hosts.flatMap((host) =>
          (['tcp', 'udp'] as const).map((protocol) => askPeer(lab, protocol, host, port)),
        ),
      );
      for (const { port } of cases) {
        const kept = async () => ((await waitingBytes(lab, port)) > 0 ? true : undefined);
        await lab.until('a datagram that waits', kept);
      }
      await lab.systemctl('start', ...services);
      for (const { sockets } of await Promise.all(asked)) assert.equal(sockets.length, 2, when);
    };
    await assertKept('before the first start');

    const clients = cases.flatMap(({ port }) =>
      hosts.flatMap((host) => (['tcp', 'udp'] as const).map((protocol) => flood(lab, protocol, host, port))),
    );
    for (let restart = 1; restart <= 30; restart++) {
      await lab.systemctl('restart', ...services);
      if (restart % 10 === 0) {
        await lab.systemctl('stop', ...services);
        await assertKept(`after restart ${restart}`);
      }
      for (const { port } of cases) await assertServed(lab, port, `restart ${restart}`);
    }
    const reports = await Promise.all(clients.map((client) => client.end()));
    t.diagnostic(reports.map((report) => JSON.stringify(report)).join(' '));
    for (const { answered, refused, cut, silent } of reports) {
      assert.deepEqual({ refused, cut, silent }, { refused: 0, cut: 0, silent: 0 });
      assert.ok(answered > 100);
    }
    assert.deepEqual(await Promise.all(cases.map(({ name }) => inodesOf(lab, name))), inodes);
  });
});

labTest('with WhileStopped=queue a crash and the time before the restart refuse nobody', async (t) => {
  const cases = modes.map((mode, index) => ({ mode, name: `c-${mode}`, port: 7831 + index }));
  const options = {
    units: Object.fromEntries(
      cases.map(({ name }) => [`${name}.service`, unit('Restart=always', 'RestartSec=300ms')]),
    ),
    programs: peerAt(),
    files: reservations(
      Object.fromEntries(
        cases.map(({ mode, name, port }) => [name, both(port, `Handoff=${mode}`, 'WhileStopped=queue')]),
      ),
    ),
  };
  await withLab(t, options, async (lab) => {
    for (const { name, port } of cases) {
      await lab.systemctl('start', `${name}.service`);
      const clients = hosts.map((host) => flood(lab, 'tcp', host, port));
      for (let restart = 1; restart <= 10; restart++) {
        await crash(lab, name);
        const restarted = async () =>
          (await lab.property(`${name}.service`, 'NRestarts')) === `${restart}` ? true : undefined;
        await lab.until(`restart ${restart} of ${name}`, restarted, 30_000);
        // Also who comes while it starts.
        await assertServed(lab, port, `restart ${restart} of ${name}`);
      }
      const reports = await Promise.all(clients.map((client) => client.end()));
      t.diagnostic(`${name}: ${reports.map((report) => JSON.stringify(report)).join(' ')}`);
      for (const { answered, refused, cut, silent } of reports) {
        assert.deepEqual({ refused, silent }, { refused: 0, silent: 0 });
        // What the killed process had accepted is lost with it: one connection at the most, of whichever client.
        assert.ok(cut <= 10);
        assert.ok(answered > 100);
      }
      await lab.systemctl('stop', `${name}.service`);
    }
  });
});

labTest('with WhileStopped=queue a start that fails refuses nobody', async (t) => {
  const check = 'ExecStartPre=/usr/bin/test -e /run/fit';
  const cases = [
    { name: 'before', port: 7835 },
    { name: 'after', port: 7836 },
  ];
  const options = {
    units: {
      'before.service': unit(check),
      'after.service': unit(),
      // Behind the claim.
      'after.service.d/90-check.conf': `[Service]\n${check}\n`,
    },
    programs: peerAt(),
    files: reservations(
      Object.fromEntries(cases.map(({ name, port }) => [name, both(port, 'WhileStopped=queue')])),
    ),
  };
  await withLab(t, options, async (lab) => {
    for (const { name, port } of cases) {
      const start = ['systemctl', 'start', `${name}.service`];
      const asked: Promise<unknown>[] = [];
      for (let failures = 0; failures < 3; failures++) {
        asked.push(askPeer(lab, 'tcp', '127.0.0.1', port));
        assert.equal((await lab.run(start, { allowFail: true })).status, 1, name);
        await waitForState(lab, name, 'held');
      }
      await lab.run(['touch', '/run/fit']);
      await lab.run(start);
      assert.equal((await Promise.all(asked)).length, 3);
      await lab.run(['rm', '/run/fit']);
    }
  });
});

labTest('a changed WhileStopped= counts at once for a stopped service', async (t) => {
  const options = {
    units: { 'web.service': unit() },
    programs: peerAt(),
    files: reservations({ web: both(7841) }),
  };
  await withLab(t, options, async (lab) => {
    const inodes = await inodesOf(lab, 'web');
    await assertRefused(lab, 7841, 'refuse');
    await lab.write('/etc/berth/web.conf', both(7841, 'WhileStopped=queue'));
    await lab.run(['berth', 'reload']);
    const asked = (['tcp', 'udp'] as const).map((protocol) => askPeer(lab, protocol, '127.0.0.1', 7841));
    const kept = async () => ((await waitingBytes(lab, 7841)) > 0 ? true : undefined);
    await lab.until('a datagram that waits', kept);
    await lab.systemctl('start', 'web.service');
    for (const { sockets } of await Promise.all(asked)) assert.equal(sockets.length, 2);

    await lab.write('/etc/berth/web.conf', both(7841, 'WhileStopped=refuse'));
    await lab.run(['berth', 'reload']);
    await assertServed(lab, 7841, 'a reload changes nothing for a running service');
    await lab.systemctl('stop', 'web.service');
    await assertRefused(lab, 7841, 'refuse again');
    assert.deepEqual(await inodesOf(lab, 'web'), inodes);
  });
});
