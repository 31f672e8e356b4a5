import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { loadConfiguration, loadFiles } from '../../../src/config/load.js';
import { parseServices } from '../../../src/config/services.js';
import { defaultSettings } from '../../../src/config/settings.js';
import { formatMistake } from '../../../src/model/reservation.js';
import { memory, unreadable } from './memory.js';

const services = parseServices('ipp 631/tcp\n');

function load(files: Record<string, string | Error>) {
  const { reservations, mistakes, broken, settings } = loadConfiguration(
    memory(files),
    ['/e', '/u'],
    services,
  );
  return {
    names: reservations.map(({ name }) => name),
    mistakes: mistakes.map(formatMistake),
    broken,
    settings,
  };
}

const stream = (port: number | string, more = '') => `[Socket]\nListenStream=${port}\n${more}`;

describe('loadConfiguration', () => {
  it('has nothing to say about nothing', () => {
    assert.deepEqual(load({}), { names: [], mistakes: [], broken: [], settings: defaultSettings });
  });

  it('returns the good ones and reports every mistake of the bad ones', () => {
    assert.deepEqual(
      load({
        '/e/a.conf': stream(1),
        '/e/b.conf': stream(0, 'Foo=1\n'),
        '/e/c.conf': unreadable,
        '/e/d e.conf': stream(2),
        '/u/f.conf': stream('ipp'),
        '/u/f.conf.d/1.conf': unreadable,
        '/u/g.conf': stream(4),
        '/u/g.conf.d/1.conf': '[Socket]\nx',
        '/u/h.conf': stream(5),
      }),
      {
        names: ['a', 'h'],
        mistakes: [
          '/e/b.conf:2: ListenStream: port 0 means any free port, and cannot be reserved',
          '/e/b.conf:3: Foo: unknown key in [Socket]',
          '/e/c.conf:1: cannot be read: permission denied (EACCES)',
          "/e/d e.conf:1: 'd e' cannot name a reservation: letters, digits and any of _ . @ - may",
          '/u/f.conf.d/1.conf:1: cannot be read: permission denied (EACCES)',
          "/u/g.conf.d/1.conf:2: 'x' has no '=': neither KEY=VALUE nor a [section] nor a comment",
        ],
        broken: ['b', 'c', 'd e', 'f', 'g'],
        settings: defaultSettings,
      },
    );
  });

  it('applies drop-ins, of an earlier directory to a later one as well', () => {
    const source = memory({
      '/u/a.conf': stream(1),
      '/e/a.conf.d/x.conf': '[Socket]\nListenStream=\nListenStream=2\n',
    });
    const [reservation] = loadConfiguration(source, ['/e', '/u'], services).reservations;
    assert.deepEqual(
      reservation?.sockets.map(({ listen, at }) => [listen, at.file, at.line]),
      [['2', '/e/a.conf.d/x.conf', 3]],
    );
    assert.deepEqual(reservation.at, { file: '/u/a.conf', line: 1 });
  });

  it('reads berthd.conf as settings, not as a reservation', () => {
    const { names, mistakes, broken, settings } = load({
      '/e/berthd.conf': 'LogLevel=debug\nPeerTimeoutSec=x\n',
      '/u/berthd.conf': 'PeerTimeoutSec=3\n',
      '/e/a.conf': stream(1),
    });
    assert.deepEqual(names, ['a']);
    assert.deepEqual(broken, []);
    assert.deepEqual(settings, {
      logLevel: 'debug',
      peerTimeoutSec: 10,
      idleExitSec: 0,
      reserveEphemeral: false,
    });
    assert.deepEqual(mistakes, [
      "/e/berthd.conf:2: PeerTimeoutSec: 'x' is not a time span (such as 30, 500ms or 1min 30s)",
    ]);
  });

  it('reports settings that cannot be read once, and goes on with the defaults', () => {
    const { mistakes, settings } = load({ '/e/berthd.conf': unreadable, '/u/berthd.conf': 'LogLevel=err' });
    assert.deepEqual(mistakes, ['/e/berthd.conf:1: cannot be read: permission denied (EACCES)']);
    assert.deepEqual(settings, defaultSettings);
  });

  it('takes masked settings for none', () => {
    assert.deepEqual(
      load({ '/e/berthd.conf': '', '/u/berthd.conf': 'LogLevel=err' }).settings,
      defaultSettings,
    );
  });

  const shared: [string, string, string | undefined][] = [
    [stream(1), stream(1), 'tcp *:1'],
    [stream(1), stream('[::]:1'), 'tcp [::]:1'],
    [stream('[::1]:1'), stream('[0::1]:1'), 'tcp [::1]:1'],
    [stream('ipp'), stream(631), 'tcp *:631'],
    [stream('/run/x'), '[Socket]\nListenDatagram=/var/run/x\n', 'unix-dgram /run/x'],
    [stream('@x'), stream('@x'), 'unix @x'],
    [stream(1), stream(1, 'SocketProtocol=mptcp\n'), 'mptcp *:1'],
    [stream(1, 'BindToDevice=lo\n'), stream(1, 'BindToDevice=lo\n'), 'tcp *:1'],
    [stream(1, 'ReusePort=yes\n'), stream(1), 'tcp *:1'],
    [stream(1), '[Socket]\nListenDatagram=1\n', undefined],
    [stream(1), stream(1, 'SocketProtocol=sctp\n'), undefined],
    [stream(1), stream('0.0.0.0:1'), undefined],
    [stream('127.0.0.1:1'), stream('127.0.0.2:1'), undefined],
    [stream('@x'), '[Socket]\nListenDatagram=@x\n', undefined],
    [stream('[fe80::1]:1%a'), stream('[fe80::1]:1%b'), undefined],
    [stream(1, 'BindToDevice=lo\n'), stream(1, 'BindToDevice=eth0\n'), undefined],
    [stream(1, 'ReusePort=yes\n'), stream(1, 'ReusePort=yes\n'), undefined],
  ];
  for (const [a, b, socket] of shared) {
    it(`${socket === undefined ? 'lets' : 'reports'} ${JSON.stringify(a)} beside ${JSON.stringify(b)}`, () => {
      const { names, mistakes, broken } = load({ '/e/a.conf': a, '/e/b.conf': b });
      const key = b.includes('Datagram') ? 'ListenDatagram' : 'ListenStream';
      assert.deepEqual(
        mistakes,
        socket === undefined
          ? []
          : [`/e/b.conf:2: ${key}: ${socket} is reserved already by 'a' (/e/a.conf:2)`],
      );
      assert.deepEqual(broken, socket === undefined ? [] : ['b']);
      assert.deepEqual(names, socket === undefined ? ['a', 'b'] : ['a']);
    });
  }

  it('reports a socket that stands twice in one reservation', () => {
    assert.deepEqual(load({ '/e/a.conf': stream(1, 'ListenStream=1\n') }).mistakes, [
      '/e/a.conf:3: ListenStream: tcp *:1 is reserved already by this reservation (/e/a.conf:2)',
    ]);
  });
});

describe('loadFiles', () => {
  const check = (files: Record<string, string | Error>, ...paths: string[]) => {
    const { reservations, mistakes, broken } = loadFiles(memory(files), paths, services);
    return { names: reservations.map(({ name }) => name), mistakes: mistakes.map(formatMistake), broken };
  };

  it('reads just the files named, with the drop-ins beside them', () => {
    assert.deepEqual(
      check(
        { '/x/a.conf': stream(1), '/x/a.conf.d/1.conf': '[Socket]\nFoo\n', '/x/b.conf': stream(0) },
        '/x/a.conf',
      ),
      {
        names: [],
        mistakes: ["/x/a.conf.d/1.conf:2: 'Foo' has no '=': neither KEY=VALUE nor a [section] nor a comment"],
        broken: ['a'],
      },
    );
  });

  it('finds what two of them share', () => {
    const { mistakes } = check({ '/x/a.conf': stream(1), '/x/b.conf': stream(1) }, '/x/a.conf', '/x/b.conf');
    assert.match(mistakes.join(), /reserved already by 'a'/);
  });

  it('reports a file that is not there, and one with another ending', () => {
    assert.deepEqual(check({}, '/x/a.conf', '/x/b').mistakes, [
      "/x/b:1: the file's name does not end in .conf",
      '/x/a.conf:1: there is no such file',
    ]);
  });

  it('takes a file that is named twice once', () => {
    assert.deepEqual(check({ 'a.conf': stream(1) }, 'a.conf', 'a.conf').mistakes, []);
  });

  it('checks berthd.conf as settings', () => {
    assert.deepEqual(check({ 'x/berthd.conf': 'LogLvel=info' }, 'x/berthd.conf').mistakes, [
      'x/berthd.conf:1: LogLvel: unknown key: did you mean LogLevel=?',
    ]);
    assert.deepEqual(check({}, 'berthd.conf').mistakes, ['berthd.conf:1: there is no such file']);
  });
});
