import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { groupListeners } from '../../../src/commands/import-listening.js';
import type { Listener } from '../../../src/systemd/listeners.js';

type Rest = Partial<Pick<Listener, 'type' | 'v6only' | 'device'>>;

function on(host: string, port: number, rest: Rest = {}): Listener {
  const family = host.includes(':') ? 'inet6' : 'inet';
  return { type: 'stream', address: { family, host, port }, v6only: false, inode: 1, pids: [2], ...rest };
}

function lines(listeners: readonly Listener[], exact = false): string[] {
  return groupListeners(listeners, exact).map(({ listens, v6only, device }) =>
    [
      ...listens.map((each) => each.join('=')),
      ...(v6only ? ['v6only'] : []),
      ...(device === undefined ? [] : [device]),
    ].join(' '),
  );
}

const both = [on('0.0.0.0', 80), on('::', 80, { v6only: true })];

describe('groupListeners', () => {
  it('makes one bare port of both wildcards', () => {
    assert.deepEqual(lines(both), ['ListenStream=80']);
  });

  it('keeps them apart where a daemon tells its sockets by their addresses', () => {
    assert.deepEqual(lines(both, true), ['ListenStream=0.0.0.0:80 ListenStream=[::]:80 v6only']);
  });

  it('makes a bare port of a wildcard for both families', () => {
    assert.deepEqual(lines([on('::', 80)], true), ['ListenStream=80']);
  });

  it('leaves single addresses as they are, whatever their v6only says', () => {
    assert.deepEqual(lines([on('127.0.0.1', 631), on('::1', 631, { v6only: true })]), [
      'ListenStream=127.0.0.1:631 ListenStream=[::1]:631',
    ]);
  });

  it('does not take the wildcards of two ports, protocols or interfaces for one', () => {
    assert.deepEqual(lines([on('0.0.0.0', 80), on('::', 81, { v6only: true })]), [
      'ListenStream=0.0.0.0:80 ListenStream=[::]:81 v6only',
    ]);
    assert.deepEqual(lines([on('0.0.0.0', 53), on('::', 53, { v6only: true, type: 'datagram' })]), [
      'ListenStream=0.0.0.0:53 ListenDatagram=[::]:53 v6only',
    ]);
    assert.deepEqual(lines([on('0.0.0.0', 67, { device: 'lan0' }), on('0.0.0.0', 67, { device: 'lan1' })]), [
      'ListenStream=0.0.0.0:67 lan0',
      'ListenStream=0.0.0.0:67 lan1',
    ]);
  });

  it('puts a bare port and a lone IPv6 wildcard into two files', () => {
    assert.deepEqual(lines([on('::', 80), on('::', 81, { v6only: true }), on('10.0.0.1', 82)]), [
      'ListenStream=80',
      'ListenStream=[::]:81 ListenStream=10.0.0.1:82 v6only',
    ]);
  });
});
