import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { reservationKeys, socketKeys } from '../../../src/config/keys.js';
import { buildReservation, type Built } from '../../../src/config/reservation.js';
import { parseServices } from '../../../src/config/services.js';
import { parseSyntax } from '../../../src/config/syntax.js';
import { formatMistake, type Reservation, type SocketOptions } from '../../../src/model/reservation.js';

const services = parseServices('ipp 631/tcp\nipp 631/udp\n');

function build(text: string, name = 'cups', ...dropIns: string[]): Built {
  const files = [text, ...dropIns].map((content, index) =>
    parseSyntax(index === 0 ? 'main' : `drop-in-${index}`, Buffer.from(content)),
  );
  return buildReservation(name, { file: 'main', line: 1 }, files, services);
}

function good(text: string, name?: string, ...dropIns: string[]): Reservation {
  const { reservation, mistakes } = build(text, name, ...dropIns);
  assert.deepEqual(mistakes.map(formatMistake), []);
  assert.ok(reservation);
  return reservation;
}

function mistakes(text: string, name?: string, ...dropIns: string[]): string[] {
  const built = build(text, name, ...dropIns);
  assert.equal(built.reservation, undefined);
  return built.mistakes.map(formatMistake);
}

const defaults: SocketOptions = {
  bindIPv6Only: 'default',
  backlog: 4294967295,
  freeBind: false,
  transparent: false,
  reusePort: false,
  broadcast: false,
  keepAlive: false,
  noDelay: false,
  passCredentials: false,
  passPacketInfo: false,
  socketMode: 0o666,
  directoryMode: 0o755,
  symlinks: [],
  removeOnStop: false,
};

describe('buildReservation', () => {
  it("has systemd's defaults, and berth's", () => {
    assert.deepEqual(good('[Socket]\nListenStream=631\n'), {
      name: 'cups',
      sockets: [
        {
          type: 'stream',
          address: { family: 'any', port: 631 },
          listen: '631',
          at: { file: 'main', line: 2 },
        },
      ],
      options: defaults,
      fdName: 'cups',
      unit: 'cups.service',
      handoff: 'store',
      whileStopped: 'refuse',
      at: { file: 'main', line: 1 },
    });
  });

  it('reads every key', () => {
    const { options, ...rest } = good(`
[Socket]
ListenStream=631
ListenDatagram=631
ListenSequentialPacket=/run/x
SocketProtocol=udplite
BindIPv6Only=ipv6-only
Backlog=5
BindToDevice=eth0
FreeBind=yes
Transparent=yes
ReusePort=yes
Broadcast=yes
KeepAlive=yes
KeepAliveTimeSec=1min
KeepAliveIntervalSec=10
KeepAliveProbes=3
NoDelay=yes
DeferAcceptSec=30
TCPCongestion=reno
IPTOS=low-delay
IPTTL=64
Mark=7
Priority=6
SendBuffer=64K
ReceiveBuffer=1M
PassCredentials=yes
PassPacketInfo=yes
SocketUser=lp
SocketGroup=lpadmin
SocketMode=0660
DirectoryMode=0700
Symlinks=/run/y "/run/z z"
RemoveOnStop=yes
FileDescriptorName=ipp
[Reservation]
Service=org.cups.cupsd.service
Handoff=bind
WhileStopped=queue
`);
    assert.deepEqual(options, {
      bindIPv6Only: 'ipv6-only',
      backlog: 5,
      bindToDevice: 'eth0',
      freeBind: true,
      transparent: true,
      reusePort: true,
      broadcast: true,
      keepAlive: true,
      keepAliveTime: 60,
      keepAliveInterval: 10,
      keepAliveProbes: 3,
      noDelay: true,
      deferAccept: 30,
      tcpCongestion: 'reno',
      ipTos: 16,
      ipTtl: 64,
      mark: 7,
      priority: 6,
      sendBuffer: 65536,
      receiveBuffer: 1048576,
      passCredentials: true,
      passPacketInfo: true,
      socketUser: 'lp',
      socketGroup: 'lpadmin',
      socketMode: 0o660,
      directoryMode: 0o700,
      symlinks: ['/run/y', '/run/z z'],
      removeOnStop: true,
    } satisfies SocketOptions);
    assert.equal(rest.fdName, 'ipp');
    assert.equal(rest.unit, 'org.cups.cupsd.service');
    assert.equal(rest.handoff, 'bind');
    assert.equal(rest.whileStopped, 'queue');
    assert.deepEqual(
      rest.sockets.map(({ type, protocol }) => [type, protocol]),
      [
        ['stream', undefined],
        ['datagram', 'udplite'],
        ['seqpacket', undefined],
      ],
    );
  });

  for (const handoff of ['store', 'exec', 'bind', 'lend', 'release', 'none']) {
    it(`takes Handoff=${handoff}`, () => {
      assert.equal(good(`[Socket]\nListenStream=1\n[Reservation]\nHandoff=${handoff}`).handoff, handoff);
    });
  }

  it('forgets the addresses of all kinds at an empty Listen line', () => {
    const { sockets } = good('[Socket]\nListenStream=1\nListenDatagram=2\nListenStream=\nListenStream=3\n');
    assert.deepEqual(
      sockets.map(({ listen }) => listen),
      ['3'],
    );
  });

  const resets: [string, (reservation: Reservation) => unknown, unknown][] = [
    ['BindToDevice=eth0\nBindToDevice=', ({ options }) => 'bindToDevice' in options, false],
    ['BindToDevice=eth0\nBindToDevice=*', ({ options }) => 'bindToDevice' in options, false],
    ['Symlinks=/a /b\nSymlinks=', ({ options }) => options.symlinks, []],
    ['IPTOS=4\nIPTOS=', ({ options }) => 'ipTos' in options, false],
    ['IPTTL=4\nIPTTL=-1', ({ options }) => 'ipTtl' in options, false],
    ['TCPCongestion=x\nTCPCongestion=', ({ options }) => 'tcpCongestion' in options, false],
    ['SocketUser=x\nSocketUser=', ({ options }) => 'socketUser' in options, false],
    ['FileDescriptorName=x\nFileDescriptorName=', ({ fdName }) => fdName, 'cups'],
    ['KeepAliveTimeSec=4\nKeepAliveTimeSec=0', ({ options }) => 'keepAliveTime' in options, false],
    ['KeepAliveProbes=4\nKeepAliveProbes=0', ({ options }) => 'keepAliveProbes' in options, false],
    ['SendBuffer=4\nSendBuffer=0', ({ options }) => 'sendBuffer' in options, false],
    ['BindIPv6Only=yes', ({ options }) => options.bindIPv6Only, 'ipv6-only'],
    ['BindIPv6Only=no', ({ options }) => options.bindIPv6Only, 'both'],
    ['NoDelay=yes\nNoDelay=no', ({ options }) => options.noDelay, false],
  ];
  for (const [lines, pick, expected] of resets) {
    it(`reads ${lines.replaceAll('\n', ', then ')}`, () => {
      assert.deepEqual(pick(good(`[Socket]\nListenStream=/run/x\n${lines}\n`)), expected);
    });
  }

  it('lets later files change what earlier ones say', () => {
    const reservation = good(
      '[Socket]\nListenStream=1\nBacklog=1\nNoDelay=yes\n',
      'cups',
      '[Socket]\nListenStream=2\nBacklog=2\n',
      '[Reservation]\nHandoff=none\n',
    );
    assert.deepEqual(
      reservation.sockets.map(({ listen, at }) => [listen, at.file, at.line]),
      [
        ['1', 'main', 2],
        ['2', 'drop-in-1', 2],
      ],
    );
    assert.equal(reservation.options.backlog, 2);
    assert.equal(reservation.options.noDelay, true);
    assert.equal(reservation.handoff, 'none');
  });

  it('resolves the specifiers that a name has', () => {
    const { sockets, fdName, unit } = good(
      '[Socket]\nListenStream=%t/%p/%i\nListenStream=[fe80::1]:22%%eth0\nListenStream=[fe80::1]:23%br0\nFileDescriptorName=%N 100%%\n',
      'a@b-c',
    );
    assert.deepEqual(
      sockets.map(({ address }) => address),
      [
        { family: 'unix', path: '/run/a/b-c' },
        { family: 'inet6', host: 'fe80::1', port: 22, scope: 'eth0' },
        { family: 'inet6', host: 'fe80::1', port: 23, scope: 'br0' },
      ],
    );
    assert.equal(fdName, 'a@b-c 100%');
    assert.equal(unit, 'a@b-c.service');
  });

  it('reads a .socket file that was copied over', () => {
    const { sockets, unit } = good(`[Unit]
Description=CUPS Scheduler
PartOf=cups.service
Before=sockets.target

[Socket]
ListenStream=/run/cups/cups.sock
Accept=no
FlushPending=false
Timestamping=off
PassSecurity=no
X-Vendor=anything

[Install]
WantedBy=sockets.target

[X-Vendor]
Anything=goes
`);
    assert.deepEqual(
      sockets.map(({ listen }) => listen),
      ['/run/cups/cups.sock'],
    );
    assert.equal(unit, 'cups.service');
  });

  const stream = '[Socket]\nListenStream=631\n';
  const wrong: [what: string, text: string, messages: string[]][] = [
    ['nothing to hold', '[Reservation]\nHandoff=none\n', ['main:1: nothing to hold: there is no ListenStream=, ListenDatagram= or ListenSequentialPacket= in [Socket]']], // prettier-ignore
    ['an empty file but for a comment', '# nothing\n', ['main:1: nothing to hold: there is no ListenStream=, ListenDatagram= or ListenSequentialPacket= in [Socket]']], // prettier-ignore
    ['an unknown key', `${stream}Foo=1\n`, ['main:3: Foo: unknown key in [Socket]']],
    ['a misspelt key', `${stream}KeepAlve=yes\n`, ['main:3: KeepAlve: unknown key in [Socket]: did you mean KeepAlive=?']], // prettier-ignore
    ['a key in the wrong case', `${stream}nodelay=yes\n`, ['main:3: nodelay: unknown key in [Socket]: did you mean NoDelay=?']], // prettier-ignore
    [
      'a key of the other section',
      `${stream}Handoff=none\n`,
      ['main:3: Handoff: this key belongs to [Reservation]'],
    ],
    ['and the other way round', `${stream}[Reservation]\nListenStream=1\n`, ['main:4: ListenStream: this key belongs to [Socket]']], // prettier-ignore
    ['an unknown section, once', `${stream}[Sockets]\nA=b\nC=d\n`, ["main:3: the section '[Sockets]' is unknown: did you mean [Socket]?"]], // prettier-ignore
    ['a [Service] section', `${stream}[Service]\nUser=x\n`, ["main:3: the section '[Service]' is unknown: a reservation has [Socket] and [Reservation]"]], // prettier-ignore
    ['a missing value', `${stream}NoDelay=\n`, ['main:3: NoDelay: the value is missing']],
    ['a bad value', `${stream}NoDelay=maybe\n`, ["main:3: NoDelay: 'maybe' is not a boolean (yes or no)"]],
    ['a TTL that no packet has', `${stream}IPTTL=0\n`, ['main:3: IPTTL: 0 is out of range (1 to 255)']],
    ['an unknown handoff', `${stream}[Reservation]\nHandoff=give\n`, ["main:4: Handoff: 'give' is none of store, exec, bind, lend, release, none"]], // prettier-ignore
    ['a unit that is no service', `${stream}[Reservation]\nService=cups.socket\n`, ["main:4: Service: 'cups.socket' does not end in .service"]], // prettier-ignore
    ['a template as unit', `${stream}[Reservation]\nService=cups@.service\n`, ["main:4: Service: 'cups@.service' is a template: name one instance of it"]], // prettier-ignore
    ['a unit with a path', `${stream}[Reservation]\nService=/etc/cups.service\n`, ["main:4: Service: '/etc/cups.service' is not a valid unit name"]], // prettier-ignore
    ['Accept=yes', `${stream}Accept=yes\n`, ['main:3: Accept: it starts an instance for each connection, and berth never starts anything because of traffic; keep such a service in a .socket unit']], // prettier-ignore
    [
      'Accept= with nonsense',
      `${stream}Accept=maybe\n`,
      ["main:3: Accept: 'maybe' is not a boolean (yes or no)"],
    ],
    ['Timestamping=', `${stream}Timestamping=us\n`, ['main:3: Timestamping: berth does not set SO_TIMESTAMP; the service can, on the socket that it gets']], // prettier-ignore
    ['an activation limit', `${stream}TriggerLimitBurst=5\n`, ['main:3: TriggerLimitBurst: it limits activation, and berth never starts anything because of traffic; remove it']], // prettier-ignore
    ['Service= in [Socket]', `${stream}Service=x.service\n`, ['main:3: Service: here it would name what traffic starts; move it to [Reservation], where it names who gets the sockets']], // prettier-ignore
    ['a FIFO', '[Socket]\nListenFIFO=/run/f\nListenStream=1', ['main:2: ListenFIFO: berth holds sockets of TCP, UDP and AF_UNIX, and nothing else can take a FIFO; keep it in a .socket unit']], // prettier-ignore
    ['a key for commands', `${stream}User=x\n`, ['main:3: User: it is about the commands of a .socket unit, and a reservation runs no commands; remove it']], // prettier-ignore
    ['a condition', `[Unit]\nConditionPathExists=/x\n${stream}`, ['main:2: ConditionPathExists: berth checks no conditions: a reservation is held always, or masked (see berth.conf(5))']], // prettier-ignore
    ['links without a path', `${stream}Symlinks=/run/a\n`, ['main:3: Symlinks: the links need exactly one socket with a path to point to, and there are 0']], // prettier-ignore
    ['links with two paths', '[Socket]\nListenStream=/a\nListenStream=/b\nSymlinks=/run/a\n', ['main:4: Symlinks: the links need exactly one socket with a path to point to, and there are 2']], // prettier-ignore
    [
      'a relative link',
      '[Socket]\nListenStream=/a\nSymlinks=b\n',
      ["main:3: Symlinks: 'b' is not an absolute path"],
    ],
    ['an unknown specifier', '[Socket]\nListenStream=%h/x\n', ["main:2: ListenStream: the specifier '%h' means nothing in a reservation (write '%%' for a percent sign)"]], // prettier-ignore
    ['every mistake at once, in the order of the lines', '[Socket]\nListenStream=0\nA=b\nListenDatagram=::1\nNoDelay=x\nlost\n', [
      'main:2: ListenStream: port 0 means any free port, and cannot be reserved',
      'main:3: A: unknown key in [Socket]',
      'main:4: ListenDatagram: an IPv6 address needs brackets and a port: [::1]:PORT',
      "main:5: NoDelay: 'x' is not a boolean (yes or no)",
      "main:6: 'lost' has no '=': neither KEY=VALUE nor a [section] nor a comment",
    ]], // prettier-ignore
  ];
  for (const [what, text, messages] of wrong) {
    it(`reports ${what}`, () => {
      assert.deepEqual(mistakes(text), messages);
    });
  }

  it('names the drop-in that a mistake is in', () => {
    assert.deepEqual(mistakes(stream, 'cups', '\n[Socket]\nBacklog=x\n'), [
      "drop-in-1:3: Backlog: 'x' is not a number",
    ]);
  });

  const names: [string, RegExp][] = [
    ['a b', /'a b' cannot name a reservation: letters/],
    ['berthd', /the daemon's own/],
    ['getty@', /template.*link getty@INSTANCE\.conf to it/],
    ['@x', /nothing is before the '@'/],
    ['', /cannot name/],
    ['ä', /cannot name/],
    ['x'.repeat(250), /not a valid unit name/],
  ];
  for (const [name, message] of names) {
    it(`refuses the name '${name.slice(0, 20)}'`, () => {
      assert.match(mistakes(stream, name).join('\n'), message);
    });
  }

  it('stops at a hundred mistakes', () => {
    const messages = mistakes(stream + 'Foo=1\n'.repeat(100_000));
    assert.equal(messages.length, 101);
    assert.match(messages.at(-1) ?? '', /too many mistakes/);
  });

  it('knows each key in its own section only', () => {
    assert.deepEqual(
      [...socketKeys.keys()].filter((key) => reservationKeys.has(key)),
      [],
    );
  });
});
