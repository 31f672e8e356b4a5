import assert from 'node:assert/strict';
import type { ReservationStatus } from '../../src/protocol/messages.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
import { labTest } from './requirements.js';
import { listenersOn, socketInodesOf } from './sockets.js';
import { askThief, thiefAtBoot } from './thief.js';

const hosts = ['127.0.0.1', '[::1]'] as const;

const cupsUnits = ['cups.service', 'cups.socket', 'cups.path'];
const unlimitedStarts = Object.fromEntries(
  cupsUnits.map((unit) => [`${unit}.d/restarts.conf`, '[Unit]\nStartLimitIntervalSec=0\n']),
);

/** CUPS as Debian has it, but for systemd's limit of starts, beside a thief that was there first. */
function cupsLab(thief: string): LabOptions & { units: Record<string, string> } {
  const atBoot = thiefAtBoot(thief, ['cups.service', 'cups.socket']);
  return {
    ...atBoot,
    packages: ['cups-daemon', 'cups-server-common', 'cups-client', 'cups-ipp-utils', 'curl'],
    keep: cupsUnits,
    units: { ...atBoot.units, ...unlimitedStarts },
    files: { '/etc/lab/printers.test': ippRequest },
  };
}

/** CUPS has no printer in the lab and says so, by the protocol. */
const ippRequest = `{
  OPERATION CUPS-Get-Printers
  GROUP operation-attributes-tag
  ATTR charset attributes-charset utf-8
  ATTR language attributes-natural-language en
  STATUS successful-ok
  STATUS client-error-not-found
}
`;

async function assertIppAnswers(lab: Lab, when: string): Promise<void> {
  for (const host of hosts) {
    const { status, stdout } = await lab.run(
      ['ipptool', '-t', '-T', '5', `ipp://${host}:631/`, '/etc/lab/printers.test'],
      {
        allowFail: true,
      },
    );
    assert.equal(status, 0, `ipptool ${host} ${when}: ${stdout}`);
    const code = await lab.text([
      'curl',
      '-sS',
      '-g',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      `http://${host}:631/`,
    ]);
    assert.equal(code, '200', `curl ${host} ${when}`);
  }
  assert.equal(await lab.text(['lpstat', '-h', '127.0.0.1:631', '-r']), 'scheduler is running', when);
}

labTest('without berth, cups loses port 631 to bindresvport() and reports active all the same', async (t) => {
  // Like rpcbind and mountd, this thief keeps what it got.
  const options = cupsLab('--port 631 --bindresvport --hold-ms 3600000');
  await withLab(t, { ...options, berth: false }, async (lab) => {
    // As a rule the boot is enough. Else each restart leaves the port free for as long as cupsd needs.
    for (
      let restarts = 0;
      (await askThief(lab)).kinds['tcp4+bindresvport']?.thefts === 0 && restarts < 50;
      restarts++
    ) {
      await lab.systemctl('restart', 'cups.service');
    }
    const { kinds } = await askThief(lab);
    assert.equal(kinds['tcp4+bindresvport']?.thefts, 1);
    assert.equal(kinds['udp4+bindresvport']?.thefts, 1);
    await lab.systemctl('restart', 'cups.service');
    assert.equal(await lab.property('cups.service', 'ActiveState'), 'active');
    const { status } = await lab.run('curl -sS http://127.0.0.1:631/', { allowFail: true });
    assert.equal(status, 7, 'curl: failed to connect');

    // Nothing but the thief was in the way.
    await lab.systemctl('stop', 'thief.service');
    await lab.systemctl('restart', 'cups.service');
    await assertIppAnswers(lab, 'without the thief');
  });
});

labTest('with berth, cups serves on a port 631 that it never bound, over boot and 20 restarts', async (t) => {
  const options = cupsLab('--port 631 --bindresvport');
  const units = {
    ...options.units,
    'cups.service.d/berth.conf': `[Unit]
Requires=berth.socket
After=berth.socket berth.service
[Service]
ExecStart=
ExecStart=/usr/bin/berth-claim cups -- /usr/sbin/cupsd -l
`,
  };
  const files = {
    ...options.files,
    '/etc/berth/cups.conf': `[Socket]
ListenStream=127.0.0.1:631
ListenStream=[::1]:631
[Reservation]
Handoff=exec
`,
    '/etc/berth/cups-udp.conf': `[Socket]
ListenDatagram=631
[Reservation]
Service=cups.service
Handoff=none
`,
  };
  await withLab(t, { ...options, units, files }, async (lab) => {
    const inodesOf = async (name: string) => {
      const { sockets } = await lab.json<ReservationStatus>(['berth', 'status', name, '--json']);
      return sockets.map(({ socket, inode }) => ({ socket, inode }));
    };
    const tcp = await inodesOf('cups');
    const udp = await inodesOf('cups-udp');
    assert.equal(tcp.length, 2);
    assert.equal(udp.length, 1);

    /** The held sockets are the ones that clients reach, and cupsd has them: they are the same kernel sockets. */
    const assertSameSockets = async (when: string) => {
      assert.deepEqual(await inodesOf('cups'), tcp, when);
      assert.deepEqual(await inodesOf('cups-udp'), udp, when);
      const listeners = await listenersOn(lab, 631);
      const byProtocol = (protocol: string) => listeners.filter((entry) => entry.protocol === protocol);
      const held = (sockets: typeof tcp) => new Set(sockets.map(({ inode }) => inode));
      assert.deepEqual(new Set(byProtocol('tcp').map(({ inode }) => inode)), held(tcp), when);
      assert.deepEqual(new Set(byProtocol('udp').map(({ inode }) => inode)), held(udp), when);
      const pid = await lab.property('cups.service', 'MainPID');
      assert.equal(await lab.text(['cat', `/proc/${pid}/comm`]), 'cupsd', when);
      const cupsd = await socketInodesOf(lab, pid);
      for (const { inode, socket } of tcp) assert.ok(cupsd.includes(inode ?? 0), `${socket} ${when}`);
      for (const { inode, socket } of udp) assert.ok(!cupsd.includes(inode ?? 0), `${socket} ${when}`);
    };

    await assertIppAnswers(lab, 'after boot');
    await assertSameSockets('after boot');
    const atBoot = await askThief(lab);
    for (let restart = 1; restart <= 20; restart++) {
      const when = `after restart ${restart}`;
      const before = await lab.property('cups.service', 'MainPID');
      await lab.systemctl('restart', 'cups.service');
      assert.notEqual(await lab.property('cups.service', 'MainPID'), before, when);
      await assertIppAnswers(lab, when);
      await assertSameSockets(when);
    }

    const thief = await askThief(lab);
    assert.equal(thief.thefts, 0, JSON.stringify(thief));
    for (const [kind, { attempts, otherErrors }] of Object.entries(thief.kinds)) {
      // 424 calls try every reserved port once: a thief that made fewer never came past 631.
      assert.ok(attempts - (atBoot.kinds[kind]?.attempts ?? 0) > 4240, `${kind} kept trying`);
      assert.equal(otherErrors, 0, kind);
    }
    t.diagnostic(`20 restarts, ${thief.attempts} attempts of the thief, ${thief.thefts} thefts`);
  });
});
