import assert from 'node:assert/strict';
import { killBerthd, reservation, reservations } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';

const list = '/proc/sys/net/ipv4/ip_local_reserved_ports';
const blacklist = '/etc/bindresvport.blacklist';

function reservedPorts(lab: Lab): Promise<string> {
  return lab.text(['cat', list]);
}

/** What bindresvport(3) of libtirpc gives a program of root's. */
const bindresvport = `import ctypes, socket
libtirpc = ctypes.CDLL('libtirpc.so.3')
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
assert libtirpc.bindresvport(s.fileno(), None) == 0
print(s.getsockname()[1])
`;

labTest(
  "the kernel's list of reserved ports has berth's beside the admin's, as long as it is asked for",
  async (t) => {
    const options = {
      files: {
        '/etc/berth/berthd.conf': 'ReserveEphemeral=yes\n',
        '/etc/sysctl.d/lab.conf': 'net.ipv4.ip_local_reserved_ports = 44000,45001\n',
        ...reservations({
          web: reservation(
            ['ListenStream=45000', 'ListenDatagram=45001', 'ListenStream=80'],
            ['Handoff=none'],
          ),
        }),
      },
    };
    await withLab(t, options, async (lab) => {
      assert.equal(await reservedPorts(lab), '44000,45000-45001');
      await killBerthd(lab);
      await lab.until('berthd to be back', async () =>
        (await lab.property('berth.service', 'NRestarts')) === '1' &&
        (await lab.property('berth.service', 'ActiveState')) === 'active'
          ? true
          : undefined,
      );
      await lab.run(
        "printf '[Socket]\\nListenStream=46000\\n[Reservation]\\nHandoff=none\\n' >/etc/berth/web.conf",
      );
      await lab.run('berth reload');
      assert.equal(await reservedPorts(lab), '44000,45001,46000', "the admin's own 45001 stays");
      await lab.systemctl('restart', 'berth.service');
      assert.equal(await reservedPorts(lab), '44000,45001,46000');
      await lab.systemctl('stop', 'berth.service', 'berth.socket');
      assert.equal(await reservedPorts(lab), '44000,45001');
      await lab.systemctl('start', 'berth.service');
      await lab.run('rm /etc/berth/berthd.conf');
      await lab.run('berth reload');
      assert.equal(await reservedPorts(lab), '44000,45001');
      assert.equal(await lab.text('ls /run/berth'), 'control\ngenerator');
      assert.doesNotMatch(await lab.journal(), /cannot change/);
    });
  },
);

labTest('bindresvport() passes over what the blacklist has of berth', async (t) => {
  // All that it could choose, but two ports; berth's is one of them.
  const others = Array.from({ length: 512 }, (_, index) => 512 + index).filter(
    (port) => port !== 777 && port !== 778,
  );
  const own = `# mine\n${others.join('\n')}\n`;
  const options = {
    packages: ['libtirpc3'],
    files: {
      '/etc/berth/berthd.conf': `BindresvportBlacklist=${blacklist}\n`,
      [blacklist]: own,
      '/srv/bindresvport.py': bindresvport,
      ...reservations({ web: reservation(['ListenStream=777', 'ListenStream=8080'], ['Handoff=none']) }),
    },
  };
  await withLab(t, options, async (lab) => {
    assert.equal(await lab.text(['cat', blacklist]), `${own}777 # berth`);
    assert.equal(await lab.text('stat -c "%a %U" /etc/bindresvport.blacklist'), '644 root');
    // UDP 777 is free: only the file is in the way.
    const python = (await lab.text('command -v python3 || true')) !== '';
    if (python)
      for (let round = 0; round < 5; round++)
        assert.equal(await lab.text(['python3', '/srv/bindresvport.py']), '778');
    await lab.run(
      "printf '[Socket]\\nListenStream=8080\\n[Reservation]\\nHandoff=none\\n' >/etc/berth/web.conf",
    );
    await lab.run('berth reload');
    assert.equal(await lab.text(['cat', blacklist]), own.trim());
    if (python) assert.match(await lab.text(['python3', '/srv/bindresvport.py']), /^77[78]$/);
  });
});

for (const { root, of } of [
  { root: 'host', of: 'this machine' },
  { root: 'trixie', of: 'Debian 13' },
] as const) {
  labTest(`without a guard the sandbox of berthd is as tight as ever, on ${of}`, async (t) => {
    await withLab(t, { root }, async (lab) => {
      assert.equal(await reservedPorts(lab), '');
      const score = /level for berth\.service: ([0-9.]+)/.exec(
        await lab.text('systemd-analyze security --no-pager berth.service'),
      )?.[1];
      assert.ok(Number(score) <= 3, score);
      await lab.run('echo ReserveEphemeral=yes >/etc/berth/berthd.conf');
      await lab.run(
        `printf '${reservation(['ListenStream=45000'], ['Handoff=none']).replaceAll('\n', '\\n')}' >/etc/berth/web.conf`,
      );
      await lab.run('berth reload');
      assert.match(
        await lab.journal(),
        /cannot change net\.ipv4\.ip_local_reserved_ports: .*; berth\.service is opened for it by systemctl daemon-reload and a restart/,
      );
      await lab.systemctl('daemon-reload');
      await lab.systemctl('restart', 'berth.service');
      assert.equal(await reservedPorts(lab), '45000');
      const opened = /level for berth\.service: ([0-9.]+)/.exec(
        await lab.text('systemd-analyze security --no-pager berth.service'),
      )?.[1];
      assert.equal(opened, score, 'what is opened is one file');
    });
  });
}
