import assert from 'node:assert/strict';
import { peer, peerAt, reservation, reservations, whileKilled } from './claims.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
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

const resolve = (port: number): string =>
  `for host in 127.0.0.1 ::1; do for how in +notcp +tcp; do
    dig -p ${port} +short +tries=1 +time=2 $how @$host host.lab; done; done`;
const resolved = /^(192\.0\.2\.7\n){3}192\.0\.2\.7$/;

/** From Debian, with Debian's own units but for slapd, which has a script of System V only; two again as of old. */
const services = {
  rsync: {
    unit: 'rsync.service',
    port: 873,
    protocol: 'tcp',
    program: 'rsync',
    check: 'rsync rsync://127.0.0.1/; rsync rsync://[::1]/',
    answer: /^lab\s+a module\nlab\s+a module$/,
    user: 'nobody',
  },
  slapd: {
    unit: 'slapd.service',
    port: 389,
    protocol: 'tcp',
    program: 'slapd',
    check: `for host in 127.0.0.1 [::1]; do ldapsearch -x -LLL -H ldap://$host -b '' -s base supportedLDAPVersion; done`,
    answer: /supportedLDAPVersion: 3[^]*supportedLDAPVersion: 3/,
    user: 'openldap',
  },
  named: {
    unit: 'named.service',
    port: 53,
    protocol: 'udp',
    program: 'named',
    check: resolve(53),
    answer: resolved,
    user: 'bind',
  },
  'rsync-forking': {
    unit: 'rsync-forking.service',
    port: 874,
    protocol: 'tcp',
    program: 'rsync',
    check: 'rsync rsync://127.0.0.1:874/; rsync rsync://[::1]:874/',
    answer: /^lab\s+a module\nlab\s+a module$/,
    user: 'nobody',
  },
  'named-forking': {
    unit: 'named-forking.service',
    port: 54,
    protocol: 'udp',
    program: 'named',
    check: resolve(54),
    answer: resolved,
    user: 'bind',
  },
  'cups-browsed': {
    unit: 'cups-browsed.service',
    port: 631,
    protocol: 'udp',
    program: 'cups-browsed',
    check: '/usr/local/bin/announce',
    answer: /^5 of 5$/,
  },
  node: {
    unit: 'node-server.service',
    port: 80,
    protocol: 'tcp',
    program: 'node',
    check: 'curl -sS http://127.0.0.1/; curl -sSg http://[::1]/',
    answer: /^by node\nby node$/,
    user: 'nobody',
  },
  static: {
    unit: 'static-server.service',
    port: 700,
    protocol: 'udp',
    program: 'peer',
    check: `${peer} ask tcp 127.0.0.1 700; ${peer} ask udp ::1 700`,
    answer: /"uid":65534[^\n]*\n[^\n]*"uid":65534/,
    user: 'nobody',
  },
} as const satisfies SupervisedTable;

const service = (lines: readonly string[]): string => `[Service]\n${lines.join('\n')}\n`;
const unprivileged = (user: string): string[] => [`User=${user}`, 'CapabilityBoundingSet='];

const units = {
  'rsync.service.d/user.conf': service(unprivileged('nobody')),
  'slapd.service': service([
    'ExecStart=/usr/sbin/slapd -d 0 -h ldap:/// -F /etc/ldap/slapd.d',
    'RuntimeDirectory=slapd',
    ...unprivileged('openldap'),
  ]),
  'named.service.d/user.conf': service(['RuntimeDirectory=named', ...unprivileged('bind')]),
  'rsync-forking.service': service([
    'Type=forking',
    'PIDFile=/run/rsyncd/pid',
    'RuntimeDirectory=rsyncd',
    'ExecStart=/usr/bin/rsync --daemon --config=/etc/rsyncd-forking.conf --port=874',
    ...unprivileged('nobody'),
  ]),
  'named-forking.service': service([
    'Type=forking',
    'PIDFile=/run/named-forking/pid',
    'RuntimeDirectory=named-forking',
    'ExecStart=/usr/sbin/named -c /etc/bind/named-forking.conf -p 54',
    ...unprivileged('bind'),
  ]),
  // It writes where only root may, and binds what only berthd may.
  'cups-browsed.service.d/capabilities.conf': service(['CapabilityBoundingSet=~CAP_NET_BIND_SERVICE']),
  'node-server.service': service([
    `ExecStart=/usr/bin/node -e "require('http').createServer((_, r) => r.end('by node\\\\n')).listen(80)"`,
    ...unprivileged('nobody'),
  ]),
  'static-server.service': service([
    `ExecStart=${peer} serve --bind :: 700 --notify`,
    'Type=notify',
    ...unprivileged('nobody'),
  ]),
};

/** Announces a printer five times, and counts how often the browser says so: no datagram may go to the held socket. */
const announce = `#!/bin/bash
said() { journalctl -q -o cat _PID=$(systemctl show -P MainPID cups-browsed.service) | grep -c 'browse packet received'; }
before=$(said)
for n in 1 2 3 4 5; do
  echo '6 3 ipp://192.0.2.9/printers/none "here" "nothing" "none"' >/dev/udp/127.0.0.1/631
done
for wait in $(seq 40); do
  [ $(said) -lt $((before + 5)) ] || break
  sleep 0.05
done
echo $(($(said) - before)) of 5
`;

const rsyncd = 'use chroot = no\n[lab]\n  path = /etc\n  comment = a module\n';
const zone = 'zone "lab" { type primary; file "/etc/bind/db.lab"; };\n';

const files = {
  '/usr/local/bin/announce': { text: announce, mode: 0o755 },
  '/etc/rsyncd.conf': rsyncd,
  '/etc/rsyncd-forking.conf': `pid file = /run/rsyncd/pid\n${rsyncd}`,
  '/etc/bind/named.conf.options':
    'options { directory "/var/cache/bind"; dnssec-validation no; listen-on-v6 { any; }; };\n',
  '/etc/bind/named.conf.local': zone,
  '/etc/bind/named-forking.conf': `options { directory "/var/cache/bind"; pid-file "/run/named-forking/pid";
  session-keyfile none; dnssec-validation no; listen-on-v6 { any; }; };
controls {};
${zone}`,
  '/etc/bind/db.lab': '$TTL 60\n@ SOA ns.lab. root.lab. 1 60 60 60 60\n  NS host\nhost A 192.0.2.7\n',
  '/etc/cups/cups-browsed.conf': 'BrowseRemoteProtocols cups\nBrowseAllow all\nDebugLogging stderr\n',
};

const cupsUnits = ['cups.service', 'cups.socket', 'cups.path'];

function options(): LabOptions {
  const thieves = thievesFor(services);
  return {
    name: 'supervised',
    packages: ['rsync', 'slapd', 'ldap-utils', 'bind9', 'bind9-dnsutils', 'cups-browsed'],
    keep: [...cupsUnits, 'rsync.service', 'named.service', 'cups-browsed.service'],
    units: { ...thieves.units, ...startLimits(services), ...units },
    programs: { ...thieves.programs, ...peerAt() },
    files: {
      ...files,
      ...reservations({
        ...reserveFor(services),
        rndc: reservation(
          ['ListenStream=127.0.0.1:953', 'ListenStream=[::1]:953'],
          ['Service=named.service', 'Handoff=bind'],
        ),
        // As CUPS has it: the scheduler TCP 631 from PID 1, what browses UDP 631 by itself.
        cups: reservation(['ListenStream=127.0.0.1:631', 'ListenStream=[::1]:631']),
        'cups-browsed': reservation(['ListenDatagram=631'], ['Handoff=bind']),
      }),
    },
  };
}

const all: readonly (readonly [string, Supervised])[] = Object.entries(services);

labTest(`eight services that bind by themselves keep their ports over ${restarts} restarts`, async (t) => {
  await withLab(t, options(), async (lab: Lab) => {
    for (const [name, each] of all) t.diagnostic(await restartUnderThieves(lab, name, each));
    const kills = await whileKilled(lab, async () => {
      for (const [, each] of all) {
        await lab.systemctl('restart', each.unit);
        await assertServes(lab, each);
      }
    });
    for (const [, each] of all) await assertServes(lab, each);
    t.diagnostic(`berthd killed ${kills} times`);
    assert.equal(await lab.systemctl('--failed', '--no-legend'), '');
  });
});

labTest(
  `rsync keeps its port with systemd 257, over ${restarts} restarts`,
  async (t) => {
    const { rsync } = services;
    const thieves = thievesFor({ rsync });
    const options: LabOptions = {
      name: 'supervised-257',
      root: 'trixie',
      packages: ['rsync'],
      units: {
        ...thieves.units,
        ...startLimits({ rsync }),
        'rsync.service.d/user.conf': units['rsync.service.d/user.conf'],
      },
      programs: { ...thieves.programs, ...peerAt() },
      files: { '/etc/rsyncd.conf': rsyncd, ...reservations(reserveFor({ rsync })) },
    };
    await withLab(t, options, async (lab) => {
      assert.match(await lab.systemctl('--version'), /^systemd 257 /);
      t.diagnostic(await restartUnderThieves(lab, 'rsync', rsync));
    });
  },
  { programs: { debootstrap: 'debootstrap' } },
);

const javaServer = `import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

class Server {
  public static void main(String[] arguments) throws Exception {
    HttpServer server = HttpServer.create(new InetSocketAddress(81), 0);
    server.createContext("/", exchange -> {
      byte[] text = "by java\\n".getBytes();
      exchange.sendResponseHeaders(200, text.length);
      exchange.getResponseBody().write(text);
      exchange.close();
    });
    server.start();
  }
}
`;

const java = {
  unit: 'java-server.service',
  port: 81,
  protocol: 'tcp',
  program: 'java',
  check: 'curl -sS http://127.0.0.1:81/; curl -sSg http://[::1]:81/',
  answer: /^by java\nby java$/,
  user: 'nobody',
} as const satisfies Supervised;

labTest(`a Java server keeps its port over ${restarts} restarts`, async (t) => {
  const thieves = thievesFor({ java });
  const options = {
    name: 'supervised-java',
    packages: ['openjdk-17-jdk-headless'],
    units: {
      ...thieves.units,
      ...startLimits({ java }),
      'java-server.service': service([
        'ExecStart=/usr/bin/java -Xshare:auto -XX:TieredStopAtLevel=1 -cp /srv/java Server',
        'SuccessExitStatus=143',
        ...unprivileged('nobody'),
      ]),
    },
    programs: { ...thieves.programs, ...peerAt() },
    files: { '/srv/java/Server.java': javaServer, ...reservations(reserveFor({ java })) },
  };
  await withLab(t, options, async (lab) => {
    await lab.run(['javac', '-d', '/srv/java', '/srv/java/Server.java']);
    t.diagnostic(await restartUnderThieves(lab, 'java', java));
  });
});
