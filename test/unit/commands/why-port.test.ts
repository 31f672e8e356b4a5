import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { overlaps, parseWanted, serviceName } from '../../../src/commands/why-port.js';
import { parseServices } from '../../../src/config/services.js';

const text = 'ipp 631/tcp # Internet Printing\nipp 631/udp\nsyslog 514/udp\nhttp 80/tcp www\n';
const services = parseServices(text);

describe('parseWanted', () => {
  const both = (rest: object) => [
    { protocol: 'tcp', ...rest },
    { protocol: 'udp', ...rest },
  ];
  const good: readonly [string, object[]][] = [
    ['631', both({ port: 631 })],
    ['631/udp', [{ protocol: 'udp', port: 631 }]],
    ['ipp', both({ port: 631 })],
    ['syslog', [{ protocol: 'udp', port: 514 }]],
    ['www/tcp', [{ protocol: 'tcp', port: 80 }]],
    ['127.0.0.1:631/tcp', [{ protocol: 'tcp', port: 631, host: '127.0.0.1' }]],
    ['[0::1]:ipp', both({ port: 631, host: '::1' })],
  ];
  for (const [asked, expected] of good) {
    it(`reads ${asked}`, () => {
      assert.deepEqual(parseWanted(asked, services), expected);
    });
  }

  for (const bad of [
    '',
    '0',
    '65536',
    'nosuch',
    'www/udp',
    '631/sctp',
    '/run/x',
    '@x',
    '::1',
    'a b',
    '1'.repeat(99),
  ]) {
    it(`refuses '${bad.slice(0, 9)}'`, () => {
      assert.throws(() => parseWanted(bad, services), { name: 'BerthError', code: 'Usage' });
    });
  }
});

it('serviceName finds the name of a port', () => {
  assert.equal(serviceName(text, 631, 'udp'), 'ipp');
  assert.equal(serviceName(text, 63, 'tcp'), undefined);
  assert.equal(serviceName(text, 514, 'tcp'), undefined);
});

describe('overlaps', () => {
  const cases: readonly [string | undefined, string, boolean, boolean][] = [
    [undefined, '127.0.0.1', false, true],
    ['127.0.0.1', '127.0.0.1', false, true],
    ['127.0.0.1', '127.0.0.2', false, false],
    ['127.0.0.1', '::ffff:127.0.0.1', false, true],
    ['127.0.0.1', '0.0.0.0', false, true],
    ['127.0.0.1', '::', false, true],
    ['127.0.0.1', '::', true, false],
    ['127.0.0.1', '::1', false, false],
    ['::1', '0.0.0.0', false, false],
    ['::1', '::', true, true],
    ['::', '127.0.0.1', false, true],
    ['0.0.0.0', '127.0.0.1', false, true],
    ['0.0.0.0', '::1', false, false],
  ];
  for (const [wanted, bound, v6only, expected] of cases) {
    it(`${expected ? 'sees' : 'does not see'} ${bound}${v6only ? ' (v6only)' : ''} in the way of ${wanted ?? 'any address'}`, () => {
      assert.equal(overlaps(wanted, bound, v6only), expected);
    });
  }
});
