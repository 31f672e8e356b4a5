import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { isListed, rangesOf } from '../../../src/systemd/port-ranges.js';

describe('isListed', () => {
  it('reads single ports and ranges, and an empty list', () => {
    assert.equal(isListed(8080, '8080,9000-9010'), true);
    assert.equal(isListed(9005, '8080,9000-9010\n'), true);
    assert.equal(isListed(9011, '8080,9000-9010'), false);
    assert.equal(isListed(0, ''), false);
  });
});

describe('rangesOf', () => {
  it('goes by what the kernel says now', () => {
    const [first = 0, last = 0] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
      .split(/\s+/)
      .map(Number);
    const reserved = readFileSync('/proc/sys/net/ipv4/ip_local_reserved_ports', 'utf8');
    const { ephemeral, spared, ephemeralRange } = rangesOf(first);
    assert.equal(ephemeralRange, `${first}-${last}`);
    assert.deepEqual(
      { ephemeral, spared },
      { ephemeral: !isListed(first, reserved), spared: isListed(first, reserved) },
    );
    assert.equal(rangesOf(first - 1).ephemeral, false);
    assert.equal(rangesOf(last + 1).ephemeral, false);
  });

  it('knows the ports of bindresvport(3)', () => {
    assert.deepEqual(
      [511, 512, 1023, 1024].map((port) => rangesOf(port).bindresvport),
      [false, true, true, false],
    );
  });
});
