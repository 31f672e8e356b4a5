import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { describe, it } from 'node:test';
import { refusalOf } from '../../../src/config/foreign.js';
import { buildReservation } from '../../../src/config/reservation.js';
import { parseServices } from '../../../src/config/services.js';
import { parseSyntax } from '../../../src/config/syntax.js';

/** Lines on which berth and systemd must agree whether they can stand in [Socket]. */
const lines = [
  ...[
    '631',
    '0',
    '65536',
    '+631',
    '0x277',
    '127.0.0.1:22',
    '127.0.0.1:0',
    '[::1]:22',
    '[::1]:0',
    '::1',
    '1.2.3.4',
  ],
  ...[
    '[::1]',
    '[]:22',
    '[1.2.3.4]:22',
    ':22',
    '*:22',
    '127.1:22',
    '010.0.0.1:22',
    '[::1]: 22',
    '"22"',
    '/',
    '@',
  ],
  ...[
    '[::1]:22%%lo',
    '[::ffff:1.2.3.4]:22',
    '//run///x/',
    '@a b',
    `@${'x'.repeat(106)}`,
    `@${'x'.repeat(107)}`,
  ],
  ...[
    `/${'x'.repeat(106)}`,
    `/${'x'.repeat(107)}`,
    `/${'é'.repeat(53)}`,
    `/${'é'.repeat(54)}`,
    '127.0.0.1:22 x',
  ],
]
  .map((address) => `ListenStream=${address}`)
  .concat(
    ...Object.entries({
      ListenSequentialPacket: ['22', '/run/s', '@s', '[::1]:22'],
      ListenDatagram: ['22', '/run/s'],
      SocketProtocol: ['', 'udplite', 'sctp', 'tcp', 'SCTP'],
      BindIPv6Only: ['', 'default', 'both', 'ipv6-only', 'yes', 'no', 'Both'],
      Backlog: ['', '0', '-1', '4294967295', '4294967296', '0b11', '0o17', '0x', '1 2'],
      BindToDevice: ['', '*', 'lo', 'a/b', 'verylongname01234', '1', 'all', 'a b', 'a:b'],
      FreeBind: ['', 'yes', 'Y', 't', 'ON', '1', '2', 'enable', 'n', 'FALSE', 'off', '0'],
      KeepAliveTimeSec: ['', '5', '1min 5', '1.5h', '.5h', '3.', '-1', '1.2.3', '12.34 .56', '1 fortnight', '20ms 1s'], // prettier-ignore
      KeepAliveIntervalSec: ['1month', '1h', '1 hr', '90', '5sec', 'x', '1 2'].slice(1),
      KeepAliveProbes: ['', '9', '-1', 'x'],
      DeferAcceptSec: ['', '30', '1w', '1d2h', '1 M', '2 µs 1s', 'soon'],
      TCPCongestion: ['', 'cubic'],
      IPTOS: ['', '0x10', '255', '256', '-1', 'low-delay', 'low-cost', 'throughput', 'reliability', 'fast'],
      IPTTL: ['', '-1', '1', '255', 'x', '0x40'],
      Mark: ['', '-1', '0', '2147483647', '2147483648'],
      Priority: ['', '7', '-3', '1.0', '0o7'],
      SendBuffer: ['', '0', '1K', '1k', '1Ki', '1KB', '1.5M', '1G 5M', '5M 1G', '10B', '-1', '1 K', '10.M'],
      SocketUser: ['', '0', 'root', 'a/b', 'a:b', '65535', '4294967295', 'a.b', '..'],
      SocketGroup: ['', '0', 'root', '65535'],
      SocketMode: ['', '0660', '660', '7777', '10000', '0888', '+660', '0o660', 'rw'],
      DirectoryMode: ['', '0755', '9'],
      Symlinks: ['', '/a', '/a /b', '"/a b"', 'a', '"/a', '/a/../b', '//a/'],
      RemoveOnStop: ['', 'yes', 'x'],
      FileDescriptorName: ['', 'ipp', 'a b', 'a:b', 'ä', 'x'.repeat(255), 'x'.repeat(256)],
      PassCredentials: ['yes', 'x'],
      'X-Anything': ['x'],
      Unknown: ['x'],
    }).map(([key, values]) => values.map((value) => `${key}=${value}`)),
  );

const services = parseServices('');

function berthTakes(line: string): boolean {
  const text = `[Socket]\nListenStream=/run/base\n${line}\n`;
  const file = parseSyntax('f', Buffer.from(text));
  return buildReservation('x', { file: 'f', line: 1 }, [file], services).mistakes.length === 0;
}

/** Which of the lines systemd complains about, each in a unit of its own. */
function systemdRefuses(): Set<string> {
  const directory = mkdtempSync(path.join(tmpdir(), 'berth-parity-'));
  try {
    writeFileSync(path.join(directory, 'x.service'), '[Service]\nExecStart=/bin/true\n');
    const units = lines.map((line, index) => {
      const unit = path.join(directory, `berth-parity-${index}.socket`);
      writeFileSync(unit, `[Socket]\nService=x.service\nListenStream=/run/base\n${line}\n`);
      return unit;
    });
    const { stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...units], { encoding: 'utf8' });
    const refused = [...stderr.matchAll(/berth-parity-([0-9]+)\.socket:4: (?!Accepting)/g)];
    return new Set(refused.map(([, index]) => lines[Number(index)] ?? ''));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

// Its types deny it, but there is no output when there is no program.
const version: { status: number | null; stdout: string | null } = spawnSync(
  'systemd-analyze',
  ['--version'],
  {
    encoding: 'utf8',
  },
);
const missing = version.status === 0 ? false : 'systemd-analyze is not installed';
const skip = process.env['BERTH_MUST_RUN'] === '1' ? false : missing;

/** Later versions take an empty value for the default in more places than 252, which berth follows. */
const comparable =
  version.stdout?.startsWith('systemd 252 ') === true ? lines : lines.filter((line) => !line.endsWith('='));

describe('what systemd says about the same lines', { skip }, () => {
  it('is what berth says', () => {
    const refused = systemdRefuses();
    assert.ok(refused.has('Unknown=x'), 'systemd-analyze did not look at the lines at all');
    const berth = comparable.filter((line) => !berthTakes(line));
    assert.deepEqual(
      berth,
      comparable.filter((line) => refused.has(line)),
    );
  });

  it('has no key in [Socket] that berth has neither a meaning nor a reason for', () => {
    const directory = ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'];
    const dumps = directory.map((program) =>
      spawnSync(program, ['--dump-configuration-items'], { encoding: 'utf8' }),
    );
    const dump = dumps.find(({ status }) => status === 0)?.stdout ?? '';
    const section = /^\[Socket\]\n([\s\S]*?)\n\n/m.exec(dump)?.[1] ?? '';
    const keys = section.split('\n').map((line) => line.split('=', 1)[0] ?? '');
    assert.ok(keys.includes('ListenStream'), 'systemd did not list its keys');
    const unknown = keys.filter((key) => {
      const file = parseSyntax('f', Buffer.from(`[Socket]\n${key}=yes\n`));
      const { mistakes } = buildReservation('x', { file: 'f', line: 1 }, [file], services);
      return (
        refusalOf(key) === undefined && mistakes.some(({ message }) => message.startsWith('unknown key'))
      );
    });
    assert.deepEqual(unknown, []);
  });
});
