import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { diskBelow } from '../../../src/config/disk.js';
import { parseServices } from '../../../src/config/services.js';
import { formatMistake, type Reservation } from '../../../src/model/reservation.js';
import { reservationsInUnits, type UnitReservations } from '../../../src/generator/unit-reservations.js';
import { UnitSearch } from '../../../src/systemd/unit-search.js';
import { tree } from '../systemd/tree.js';

const system = 'usr/lib/systemd/system';

function found(context: TestContext, files: Readonly<Record<string, string>>): UnitReservations {
  return reservationsInUnits(new UnitSearch(diskBelow(tree(context, files))), parseServices('ipp 631/tcp\n'));
}

function only({ reservations, mistakes }: UnitReservations): Reservation {
  assert.deepEqual(mistakes.map(formatMistake), []);
  assert.equal(reservations.length, 1);
  const [first] = reservations;
  assert.ok(first !== undefined);
  return first;
}

function addresses({ sockets }: Reservation): string[] {
  return sockets.map(({ type, listen }) => `${type} ${listen}`);
}

describe('a .socket unit', () => {
  it('reserves what it does not activate on, and nothing else', (context) => {
    const text = [
      '[Unit]\nConditionPathExists=/x',
      '[Socket]\nListenStream=631\nListenFIFO=/run/fifo\nListenDatagramNoActivate=631',
      'X-ListenStreamNoActivate=127.0.0.1:ipp\nListenSequentialPacketNoActivate=@berth',
      'Accept=no\nMaxConnections=7\nFreeBind=yes\nReceiveBuffer=64K\nExecStartPre=/bin/true\nUser=lp',
    ].join('\n');
    const reservation = only(found(context, { [`${system}/cups.socket`]: text }));
    assert.deepEqual(addresses(reservation), ['datagram 631', 'stream 127.0.0.1:ipp', 'seqpacket @berth']);
    const { name, unit, fdName, handoff, options } = reservation;
    assert.deepEqual(
      { name, unit, fdName, handoff },
      { name: 'cups', unit: 'cups.service', fdName: 'cups.socket', handoff: 'store' },
    );
    assert.deepEqual([options.freeBind, options.receiveBuffer], [true, 65536]);
  });

  it('is for the service that it names, under the name that it gives', (context) => {
    const text = '[Socket]\nListenStreamNoActivate=1\nService=other.service\nFileDescriptorName=web\n';
    const { unit, fdName } = only(found(context, { [`${system}/x.socket`]: text }));
    assert.deepEqual([unit, fdName], ['other.service', 'web']);
  });

  it('keeps its own list, which only an empty directive of its own clears', (context) => {
    const files = {
      [`${system}/x.socket`]: '[Socket]\nListenStream=1\nListenStreamNoActivate=2\n',
      'etc/systemd/system/x.socket.d/a.conf': '[Socket]\nListenStream=\nListenStream=3\n',
    };
    assert.deepEqual(addresses(only(found(context, files))), ['stream 2']);
    const cleared = '[Socket]\nListenDatagramNoActivate=\nListenStreamNoActivate=4\n';
    const more = { ...files, 'etc/systemd/system/x.socket.d/b.conf': cleared };
    assert.deepEqual(addresses(only(found(context, more))), ['stream 4']);
  });

  it('is an instance of its template', (context) => {
    const files = {
      [`${system}/web@.socket`]: '[Socket]\nListenStream=/run/%i\n',
      'etc/systemd/system/web@one.socket': `-> /${system}/web@.socket`,
      'etc/systemd/system/web@one.socket.d/x.conf': '[Socket]\nListenStreamNoActivate=/run/berth-%i\n',
    };
    const reservation = only(found(context, files));
    assert.deepEqual([reservation.name, reservation.unit], ['web@one', 'web@one.service']);
    assert.deepEqual(reservation.sockets[0]?.address, { family: 'unix', path: '/run/berth-one' });
  });

  it('is refused with Accept=yes, which has no one service', (context) => {
    const files = {
      [`${system}/x.socket`]:
        '[Socket]\nListenStream=1\nListenDatagramNoActivate=\nListenDatagramNoActivate=1\n',
      'etc/systemd/system/x.socket.d/a.conf': '[Socket]\nAccept=yes\n',
    };
    const { reservations, mistakes, broken } = found(context, files);
    assert.deepEqual(mistakes.map(formatMistake), [
      `/${system}/x.socket:4: ListenDatagramNoActivate: with Accept=yes there is a service for each connection, and none that could get this socket: reserve it in a unit of its own`,
    ]);
    assert.deepEqual([reservations, broken], [[], ['x']]);
  });

  it('counts once, whatever names it has, and not when it is masked', (context) => {
    const text = '[Socket]\nListenStreamNoActivate=1\n';
    const files = {
      [`${system}/x.socket`]: text,
      [`${system}/alias.socket`]: '-> x.socket',
      [`${system}/gone.socket`]: text.replace('1', '2'),
      'run/systemd/system/gone.socket': '-> /dev/null',
    };
    assert.equal(only(found(context, files)).name, 'x');
  });

  it('says where it is wrong by the key that stands there', (context) => {
    const files = {
      [`${system}/x.socket`]: '[Socket]\n\nX-ListenStreamNoActivate=99999\nBacklog=x\n',
      [`${system}/y.socket`]: '[Socket]\nListenStreamNoActivate=5\n',
      [`${system}/y.service`]: '[X-Berth]\nListenStream=6\n',
    };
    const { reservations, mistakes, broken } = found(context, files);
    assert.deepEqual(mistakes.map(formatMistake), [
      `/${system}/x.socket:3: X-ListenStreamNoActivate: '99999' is not a port (1 to 65535)`,
      `/${system}/x.socket:4: Backlog: 'x' is not a number`,
      `/${system}/y.socket:2: 'y' is reserved already in /${system}/y.service`,
    ]);
    assert.deepEqual(broken, ['x']);
    assert.deepEqual(
      reservations.map(({ name, unit }) => [name, unit]),
      [['y', 'y.service']],
    );
  });
});

describe('a template', () => {
  const template = '[Socket]\nListenDatagramNoActivate=127.0.0.1:%i\n';

  it('reserves for each instance that is enabled, or has a file or drop-ins of its own', (context) => {
    const files = {
      [`${system}/web@.socket`]: template,
      'etc/systemd/system/web@1.socket': `-> /${system}/web@.socket`,
      'etc/systemd/system/web@2.socket.d/x.conf': '[Socket]\nBacklog=5\n',
      'etc/systemd/system/sockets.target.wants/web@3.socket': `-> /${system}/web@.socket`,
      'etc/systemd/system/sockets.target.wants/other@4.socket': `-> /${system}/other@.socket`,
      'etc/systemd/system/also@.socket': `-> /${system}/web@.socket`,
      'run/systemd/system/x.service.requires/also@5.socket': '-> /etc/systemd/system/also@.socket',
      [`${system}/db@.service`]: '[Service]\nExecStart=/bin/db\n',
      [`${system}/db@.service.d/x.conf`]: '[X-Berth]\nListenStream=127.0.0.1:%i\n',
      'etc/systemd/system/multi-user.target.wants/db@6.service': `-> /${system}/db@.service`,
    };
    const { reservations, mistakes } = found(context, files);
    assert.deepEqual(mistakes, []);
    assert.deepEqual(
      reservations.map((each) => [each.name, each.unit, ...addresses(each)]),
      [
        ['db@6', 'db@6.service', 'stream 127.0.0.1:6'],
        ['web@1', 'web@1.service', 'datagram 127.0.0.1:1'],
        ['web@2', 'web@2.service', 'datagram 127.0.0.1:2'],
        ['web@3', 'web@3.service', 'datagram 127.0.0.1:3'],
        ['web@5', 'web@5.service', 'datagram 127.0.0.1:5'],
      ],
    );
  });

  it('tells of a mistake once, and of itself when no instance is known', (context) => {
    const files = {
      [`${system}/web@.socket`]: template.replace('%i', 'x'),
      'etc/systemd/system/sockets.target.wants/web@1.socket': `-> /${system}/web@.socket`,
      'etc/systemd/system/sockets.target.wants/web@2.socket': `-> /${system}/web@.socket`,
      [`${system}/none@.socket`]: template,
    };
    const { reservations, mistakes, notes, broken } = found(context, files);
    assert.deepEqual([reservations, broken], [[], ['web@1', 'web@2']]);
    assert.deepEqual(mistakes.map(formatMistake), [
      `/${system}/web@.socket:2: ListenDatagramNoActivate: services(5) knows no 'x'`,
    ]);
    assert.deepEqual(notes.map(formatMistake), [
      `/${system}/none@.socket:2: nothing is reserved here: no instance of none@.socket is enabled, or has a file or drop-ins of its own`,
    ]);
  });
});

describe('a .service unit', () => {
  it('reserves in [X-Berth] with the keys of both sections', (context) => {
    const files = {
      [`${system}/db.service`]:
        '[Service]\nExecStart=/bin/db\nBacklog=no\n\n[X-Berth]\nListenStream=5432\nNoDelay=yes\n',
      [`${system}/db.service.d/x.conf`]:
        '[X-Berth]\nHandoff=lend\nWhileStopped=queue\nFileDescriptorName=sql\n',
    };
    const { name, unit, handoff, whileStopped, fdName, options } = only(found(context, files));
    assert.deepEqual(
      { name, unit, handoff, whileStopped, fdName, noDelay: options.noDelay },
      {
        name: 'db',
        unit: 'db.service',
        handoff: 'lend',
        whileStopped: 'queue',
        fdName: 'sql',
        noDelay: true,
      },
    );
  });

  it('makes no reservation by the mere word', (context) => {
    const text = '[Service]\nExecStart=/bin/echo NoActivate [X-Berth]\nListenStreamNoActivate=1\n';
    assert.deepEqual(found(context, { [`${system}/x.service`]: text }), {
      reservations: [],
      mistakes: [],
      broken: [],
      notes: [],
    });
  });
});
