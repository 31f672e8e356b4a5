import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseServices } from '../../../src/config/services.js';

const services = parseServices(
  [
    '# Network services',
    'ipp\t\t631/tcp',
    'ipp\t\t631/udp printer-discovery # comment alias-in-comment',
    'http  80/tcp  www  WorldWideWeb',
    'http  8080/tcp',
    'www 81/tcp',
    'only-udp 99/udp',
    'nonsense',
    'zero 0/tcp',
    'large 65536/tcp',
    'words ten/tcp',
    '__proto__ 7/tcp',
    'crlf 123/tcp\r',
  ].join('\n'),
);

describe('parseServices', () => {
  const table: [string, string, number | undefined][] = [
    ['ipp', 'tcp', 631],
    ['ipp', 'udp', 631],
    ['ipp', 'sctp', undefined],
    ['printer-discovery', 'udp', 631],
    ['printer-discovery', 'tcp', undefined],
    ['alias-in-comment', 'udp', undefined],
    ['http', 'tcp', 80],
    ['WorldWideWeb', 'tcp', 80],
    ['www', 'tcp', 80],
    ['worldwideweb', 'tcp', undefined],
    ['zero', 'tcp', undefined],
    ['large', 'tcp', undefined],
    ['words', 'tcp', undefined],
    ['nonsense', 'tcp', undefined],
    ['__proto__', 'tcp', 7],
    ['constructor', 'tcp', undefined],
    ['crlf', 'tcp', 123],
  ];
  for (const [name, protocol, port] of table) {
    it(`knows ${name}/${protocol} as ${port ?? 'nothing'}`, () => {
      assert.equal(services.port(name, protocol), port);
    });
  }

  it('lists the protocols of a name', () => {
    assert.deepEqual(services.protocols('ipp'), ['tcp', 'udp']);
    assert.deepEqual(services.protocols('nothing'), []);
  });
});
