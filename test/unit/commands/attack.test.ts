import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { describe, it } from 'node:test';
import { attack } from '../../../src/commands/attack.js';
import { aimsAt, planAttack } from '../../../src/commands/attack-plan.js';
import { constant, native } from '../../../src/native/index.js';
import { openFds, scratch } from '../../support/files.js';
import { hold, inet, inet6, request, spec } from '../../support/holds.js';
import { closing, freePort, openSocket, outcome, randomLoopback, set } from '../../support/sockets.js';

const hostsOf = (host: string, v6only = false): string[] =>
  aimsAt(host, 1, v6only).map(
    ({ address, v6only: only }) => `${'host' in address ? address.host : ''}${only ? ' only' : ''}`,
  );

describe('aimsAt', () => {
  it('aims at an IPv4 address in every way, and not at the IPv6 side, which was never promised', () => {
    assert.deepEqual(hostsOf('127.0.0.9'), ['127.0.0.9', '0.0.0.0', '::ffff:127.0.0.9', '::']);
    assert.ok(!hostsOf('0.0.0.0').includes(':: only'));
    assert.ok(!hostsOf('0.0.0.0').includes('::1'));
  });

  it('aims at both families where the hold is dual-stack, and at IPv6 alone where it is not', () => {
    for (const host of ['0.0.0.0', '127.0.0.1', '::', ':: only', '::1', '::ffff:127.0.0.1'])
      assert.ok(hostsOf('::').includes(host), host);
    assert.ok(!hostsOf('::', true).includes('0.0.0.0'));
    assert.ok(hostsOf('::', true).includes('::1'));
  });
});

describe('attack', () => {
  it('gets nothing that is held, over TCP and UDP', (t) => {
    for (const [type, word] of [
      ['stream', 'tcp'],
      ['datagram', 'udp'],
    ] as const) {
      const port = freePort();
      const held = hold(t, request(spec(type, { family: 'any', port })));
      const { attempts, taken } = attack(planAttack(`${word} *:${port}`, held.inode));
      assert.deepEqual(taken, []);
      assert.ok(attempts > 50);
    }
  });

  it('leaves alone what an IPv6-only hold never kept, and leaves nothing behind', (t) => {
    const port = freePort();
    const held = hold(t, request(spec('stream', inet6('::', port)), { bindIPv6Only: 'ipv6-only' }));
    const before = openFds().size;
    assert.deepEqual(attack(planAttack(`tcp [::]:${port}`, held.inode)).taken, []);
    assert.equal(openFds().size, before);
  });

  it('tells what it could get of a port that is not held, and has let go of it', (t) => {
    const host = randomLoopback();
    const port = freePort();
    const { taken } = attack(planAttack(`tcp ${host}:${port}`, 0));
    const plain = taken.find(({ options, device }) => options.length === 0 && device === undefined);
    assert.deepEqual(plain, { address: `${host}:${port}`, options: [], listened: true });
    const fd = closing(t, openSocket('stream', 'inet'));
    assert.equal(
      outcome(() => {
        native.bind(fd, inet(host, port));
      }),
      'ok',
    );
  });

  it('tells by which option a port can be shared', (t) => {
    const host = randomLoopback();
    const port = freePort();
    const fd = closing(t, openSocket('datagram', 'inet'));
    set(fd, 'SO_REUSEADDR', true);
    native.bind(fd, inet(host, port));
    const { taken, errors } = attack(planAttack(`udp ${host}:${port}`, native.inode(fd)));
    assert.ok(taken.length > 0);
    assert.ok(taken.every(({ options }) => options.includes('SO_REUSEADDR')));
    assert.ok((errors['EADDRINUSE'] ?? 0) > 0);
  });

  it('does not make a path that is missing, and says so', (t) => {
    const path = `${scratch(t)}/gone`;
    const { taken } = attack(planAttack(`unix ${path}`, 0));
    assert.match(taken[0]?.address ?? '', /gone \(it is not there/);
    assert.deepEqual(attack(planAttack(`unix ${path}`, 0)).taken.length, 1);
  });

  it('finds an abstract name taken', () => {
    const name = `berth-test-${process.pid}-${freePort()}`;
    const fd = native.socket(constant('AF_UNIX'), constant('SOCK_STREAM'), 0);
    native.bind(fd, { family: 'abstract', name });
    assert.deepEqual(attack(planAttack(`unix @${name}`, 0)), {
      attempts: 1,
      errors: { EADDRINUSE: 1 },
      taken: [],
    });
    closeSync(fd);
    assert.equal(attack(planAttack(`unix @${name}`, 0)).taken.length, 1);
  });
});
