import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  describeSocket,
  formatLocation,
  formatMistake,
  type Address,
  type SocketSpec,
} from '../../../src/model/reservation.js';

describe('describeSocket', () => {
  const cases: [SocketSpec['type'], Address, string, SocketSpec['protocol']?][] = [
    ['stream', { family: 'any', port: 631 }, 'tcp *:631'],
    ['datagram', { family: 'inet', host: '127.0.0.1', port: 53 }, 'udp 127.0.0.1:53'],
    ['stream', { family: 'inet6', host: '::', port: 80 }, 'tcp [::]:80'],
    ['stream', { family: 'inet6', host: 'fe80::1', port: 80, scope: 'eth0' }, 'tcp [fe80::1%eth0]:80'],
    ['stream', { family: 'any', port: 80 }, 'mptcp *:80', 'mptcp'],
    ['datagram', { family: 'any', port: 80 }, 'udplite *:80', 'udplite'],
    ['stream', { family: 'unix', path: '/run/x' }, 'unix /run/x'],
    ['datagram', { family: 'unix', path: '/run/x' }, 'unix-dgram /run/x'],
    ['seqpacket', { family: 'abstract', name: 'x' }, 'unix-seqpacket @x'],
  ];
  for (const [type, address, text, protocol] of cases) {
    it(text, () => {
      const at = { file: 'x.conf', line: 1 };
      const spec = { type, address, listen: '', at, ...(protocol === undefined ? {} : { protocol }) };
      assert.equal(describeSocket(spec), text);
    });
  }
});

describe('formatMistake', () => {
  it('is FILE:LINE: KEY: what is wrong, without the key where there is none', () => {
    const at = { file: '/etc/berth/x.conf', line: 7 };
    assert.equal(formatLocation(at), '/etc/berth/x.conf:7');
    assert.equal(formatMistake({ ...at, key: 'Backlog', message: 'no' }), '/etc/berth/x.conf:7: Backlog: no');
    assert.equal(formatMistake({ ...at, key: '', message: 'no' }), '/etc/berth/x.conf:7: no');
  });
});
