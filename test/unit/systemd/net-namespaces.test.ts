import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { endianness } from 'node:os';
import { parseLine } from '../../../src/systemd/net-namespaces.js';

/** A line of proc(5), with the address as a machine of this byte order prints it. */
function line(host: string, port: string, state: string): string {
  return `   1: ${host}:${port} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100`;
}

describe('parseLine', () => {
  const little = endianness() === 'LE';

  it('reads an IPv4 socket on the port, and no other', () => {
    const text = line(little ? '0100007F' : '7F000001', '0277', '0A');
    assert.deepEqual(parseLine(text, 631), { address: '127.0.0.1', state: 10, inode: 4711 });
    assert.equal(parseLine(text, 632), undefined);
    assert.equal(parseLine('', 631), undefined);
  });

  it('reads an IPv6 address', () => {
    const one = little ? '01000000' : '00000001';
    const text = line(`000000000000000000000000${one}`, '0277', '07');
    assert.deepEqual(parseLine(text, 631), { address: '::1', state: 7, inode: 4711 });
  });
});
