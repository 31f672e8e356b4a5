import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { sharedSockets } from '../../../src/config/conflicts.js';
import { loadConfiguration } from '../../../src/config/load.js';
import { parsePortreserve } from '../../../src/config/portreserve.js';
import { parseServices } from '../../../src/config/services.js';
import { formatMistake } from '../../../src/model/reservation.js';
import { memory, unreadable } from './memory.js';

const services = parseServices('ipp 631/tcp\nipp 631/udp\nldaps 636/tcp\nsnmp 161/udp\nodd 99/sctp\n');

function read(text: string): { ports: string[]; mistakes: string[] } {
  const { sockets, mistakes } = parsePortreserve('/p/x', text, services);
  const ports = sockets.map(({ type, address }) => {
    assert.ok(address.family === 'any');
    return `${address.port}/${type === 'stream' ? 'tcp' : 'udp'}`;
  });
  return { ports, mistakes: mistakes.map(formatMistake) };
}

describe('parsePortreserve', () => {
  const good: readonly (readonly [string, readonly string[]])[] = [
    ['ipp\n', ['631/tcp', '631/udp']],
    ['ipp/tcp\nipp/udp\n', ['631/tcp', '631/udp']],
    ['ipp/udp', ['631/udp']],
    ['ldaps\n', ['636/tcp']],
    ['snmp\n', ['161/udp']],
    ['993/tcp\r\n 995 \n', ['993/tcp', '995/tcp', '995/udp']],
    ['0631/tcp\n', ['631/tcp']],
    ['\n# ipp\n\n', []],
    ['', []],
    ['631\nipp\n631/tcp\n', ['631/tcp', '631/udp']],
  ];
  for (const [text, ports] of good) {
    it(`reads ${JSON.stringify(text)}`, () => {
      assert.deepEqual(read(text), { ports, mistakes: [] });
    });
  }

  it('tells each mistake with its line, and takes the other lines', () => {
    const text = 'ipp/tcp\nno-such\n0\n65536\nipp/sctp\nldaps/udp\nodd\nipp / tcp\n/tcp\n7 8\n\0\nsnmp\n';
    assert.deepEqual(read(text), {
      ports: ['631/tcp', '161/udp'],
      mistakes: [
        "/p/x:2: services(5) knows no 'no-such'",
        "/p/x:3: '0' is not a port (1 to 65535)",
        "/p/x:4: '65536' is not a port (1 to 65535)",
        "/p/x:5: '/sctp' is neither /tcp nor /udp",
        "/p/x:6: services(5) knows 'ldaps' for tcp only, not for udp",
        "/p/x:7: services(5) knows 'odd' for sctp only, not for tcp or udp",
        "/p/x:8: '/ tcp' is neither /tcp nor /udp",
        "/p/x:9: services(5) knows no ''",
        "/p/x:10: services(5) knows no '7 8'",
        "/p/x:11: services(5) knows no '?'",
      ],
    });
  });

  it('gives up on what was never meant for it', () => {
    const { mistakes } = read('nonsense\n'.repeat(1000));
    assert.equal(mistakes.length, 101);
    assert.match(mistakes.at(-1) ?? '', /^\/p\/x:101: too many mistakes/);
  });

  it('takes every port in every way of writing it, each socket once', () => {
    const line = fc.record({
      port: fc.integer({ min: 1, max: 65535 }),
      protocol: fc.constantFrom('', '/tcp', '/udp'),
      blank: fc.constantFrom('', ' ', '\t', '\r'),
    });
    fc.assert(
      fc.property(fc.array(line, { maxLength: 50 }), (lines) => {
        const text = lines.map(({ port, protocol, blank }) => `${port}${protocol}${blank}\n`).join('');
        const wanted = lines.flatMap(({ port, protocol }) =>
          (protocol === '' ? ['/tcp', '/udp'] : [protocol]).map((each) => `${port}${each}`),
        );
        assert.deepEqual(read(text), { ports: [...new Set(wanted)], mistakes: [] });
      }),
    );
  });

  it('never throws, and accounts for every line that says something', () => {
    const word = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('ipp', '631', '/', '/tcp', '#', '~'),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 30 }), (words) => {
        const text = words.join('\n');
        const { sockets, mistakes } = parsePortreserve('/p/x', text, services);
        const lines = text.split('\n').flatMap((line, index) => (/^\s*(#|$)/.test(line) ? [] : index + 1));
        for (const { address } of sockets)
          assert.ok(address.family === 'any' && address.port >= 1 && address.port <= 65535);
        for (const { at } of [...sockets.map(({ at }) => ({ at })), ...mistakes.map((at) => ({ at }))])
          assert.ok(lines.includes(at.line));
        const mistaken = new Set(mistakes.map(({ line }) => line));
        if (lines.length > 0) assert.ok(mistaken.size > 0 || sockets.length > 0);
      }),
    );
  });
});

describe('loadConfiguration with a directory of portreserve', () => {
  const load = (files: Record<string, string | Error>) =>
    loadConfiguration(memory(files), ['/e'], services, '/p');

  it('makes a reservation of each file, after whose name it is called', () => {
    const { reservations, mistakes, complete } = load({ '/p/cups': 'ipp\n', '/p/krb5-kdc': '88\n' });
    assert.deepEqual(mistakes, []);
    assert.equal(complete, true);
    assert.deepEqual(
      reservations.map(({ name, unit, handoff, whileStopped, fdName, at }) => {
        return { name, unit, handoff, whileStopped, fdName, at };
      }),
      ['cups', 'krb5-kdc'].map((name) => ({
        name,
        unit: `${name}.service`,
        handoff: 'release',
        whileStopped: 'refuse',
        fdName: name,
        at: { file: `/p/${name}`, line: 1 },
      })),
    );
  });

  it('passes over what portreserve does, and over empty files', () => {
    const { reservations, mistakes, broken } = load({
      '/p/cups.rpmsave': '1\n',
      '/p/.cups': '2\n',
      '/p/cups~': '3\n',
      '/p/empty': '',
      '/p/remark': '# nothing\n',
    });
    assert.deepEqual([reservations, mistakes, broken], [[], [], []]);
  });

  it('leaves a name to a file of its own, right or wrong, or a mask', () => {
    const { reservations, broken } = load({
      '/p/good': '1\n',
      '/p/bad': '2\n',
      '/p/masked': '3\n',
      '/e/good.conf': '[Socket]\nListenStream=4\n',
      '/e/bad.conf': '[Socket]\nListenStream=0\n',
      '/e/masked.conf': '',
    });
    assert.deepEqual(
      reservations.map(({ name, handoff }) => [name, handoff]),
      [['good', 'store']],
    );
    assert.deepEqual(broken, ['bad']);
  });

  it('knows the files of which nothing can be held, and a directory that it cannot read', () => {
    const { broken, mistakes } = load({ '/p/a': unreadable, '/p/b': 'no-such\n', '/p/berthd': '1\n' });
    assert.deepEqual(broken, ['a', 'b', 'berthd']);
    assert.equal(mistakes.length, 3);
    assert.equal(load({ '/p': unreadable }).complete, false);
  });

  it('lets these files name the same socket, but not one of a file of its own', () => {
    const both = load({ '/p/a': '1\n2\n', '/p/b': '2/tcp\n3\n' });
    assert.deepEqual([both.mistakes, both.broken], [[], []]);
    assert.deepEqual(sharedSockets(both.reservations), []);
    const { mistakes, broken } = load({
      '/p/a': '1\n',
      '/p/b': '1\n',
      '/e/c.conf': '[Socket]\nListenStream=1\n',
    });
    assert.deepEqual(mistakes.map(formatMistake), [
      "/p/a:1: tcp *:1 is reserved already by 'c' (/e/c.conf:2)",
      "/p/b:1: tcp *:1 is reserved already by 'c' (/e/c.conf:2)",
    ]);
    assert.deepEqual(broken, ['a', 'b']);
  });
});
