import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { killBerthd, statusOf, whileKilled } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { projectRoot } from './paths.js';
import { labTest } from './requirements.js';
import { listenersOn } from './sockets.js';

/** A service that knows nothing of berth and binds its own port: it prints that it did, or why it could not. */
const server = `import socket, sys, time
s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('::', int(sys.argv[1])))
s.listen()
print('serving', flush=True)
time.sleep(1000000)
`;

const port = 7631;
const program = '/usr/local/lib/server.py';
const files = {
  [program]: server,
  '/etc/services': `ipp-lab ${port}/tcp\nipp-lab ${port}/udp\n`,
  '/etc/portreserve/printer': 'ipp-lab\n',
};

/** As the package of a service of portreserve's time has it. */
function unit(...service: readonly string[]): string {
  return ['[Service]', ...service, `ExecStart=/usr/bin/python3 ${program} ${port}`, ''].join('\n');
}

/** Speaks portreserve's protocol and stays. */
const talker = '/usr/local/lib/talker.py';
const talk = `import socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for name in (b'printer', b'*', b'no-such'): s.sendto(name, '/run/portreserve/socket')
time.sleep(1000000)
`;

/** What an attempt to bind the port says. */
async function tryPort(lab: Lab): Promise<string> {
  const script = `import socket, sys
for family, host in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
  for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    try: socket.socket(family, kind).bind((host, ${port}))
    except OSError: continue
    print(family.name, kind.name)`;
  return lab.text(['python3', '-c', script]);
}

const everything = 'AF_INET SOCK_STREAM\nAF_INET SOCK_DGRAM\nAF_INET6 SOCK_STREAM\nAF_INET6 SOCK_DGRAM';

async function stateOf(lab: Lab): Promise<string> {
  return (await statusOf(lab, 'printer')).state;
}

/** Held at boot, free for the service while it runs, and held again: at its end, and after each restart. */
async function assertComesAndGoes(lab: Lab): Promise<void> {
  assert.deepEqual([await stateOf(lab), await tryPort(lab)], ['held', '']);
  for (let round = 0; round < 3; round++) {
    await lab.systemctl('start', 'printer.service');
    await lab.until('the service to listen', async () => {
      const [listener] = await listenersOn(lab, port);
      return listener?.protocol === 'tcp' ? true : undefined;
    });
    assert.equal(await stateOf(lab), 'released');
    await lab.systemctl('restart', 'printer.service');
    assert.equal(await lab.property('printer.service', 'ActiveState'), 'active');
    await lab.systemctl('stop', 'printer.service');
    assert.deepEqual([await stateOf(lab), await tryPort(lab)], ['held', ''], `after stop ${round}`);
  }
}

labTest('a unit that runs portrelease works as it is', async (t) => {
  const units = { 'printer.service': unit('ExecStartPre=-/sbin/portrelease printer') };
  await withLab(t, { units, files }, async (lab) => {
    await assertComesAndGoes(lab);
    assert.equal(await lab.text(['readlink', '-f', '/sbin/portrelease']), '/usr/bin/berth-claim');
    const [claims, ends] = await Promise.all([
      lab.property('printer.service', 'ExecStartPre'),
      lab.property('printer.service', 'ExecStopPost'),
    ]);
    assert.equal(claims.match(/path=/g)?.length, 1, claims);
    assert.match(claims, /path=\/sbin\/portrelease/);
    assert.match(ends, /berth-claim --done printer/);
    await lab.waitForJournal(
      new RegExp(
        `^printer: released tcp \\*:${port}, udp \\*:${port}, free for anybody until printer.service`,
      ),
      { unit: 'berth.service' },
    );
    const warnings = await lab.text([
      'journalctl',
      '--no-pager',
      '-u',
      'berth.service',
      '-p',
      'err',
      '-o',
      'cat',
      '-q',
    ]);
    assert.equal(warnings, '');

    // A berthd that starts, and one that reads its files, leaves the port to the service that has it.
    await lab.systemctl('start', 'printer.service');
    await killBerthd(lab);
    assert.equal(await stateOf(lab), 'released');
    await lab.run(['berth', 'reload']);
    assert.equal(await stateOf(lab), 'released');
    await lab.systemctl('daemon-reload');
    await lab.systemctl('restart', 'berth.service');
    assert.equal(await stateOf(lab), 'released');
    assert.equal(
      await lab.text(['journalctl', '--no-pager', '-u', 'berth.service', '-p', 'err', '-o', 'cat', '-q']),
      '',
    );
    // The service's end is seen by each berthd that comes after it, too.
    await lab.run('systemctl kill --signal=KILL printer.service');
    await lab.waitForUnit('printer.service', 'failed');
    await lab.until('the port to be held', async () => ((await stateOf(lab)) === 'held' ? true : undefined));
    assert.equal(await tryPort(lab), '');
  });
});

labTest('a service that dies before it binds, or never does, gives its port back', async (t) => {
  const units = {
    'printer.service': `[Service]\nExecStartPre=/usr/sbin/portrelease printer\nExecStartPre=/bin/false\nExecStart=/bin/true\n`,
    'other.service': '[Service]\nExecStart=/bin/sleep infinity\n',
  };
  const more = { '/etc/berth/other.conf': `[Socket]\nListenStream=7632\n[Reservation]\nHandoff=release\n` };
  await withLab(t, { units, files: { ...files, ...more } }, async (lab) => {
    await lab.run(['systemctl', 'start', 'printer.service'], { allowFail: true });
    await lab.waitForUnit('printer.service', 'failed');
    assert.deepEqual([await stateOf(lab), await tryPort(lab)], ['held', '']);
    const released = new RegExp('^printer: released');
    await lab.waitForJournal(released, { unit: 'berth.service' });

    await lab.systemctl('start', 'other.service');
    assert.equal((await statusOf(lab, 'other')).state, 'released');
    await lab.systemctl('stop', 'other.service');
    assert.equal((await statusOf(lab, 'other')).state, 'held');
  });
});

labTest('what is released from a shell is taken back when the unit has run', async (t) => {
  const units = { 'printer.service': unit() };
  await withLab(t, { units, files }, async (lab) => {
    await lab.run(['portrelease', 'printer']);
    assert.deepEqual([await stateOf(lab), await tryPort(lab)], ['released', everything]);
    await lab.systemctl('start', 'printer.service');
    assert.equal(await stateOf(lab), 'released');
    await lab.systemctl('stop', 'printer.service');
    assert.deepEqual([await stateOf(lab), await tryPort(lab)], ['held', '']);

    await lab.run(['berth', 'release', 'printer']);
    assert.equal(await tryPort(lab), everything);
    await lab.run(['berth', 'reload']);
    assert.deepEqual([await stateOf(lab), await tryPort(lab)], ['held', '']);

    const refused = await lab.run(['berth', 'release', 'printer'], { allowFail: true, user: 'nobody' });
    assert.equal(refused.status, 5);
    assert.equal(await stateOf(lab), 'held');
  });
});

labTest("portreserve's own portrelease finds its socket, also while berthd is away", async (t) => {
  const old = '/usr/local/bin/old-portrelease';
  const units = {
    'printer.service': unit(`ExecStartPre=-${old} printer`, 'ExecStartPre=/bin/sleep 0.2'),
    'talker.service': `[Service]\nUser=nobody\nExecStart=/usr/bin/python3 ${talker}\n`,
    // In the place of the generator's, which would have its port released without its own doing.
    'talker.service.d/50-berth.conf': '',
  };
  const more = { [talker]: talk, '/etc/portreserve/talker': '7633\n' };
  const built = `${projectRoot}build/bin/old-portrelease`;
  if (!existsSync(built)) throw new Error(`${built} is not built`);
  const programs = { [old]: process.env['BERTH_PORTRELEASE'] ?? built };
  await withLab(t, { units, files: { ...files, ...more }, programs }, async (lab) => {
    // It is not known by its name, so that the generator has the unit ask for its port once more.
    await assertComesAndGoes(lab);
    await lab.run([old, 'printer']);
    await lab.until('the port to be free', async () =>
      (await tryPort(lab)) === everything ? true : undefined,
    );
    await lab.run(['berth', 'reload']);
    await lab.systemctl('kill', '--signal=STOP', 'berth.service');
    await lab.run([old, '*']);
    assert.equal(await tryPort(lab), '');
    await lab.systemctl('kill', '--signal=CONT', 'berth.service');
    await lab.until('the port to be free', async () =>
      (await tryPort(lab)) === everything ? true : undefined,
    );
    await lab.run(['berth', 'reload']);
    // Of another user, who is alive yet, only what is his unit's own counts.
    assert.equal((await statusOf(lab, 'talker')).state, 'held');
    await lab.systemctl('start', 'talker.service');
    await lab.until('the release', async () =>
      (await statusOf(lab, 'talker')).state === 'released' ? true : undefined,
    );
    assert.equal(await stateOf(lab), 'held');
    await lab.systemctl('stop', 'talker.service');
    await lab.until('the end', async () =>
      (await statusOf(lab, 'talker')).state === 'held' ? true : undefined,
    );
    // Nobody else is listened to, however much he says.
    const flood = `for i in $(seq 200); do ${old} printer; ${old} '*'; ${old} "$i"; done`;
    await lab.run(flood, { user: 'nobody' });
    assert.deepEqual([await stateOf(lab), await tryPort(lab)], ['held', '']);
    const said = await lab.text([
      'journalctl',
      '--no-pager',
      '-u',
      'berth.service',
      '-o',
      'cat',
      '-q',
      '--grep',
      "portreserve's socket",
    ]);
    assert.equal(said.split('\n').length, 1, said);
  });
});

/** What can lie in /run where systemd makes the socket, and what must be of it afterwards. */
const inTheWay = {
  'a link to a file': 'ln -s /srv/secret socket',
  'a link to nothing': 'ln -s /srv/nothing socket',
  'a file': 'cp -p /srv/secret socket',
  'a directory': 'mkdir socket',
  'a FIFO': 'mkfifo socket',
  'a link in the place of the directory': 'cd .. && rmdir portreserve && ln -s /srv portreserve',
};

labTest('what lies in the place of its socket is nobody’s loss', async (t) => {
  const secret = { text: 'root:secret\n', mode: 0o600 };
  await withLab(t, { files: { ...files, '/srv/secret': secret } }, async (lab) => {
    const socket = 'berth-portreserve.socket';
    for (const [what, make] of Object.entries(inTheWay)) {
      await lab.systemctl('stop', 'berth.service', socket);
      await lab.run('rm -rf /run/portreserve /srv/socket && mkdir /run/portreserve');
      await lab.run(`cd /run/portreserve && ${make}`);
      await lab.run(['systemctl', 'start', socket], { allowFail: true });
      // Reservations are held, and berth's own portrelease goes by the control socket.
      await lab.systemctl('start', 'berth.service');
      await assertComesAndGoesByHand(lab, what);
      assert.equal(
        await lab.text('cat /srv/secret; stat -c %a:%U /srv/secret'),
        'root:secret\n600:root',
        what,
      );
      assert.equal(existsSync(`/proc/${lab.init}/root/srv/nothing`), false);
    }
    await lab.systemctl('stop', 'berth.service', socket);
    await lab.run('rm -rf /run/portreserve /srv/socket');
    await lab.run(['systemctl', 'reset-failed', socket], { allowFail: true });
    await lab.systemctl('start', socket, 'berth.service');
    assert.equal(await lab.text(['stat', '-c', '%F:%a', '/run/portreserve/socket']), 'socket:666');
  });
});

async function assertComesAndGoesByHand(lab: Lab, what: string): Promise<void> {
  assert.deepEqual([await stateOf(lab), await tryPort(lab)], ['held', ''], what);
  await lab.run(['portrelease', 'printer']);
  assert.deepEqual([await stateOf(lab), await tryPort(lab)], ['released', everything], what);
  await lab.run(['berth', 'reload']);
  assert.deepEqual([await stateOf(lab), await tryPort(lab)], ['held', ''], what);
}

labTest('two services that share a port each have it while they run, as any user', async (t) => {
  const run = (name: string, number: number) =>
    `[Service]\nUser=nobody\nExecStartPre=-/sbin/portrelease ${name}\nExecStart=/usr/bin/python3 ${program} ${number}\n`;
  const units = { 'printer.service': run('printer', port), 'other.service': run('other', port + 1) };
  const shared = { '/etc/portreserve/other': `${port}/tcp\n${port + 1}/tcp\n` };
  await withLab(t, { units, files: { ...files, ...shared } }, async (lab) => {
    const states = async () => [(await statusOf(lab, 'other')).state, await stateOf(lab)];
    const common = async () => (await statusOf(lab, 'other')).sockets.map(({ state }) => state);
    await lab.systemctl('start', 'printer.service');
    assert.deepEqual(
      [await states(), await common()],
      [
        ['released', 'released'],
        ['released', 'held'],
      ],
    );
    await lab.systemctl('start', 'other.service');
    assert.deepEqual(await common(), ['released', 'released']);
    await killBerthd(lab);
    await lab.systemctl('stop', 'printer.service');
    assert.deepEqual(
      [await states(), await common()],
      [
        ['released', 'released'],
        ['released', 'released'],
      ],
    );
    await lab.systemctl('stop', 'other.service');
    assert.deepEqual(
      [await states(), await common()],
      [
        ['held', 'held'],
        ['held', 'held'],
      ],
    );
    assert.equal(await tryPort(lab), '');
  });
});

labTest('a service gets its port at each start, however often berthd is killed', async (t) => {
  const start = ['StartLimitIntervalSec=0', '[Service]', 'ExecStartPre=/sbin/portrelease printer'];
  const units = {
    'printer.service': `[Unit]\n${start.join('\n')}\nExecStart=/usr/bin/python3 ${program} ${port}\n`,
  };
  await withLab(t, { units, files }, async (lab) => {
    const restarts = async (): Promise<void> => {
      for (let round = 0; round < 15; round++) {
        await lab.systemctl('restart', 'printer.service');
        await lab.until(`service ${round} to listen`, async () => {
          const pid = await lab.property('printer.service', 'MainPID');
          const listening = await lab.text(['ss', '-Hlntp', 'sport', '=', `${port}`]);
          return listening.includes(`pid=${pid},`) ? true : undefined;
        });
      }
    };
    const kills = await whileKilled(lab, restarts, Math.random, 150);
    assert.ok(kills > 5, `berthd was killed ${kills} times`);
    await lab.until('the release to be known', async () =>
      (await stateOf(lab)) === 'released' ? true : undefined,
    );
    await lab.systemctl('stop', 'printer.service');
    await lab.until('the port to be held', async () => ((await stateOf(lab)) === 'held' ? true : undefined));
    assert.equal(await tryPort(lab), '');
  });
});
