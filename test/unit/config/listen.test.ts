import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseListen } from '../../../src/config/listen.js';
import { parseServices } from '../../../src/config/services.js';
import { ValueError } from '../../../src/config/values.js';
import type { Address, SocketProtocol, SocketType } from '../../../src/model/reservation.js';

const services = parseServices('ipp 631/tcp\nmdns 5353/udp\nboth 70/tcp\nboth 71/udp\nboth 72/sctp\n');

function parse(text: string, type: SocketType = 'stream', protocol?: SocketProtocol): Address {
  return parseListen(text, { type, protocol, services });
}

const any = (port: number): Address => ({ family: 'any', port });
const inet = (host: string, port: number): Address => ({ family: 'inet', host, port });
const inet6 = (host: string, port: number, scope?: string): Address => ({
  family: 'inet6',
  host,
  port,
  ...(scope === undefined ? {} : { scope }),
});

const good: [string, Address][] = [
  ['631', any(631)],
  ['1', any(1)],
  ['65535', any(65535)],
  ['+631', any(631)],
  ['0x277', any(631)],
  ['ipp', any(631)],
  ['127.0.0.1:631', inet('127.0.0.1', 631)],
  ['0.0.0.0:ipp', inet('0.0.0.0', 631)],
  ['[::1]:631', inet6('::1', 631)],
  ['[::]:ipp', inet6('::', 631)],
  ['[0:0:0:0:0:0:0:1]:631', inet6('::1', 631)],
  ['[FE80::00AB]:22%eth0', inet6('fe80::ab', 22, 'eth0')],
  ['[fe80::1]:ipp%2', inet6('fe80::1', 631, '2')],
  ['[::ffff:1.2.3.4]:22', inet6('::ffff:1.2.3.4', 22)],
  ['/run/x', { family: 'unix', path: '/run/x' }],
  ['/var/run/x', { family: 'unix', path: '/run/x' }],
  [`/${'x'.repeat(106)}`, { family: 'unix', path: `/${'x'.repeat(106)}` }],
  ['@name', { family: 'abstract', name: 'name' }],
  ['@a b', { family: 'abstract', name: 'a b' }],
  [`@${'x'.repeat(106)}`, { family: 'abstract', name: 'x'.repeat(106) }],
];

const bad: [string, RegExp][] = [
  ['0', /port 0 means any free port/],
  ['127.0.0.1:0', /port 0/],
  ['[::1]:0', /port 0/],
  ['65536', /'65536' is not a port \(1 to 65535\)/],
  ['0631', /octal/],
  ['63a', /neither a number nor a name/],
  ['nosuch', /services\(5\) knows no 'nosuch'/],
  ['mdns', /knows 'mdns' for udp only, not for tcp/],
  ['constructor', /knows no 'constructor'/],
  ['::1', /needs brackets and a port: \[::1\]:PORT/],
  ['fe80::1%eth0', /needs brackets and a port: \[fe80::1\]:PORT/],
  ['2001:db8::g:22', /not an IP address/],
  ['2001:db8:1:2:3:4:5:6:22', /an IPv6 address needs brackets: \[2001:db8:1:2:3:4:5:6\]:22/],
  ['1.2.3.4', /the port is missing: 1\.2\.3\.4:PORT/],
  ['1.2.3.4:', /is not an address/],
  [':22', /no address: for all addresses write the port alone, '22'/],
  ['*:22', /write the port alone/],
  ['localhost:22', /'localhost' is not an IP address/],
  ['127.1:22', /not an IP address/],
  ['010.0.0.1:22', /not an IP address/],
  ['127.0.0.1:22%lo', /only an IPv6 address has a %scope; see BindToDevice=/],
  ['[1.2.3.4]:22', /'1\.2\.3\.4' is not an IPv6 address/],
  ['[]:22', /not an IPv6 address/],
  ['[::1]', /not of the form \[ADDRESS\]:PORT/],
  ['[::1]22', /not of the form/],
  ['[::1]: 22', /is not an address/],
  ['[::1]:', /is not an address/],
  ['[::1%lo]:22', /the scope stands after the port: \[::1\]:22%lo/],
  ['[::1]:22%', /'' is not a network interface/],
  ['[::1]:22%a/b', /not a network interface/],
  ['', /is not an address/],
  ['"22"', /is not an address/],
  ['/', /not the path of a socket/],
  ['/a/../b', /must not contain '\.\.'/],
  [`/${'x'.repeat(107)}`, /the path has 108 bytes, and a socket's may have 107 at most/],
  [`/${'é'.repeat(54)}`, /the path has 109 bytes/],
  ['@', /the name after the @ is missing/],
  [`@${'x'.repeat(107)}`, /the name has 107 bytes, and may have 106 at most/],
  ['vsock:2:22', /AF_VSOCK/],
  ['vsock-stream::22', /AF_VSOCK/],
  ['relative/path', /knows no|not an address/],
];

describe('parseListen', () => {
  for (const [text, address] of good) {
    it(`reads ${text.slice(0, 40)}`, () => {
      assert.deepEqual(parse(text), address);
    });
  }
  for (const [text, message] of bad) {
    it(`refuses '${text.slice(0, 40)}'`, () => {
      assert.throws(
        () => parse(text),
        (error) => error instanceof ValueError && message.test(error.message),
      );
    });
  }

  const named: [SocketType, SocketProtocol | undefined, number][] = [
    ['stream', undefined, 70],
    ['datagram', undefined, 71],
    ['stream', 'sctp', 72],
    ['stream', 'mptcp', 70],
    ['datagram', 'udplite', 71],
  ];
  for (const [type, protocol, port] of named) {
    it(`looks a name up for ${type} ${protocol ?? ''}`, () => {
      assert.deepEqual(parse('both', type, protocol), any(port));
    });
  }

  it('takes sequential packets for AF_UNIX only', () => {
    assert.deepEqual(parse('/run/x', 'seqpacket'), { family: 'unix', path: '/run/x' });
    assert.deepEqual(parse('@x', 'seqpacket'), { family: 'abstract', name: 'x' });
    assert.throws(() => parse('22', 'seqpacket'), /AF_UNIX only/);
    assert.throws(() => parse('[::1]:22', 'seqpacket'), /AF_UNIX only/);
  });
});
