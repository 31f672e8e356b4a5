import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as values from '../../../src/config/values.js';

function table<T>(name: string, parse: (text: string) => T, good: [string, T][], bad: [string, RegExp][]) {
  describe(name, () => {
    for (const [text, value] of good) {
      it(`reads '${text}'`, () => {
        assert.deepEqual(parse(text), value);
      });
    }
    for (const [text, message] of bad) {
      it(`refuses '${text.slice(0, 40)}'`, () => {
        assert.throws(
          () => parse(text),
          (error) => error instanceof values.ValueError && message.test(error.message),
        );
      });
    }
  });
}

table(
  'parseBoolean',
  values.parseBoolean,
  [['1', true], ['yes', true], ['Y', true], ['TRUE', true], ['t', true], ['on', true], ['0', false], ['no', false], ['n', false], ['false', false], ['F', false], ['Off', false]], // prettier-ignore
  [['', /not a boolean/], ['2', /'2' is not a boolean/], ['yes ', /not a boolean/], ['enabled', /not a boolean/]], // prettier-ignore
);

table(
  'parseInteger',
  (text) => values.parseInteger(text, -10, 1000),
  [['0', 0], ['-0', 0], ['7', 7], ['+7', 7], ['-7', -7], ['0x1F', 31], ['0b101', 5], ['0o17', 15], ['017', 15], ['00', 0], ['-0x0a', -10]], // prettier-ignore
  [['', /not a number/], ['1001', /out of range \(-10 to 1000\)/], ['-11', /out of range/], ['08', /not a number/], ['1e3', /not a number/], ['1.0', /not a number/], [' 1', /not a number/], ['0x', /not a number/], ['--1', /not a number/], ['9'.repeat(5000), /not a number/]], // prettier-ignore
);

table(
  'parseSize',
  (text) => values.parseSize(text, 2 ** 31 - 1),
  [['0', 0], ['1', 1], ['10B', 10], ['1K', 1024], ['1.5M', 1572864], ['10.M', 10485760], ['1 G', 2 ** 30], ['1G 5M', 2 ** 30 + 5 * 2 ** 20], ['1M1K1', 1049601]], // prettier-ignore
  [['', /missing/], ['k', /not a size/], ['1k', /not a size/], ['1Ki', /not a size/], ['1KB', /not a size/], ['-1', /not a size/], ['2G', /too large \(at most 2147483647/], ['1K 1M', /not a size/], ['1E', /too large/], ['9'.repeat(999), /not a size|too large/]], // prettier-ignore
);

const second = 1e6;
table(
  'parseTimeSpan',
  values.parseTimeSpan,
  [
    ['0', 0], ['5', 5 * second], ['5s', 5 * second], ['+5', 5 * second], ['2 sec', 2 * second], ['2seconds', 2 * second],
    ['500ms', 500_000], ['3msec', 3000], ['7us', 7], ['7usec', 7], ['7µs', 7], ['7μs', 7], ['1m', 60 * second],
    ['1min 30s', 90 * second], ['1min30', 90 * second], ['1 minute', 60 * second], ['2minutes', 120 * second],
    ['1h', 3600 * second], ['1hr', 3600 * second], ['2 hours', 7200 * second], ['1d', 86400 * second],
    ['2days', 172800 * second], ['1w', 604800 * second], ['2 weeks', 1209600 * second], ['1M', 2629800 * second],
    ['1month', 2629800 * second], ['1y', 31557600 * second], ['2years', 63115200 * second], ['1.5h', 5400 * second],
    ['.5', 500_000], ['0.1s', 100_000], ['1 2', 3 * second], ['12.34 .56', 12_900_000], ['12.34s.56', 12_900_000],
    ['infinity', Infinity], [' infinity ', Infinity],
  ], // prettier-ignore
  [
    ['', /missing/], ['x', /not a time span/], ['-1', /negative/], ['3.', /not a time span/], ['3.s', /not a time span/],
    ['1.2.3', /not a time span/], ['1 fortnight', /not a time span/], ['1S', /not a time span/], ['infinity 1', /not a time span/],
    ['1infinity', /not a time span/], ['s', /not a time span/], ['1,5s', /not a time span/], ['999999999y', /too long/],
    ['1mins', /not a time span/],
  ], // prettier-ignore
);

table(
  'parseKernelSeconds',
  (text) => values.parseKernelSeconds(text, 32767),
  [
    ['0', undefined],
    ['1', 1],
    ['1.9s', 1],
    ['9h', 32400],
  ],
  [
    ['500ms', /out of the kernel's range \(1 to 32767/],
    ['10h', /range/],
    ['infinity', /range/],
  ],
);

table(
  'parseMode',
  values.parseMode,
  [
    ['0666', 0o666],
    ['666', 0o666],
    ['0', 0],
    ['07777', 0o7777],
  ],
  [
    ['', /octal/],
    ['0888', /octal/],
    ['+666', /octal/],
    ['0o666', /octal/],
    ['10000', /out of range/],
    ['u=rw', /octal/],
  ],
);

table(
  'parseTypeOfService',
  values.parseTypeOfService,
  [
    ['low-delay', 16],
    ['throughput', 8],
    ['reliability', 4],
    ['low-cost', 2],
    ['0x10', 16],
    ['255', 255],
  ],
  [
    ['256', /out of range/],
    ['-1', /out of range/],
    ['fast', /none of low-delay/],
    ['', /not a number/],
  ],
);

table(
  'parseUserName',
  values.parseUserName,
  [['root', 'root'], ['0', '0'], ['1000', '1000'], ['x.y', 'x.y'], ['a b', 'a b'], ['-x', '-x'], ['4294967294', '4294967294']], // prettier-ignore
  [['65535', /not a usable/], ['4294967295', /not a usable/], ['007', /not a usable/], ['a/b', /not a user/], ['a:b', /not a user/], ['..', /not a user/], ['-1', /not a user/], ['a\nb', /not a user/], ['x'.repeat(256), /too long/]], // prettier-ignore
);

table(
  'parseInterfaceName',
  values.parseInterfaceName,
  [
    ['eth0', 'eth0'],
    ['wlp3s0.100', 'wlp3s0.100'],
    ['abcdefghijklmno', 'abcdefghijklmno'],
  ],
  [['abcdefghijklmnop', /interface/], ['a/b', /interface/], ['a:b', /interface/], ['a b', /interface/], ['1', /interface/], ['all', /interface/], ['.', /interface/], ['ä', /interface/]], // prettier-ignore
);

table(
  'parseFdName',
  values.parseFdName,
  [
    ['ipp', 'ipp'],
    ['a b', 'a b'],
    ['x'.repeat(255), 'x'.repeat(255)],
  ],
  [
    ['a:b', /':'/],
    ['ä', /ASCII/],
    ['a\tb', /ASCII/],
    ['x'.repeat(256), /255/],
  ],
);

table(
  'parseAbsolutePath',
  values.parseAbsolutePath,
  [
    ['/a', '/a'],
    ['//a///b/', '/a/b'],
    ['/a/./b', '/a/b'],
    ['/', '/'],
  ],
  [
    ['a', /not an absolute path/],
    ['/a/../b', /'\.\.'/],
    [`/${'a/'.repeat(2100)}`, /too long/],
  ],
);
