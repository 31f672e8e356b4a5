import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defaultSettings, parseSettings, type Settings } from '../../../src/config/settings.js';
import { formatMistake } from '../../../src/model/reservation.js';

const read = (text: string) => {
  const { settings, mistakes } = parseSettings('f', Buffer.from(text));
  return { settings, mistakes: mistakes.map(formatMistake) };
};

const good: [string, Partial<Settings>][] = [
  ['', {}],
  ['# LogLevel=debug\n; x\n', {}],
  ['LogLevel=debug', { logLevel: 'debug' }],
  ['LogLevel = err\r\nPeerTimeoutSec= 1min\r\n', { logLevel: 'err', peerTimeoutSec: 60 }],
  ['LogLevel=debug\nLogLevel=notice\n', { logLevel: 'notice' }],
  ['PeerTimeoutSec=500ms', { peerTimeoutSec: 0.5 }],
  ['IdleExitSec=30', { idleExitSec: 30 }],
  ['IdleExitSec=0', { idleExitSec: 0 }],
  ['ReserveEphemeral=true', { reserveEphemeral: true }],
  ['ReserveEphemeral=yes\nReserveEphemeral=off', {}],
  ['BindresvportBlacklist=/etc//x', { bindresvportBlacklist: '/etc/x' }],
  ['BindresvportBlacklist=/etc/x\nBindresvportBlacklist=', {}],
];

const bad: [string, string[]][] = [
  ['\nLogLevel=loud', ["f:2: LogLevel: 'loud' is none of err, warning, notice, info, debug"]],
  ['LogLevel=', ["f:1: LogLevel: '' is none of err, warning, notice, info, debug"]],
  ['LogLevel', ["f:1: LogLevel: 'true' is none of err, warning, notice, info, debug"]],
  ['LogLevel=null', ["f:1: LogLevel: 'null' is none of err, warning, notice, info, debug"]],
  ['LogLevel[]=err', ['f:1: LogLevel: the value is not a single word']],
  [`LogLevel='{"a":1}'`, ['f:1: LogLevel: the value is not a single word']],
  ['PeerTimeoutSec=0', ["f:1: PeerTimeoutSec: '0' is out of range (100ms to 1h)"]],
  ['PeerTimeoutSec=infinity', ["f:1: PeerTimeoutSec: 'infinity' is out of range (100ms to 1h)"]],
  ['# c\n\nloglevel=err', ['f:3: loglevel: unknown key: did you mean LogLevel=?']],
  ['Foo=1\nBar=2', ['f:1: Foo: unknown key', 'f:2: Bar: unknown key']],
  ['constructor=1', ['f:1: constructor: unknown key']],
  [
    '[Daemon]\nLogLevel=err',
    ["f:1: the section '[Daemon]' is unknown: berthd.conf has its keys without one"],
  ],
  ['ReserveEphemeral=maybe', ["f:1: ReserveEphemeral: 'maybe' is not a boolean (yes or no)"]],
  ['BindresvportBlacklist=x', ["f:1: BindresvportBlacklist: 'x' is not an absolute path"]],
  ["'null'=x", ['f:1: this is not a file of KEY=VALUE lines']],
];

describe('parseSettings', () => {
  for (const [text, expected] of good) {
    it(`reads ${JSON.stringify(text)}`, () => {
      assert.deepEqual(read(text), { settings: { ...defaultSettings, ...expected }, mistakes: [] });
    });
  }
  for (const [text, mistakes] of bad) {
    it(`reports ${JSON.stringify(text)}, and keeps the default`, () => {
      assert.deepEqual(read(text), { settings: defaultSettings, mistakes });
    });
  }

  it('reports a line that is wrong beside one that counts', () => {
    assert.deepEqual(read('Foo=1\nLogLevel=debug').settings.logLevel, 'debug');
  });

  it('stays quick and short on a file full of keys', () => {
    const start = performance.now();
    const { mistakes } = read(Array.from({ length: 50_000 }, (_, index) => `k${index}=x`).join('\n'));
    assert.equal(mistakes.length, 101);
    assert.match(mistakes[0] ?? '', /larger than 64 KiB/);
    assert.ok(performance.now() - start < 2000);
  });
});
