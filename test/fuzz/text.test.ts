import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { parseListen } from '../../src/config/listen.js';
import { parsePortreserve } from '../../src/config/portreserve.js';
import { buildReservation } from '../../src/config/reservation.js';
import { parseServices } from '../../src/config/services.js';
import { parseSettings } from '../../src/config/settings.js';
import { ReadError, type LinkedSource } from '../../src/config/source.js';
import { expandSpecifiers } from '../../src/config/specifiers.js';
import { parseSyntax } from '../../src/config/syntax.js';
import * as values from '../../src/config/values.js';
import { splitWords, type WordOptions } from '../../src/config/words.js';
import { parseCommandLines, wrapCommand } from '../../src/generator/command-line.js';
import { makePlan } from '../../src/generator/plan.js';
import { formatMistake, type Address, type Mistake } from '../../src/model/reservation.js';
import { systemdCgroup, unitOfCgroup } from '../../src/systemd/cgroup.js';
import { dropInDirectories, formatUnitName, parseUnitName } from '../../src/systemd/unit-name.js';
import { Unit } from '../../src/systemd/unit-file.js';
import { UnitSearch } from '../../src/systemd/unit-search.js';
import { reservation, spec } from '../support/holds.js';
import { corpusOf, fuzz, mutated, runsOf, texts } from './fuzz.js';

const services = parseServices('ipp 631/tcp\nipp 631/udp\n');
const control = /\p{Cc}/u;

/** The value, or undefined where it is refused: by a ValueError with one line to say. */
function accepted<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    assert.ok(error instanceof values.ValueError, String(error));
    assert.notEqual(error.message, '');
    assert.doesNotMatch(error.message, control);
    assert.ok(error.message.length < 1000, `${error.message.length} characters`);
    return undefined;
  }
}

/** Each of them is one line, `FILE:LINE: …`, and its line is one of the file's. */
function assertPlaced(mistakes: readonly Mistake[], file: string, bytes: Uint8Array): void {
  const last = Buffer.from(bytes).toString('latin1').split(/\r\n|\n|\r/).length; // prettier-ignore
  for (const mistake of mistakes) {
    const [, line] = /^[^:]+:(\d+): ./u.exec(formatMistake(mistake)) ?? [];
    assert.equal(mistake.file, file);
    assert.ok(Number(line) >= 1 && Number(line) <= last, `${formatMistake(mistake)} of ${last}`);
    assert.doesNotMatch(formatMistake(mistake), control);
  }
}

function write(address: Address): string {
  switch (address.family) {
    case 'any':
      return String(address.port);
    case 'inet':
      return `${address.host}:${address.port}`;
    case 'inet6':
      return `[${address.host}]:${address.port}${address.scope === undefined ? '' : `%${address.scope}`}`;
    case 'unix':
      return address.path;
    case 'abstract':
      return `@${address.name}`;
  }
}

const wordOptions: readonly WordOptions[] = [{ escapes: 'c' }, { escapes: 'relaxed' }, { escapes: 'plain' }];

/** A value's parsers, each of which takes any text. */
const valueParsers: readonly ((text: string) => unknown)[] = [
  values.parseBoolean,
  (text) => values.parseInteger(text, -5, 1e6),
  (text) => values.parseSize(text, 1e12),
  values.parseTimeSpan,
  (text) => values.parseKernelSeconds(text, 100),
  values.parseMode,
  values.parseTypeOfService,
  values.parseUserName,
  values.parseInterfaceName,
  values.parseFdName,
  values.parseAbsolutePath,
];

function files(all: Readonly<Record<string, Uint8Array>>): LinkedSource {
  return {
    list: (directory) =>
      Object.keys(all).flatMap((file) =>
        file.startsWith(`${directory}/`) ? [file.slice(directory.length + 1)] : [],
      ),
    read: (file) => all[file],
    link: () => undefined,
  };
}

describe('a text that anybody wrote', () => {
  it('as a file of a reservation: mistakes on its lines, or sockets', (t) => {
    const examples = corpusOf('syntax');
    fuzz(t, 'syntax', mutated('syntax'), check, { examples });
    function check(bytes: Buffer): void {
      const parsed = parseSyntax('f', bytes);
      assertPlaced(parsed.mistakes, 'f', bytes);
      const built = buildReservation('a', { file: 'f', line: 1 }, [parsed], services);
      assertPlaced(built.mistakes, 'f', bytes);
      assert.equal(built.reservation === undefined, built.mistakes.length > 0);
    }
  });

  it('as an address: refused, or the same when it is written down and read again', (t) => {
    fuzz(t, 'listen', fc.tuple(texts('listen'), fc.constantFrom('stream', 'datagram', 'seqpacket')), check);
    function check([text, type]: [string, 'stream' | 'datagram' | 'seqpacket']): void {
      const address = accepted(() => parseListen(text, { type, services }));
      if (address === undefined) return;
      assert.deepEqual(parseListen(write(address), { type, services }), address);
    }
  });

  it('as a value: taken or refused', (t) => {
    fuzz(t, 'value', texts('values'), (text) => {
      for (const parse of valueParsers) accepted(() => parse(text));
    });
  });

  it('as words: each is a piece of the text, and that piece is the same word', (t) => {
    fuzz(t, 'words', fc.tuple(texts('words'), fc.constantFrom(...wordOptions)), ([text, options]) => {
      let end = 0;
      for (const word of accepted(() => splitWords(text, options)) ?? []) {
        assert.ok(word.start >= end && word.end > word.start);
        assert.match(text.slice(end, word.start), /^[ \t\r\n]*$/);
        end = word.end;
        const [again, ...more] = splitWords(text.slice(word.start, word.end), options);
        assert.deepEqual([again?.text, more], [word.text, []]);
      }
    });
  });

  it('as a command line: refused, or the same behind berth-claim', (t) => {
    fuzz(t, 'command-line', texts('command-line'), (text) => {
      for (const command of accepted(() => parseCommandLines(text)) ?? []) {
        const wrapped = wrapCommand(command, { exec: ['name'], bind: [] }, '/usr/bin/berth-claim');
        const [again, ...more] = parseCommandLines(wrapped);
        assert.deepEqual(more, []);
        assert.ok(again !== undefined);
        assert.equal(again.plainPath, '/usr/bin/berth-claim');
        const zeroth = command.argv0 === undefined ? [] : ['--argv0', again.words[1]];
        const path = command.prefixes.includes(':') ? command.plainPath : command.plainPath.replaceAll('$', '$$$$');
        assert.deepEqual(again.words, [...zeroth, 'name', '--', path, ...command.words]);
      }
    }); // prettier-ignore
  });

  it('with specifiers: what has none, or none that is not doubled, stays as it is', (t) => {
    const names = fc.constantFrom('a', 'a@b', 'a@b-c@d', 'x.y_z-');
    fuzz(t, 'specifiers', fc.tuple(texts('specifiers'), names), ([text, name]) => {
      accepted(() => expandSpecifiers(text, name));
      if (!text.startsWith('[')) assert.equal(expandSpecifiers(text.replaceAll('%', '%%'), name), text);
    });
  });

  it('as services(5): ports that there are, the first of each', (t) => {
    fuzz(t, 'services', texts('services'), (text) => {
      const known = parseServices(text);
      const twice = parseServices(`${text}\n${text}`);
      for (const name of text.split(/\s+/)) {
        for (const protocol of known.protocols(name)) {
          const port = known.port(name, protocol);
          assert.ok(port !== undefined && port >= 1 && port <= 65535);
          assert.equal(twice.port(name, protocol), port);
        }
      }
    });
  });

  it("as portreserve's file: mistakes on its lines, each socket once", (t) => {
    const examples = corpusOf('portreserve');
    fuzz(t, 'portreserve', mutated('portreserve'), check, { examples });
    function check(bytes: Buffer): void {
      const { sockets, mistakes } = parsePortreserve('f', bytes.toString('utf8'), services);
      assertPlaced(mistakes, 'f', bytes);
      const ports = sockets.map(({ type, address }) => `${type} ${'port' in address ? address.port : 0}`);
      assert.equal(new Set(ports).size, ports.length);
      assert.ok(ports.every((port) => /^(stream|datagram) [1-9][0-9]{0,4}$/.test(port)));
    }
  });

  it('as berthd.conf: mistakes on its lines, and settings that can be used', (t) => {
    const examples = corpusOf('berthd-conf');
    fuzz(t, 'berthd.conf', mutated('berthd-conf'), check, { examples });
    function check(bytes: Buffer): void {
      const { settings, mistakes } = parseSettings('f', bytes);
      assertPlaced(mistakes, 'f', bytes);
      assert.ok(settings.peerTimeoutSec >= 0.1 && settings.peerTimeoutSec <= 3600);
      assert.ok(settings.idleExitSec >= 0 && settings.idleExitSec <= 3600);
      assert.match(settings.bindresvportBlacklist ?? '/', /^\//);
    }
  });

  it('as a unit file: a drop-in of one line a setting, or a mistake in that file', (t) => {
    const file = '/etc/systemd/system/app.service';
    const handoffs = fc.constantFrom('store', 'exec', 'lend');
    const socket = spec('stream', { family: 'inet', host: '127.0.0.1', port: 1 });
    fuzz(t, 'unit', fc.tuple(mutated('unit'), handoffs), check, { long: 20_000 });
    function check([bytes, handoff]: [Buffer, 'store' | 'exec' | 'lend']): void {
      const unit = new Unit({ state: 'found', id: 'a', names: ['a'], file, dropIns: [] }, [parseSyntax(file, bytes)], []); // prettier-ignore
      const all = unit.assignments('Service', 'ExecStart');
      assert.ok(unit.list('Service', 'ExecStart').every((each) => all.includes(each) && each.value !== ''));
      const search = new UnitSearch(files({ [file]: bytes }));
      const plan = makePlan(search, [reservation('app', [socket], { handoff })]);
      for (const mistake of [...plan.mistakes, ...plan.warnings]) {
        assert.ok([file, 'app.conf'].includes(mistake.file), formatMistake(mistake));
        assert.doesNotMatch(formatMistake(mistake), control);
      }
      for (const { file: dropIn } of plan.units) {
        if (dropIn === undefined) continue;
        const { assignments, mistakes } = parseSyntax('d', Buffer.from(dropIn.text));
        assert.deepEqual(mistakes, []);
        assert.ok(
          assignments.every(({ section }) => ['Unit', 'Service'].includes(section)),
          dropIn.text,
        );
        // A text of the unit's may stand behind ExecStart= alone.
        for (const { key, value } of assignments)
          if (key === 'ExecStartPre') assert.equal(value, '+/usr/bin/berth-claim app');
      }
    }
  });

  it('as the name of a unit: the same when it is put together again', (t) => {
    fuzz(t, 'unit-name', texts('unit-name'), (text) => {
      const name = parseUnitName(text);
      if (name !== undefined) assert.equal(formatUnitName(name), text);
      const directories = dropInDirectories(text);
      assert.ok(directories.every((each) => each.endsWith('.d') && !each.includes('/')));
    });
  });

  it("as /proc/PID/cgroup: a unit that is the path's first that is no slice", (t) => {
    const above = fc.constantFrom('/user.slice/user-1.slice/user@1.service', '/machine.slice/machine-a.scope', '/system.slice/web.service', '/init.scope', '/x'); // prettier-ignore
    fuzz(t, 'proc-cgroup', fc.tuple(texts('proc-cgroup'), above), ([text, place]) => {
      const path = systemdCgroup(text, true);
      const found = path === undefined ? undefined : unitOfCgroup(path);
      if (found !== undefined) {
        assert.ok(path === found.path || path?.startsWith(`${found.path}/`));
        assert.ok(!found.unit.includes('/'));
        assert.ok(found.path.split('/').slice(1, -1).every((part) => part.endsWith('.slice'))); // prettier-ignore
      }
      // Whatever somebody makes below a unit's cgroup is that unit's.
      const below = unitOfCgroup(`${place}/${text}`);
      assert.deepEqual(below, unitOfCgroup(place));
    });
  });
});

const hostile = ['', ' ', '\t', '"', "'", '\\', '\\\\ ', '%', '%%', ':', '::', '[', ']:', '/', '../', '@', '-', '.', '$', ';', '; ', '#', '\n', '=', 'a', '1', '1 ', '1s', '\\x41', '\\\n', 'é', '{', '","']; // prettier-ignore

/** A megabyte of one thing over and over, alone and between others: a second is far more than any parser needs. */
const parsers: readonly (readonly [string, (text: string) => unknown])[] = [
  ['listen', (text) => parseListen(text, { type: 'stream', services })],
  ...wordOptions.map((options) => [`words ${options.escapes}`, (text: string) => splitWords(text, options)] as const),
  ['command-line', parseCommandLines],
  ['specifiers', (text) => expandSpecifiers(text, 'a@b')],
  ['services', parseServices],
  ['portreserve', (text) => parsePortreserve('f', text, services)],
  ['berthd.conf', (text) => parseSettings('f', Buffer.from(text))],
  ['syntax', (text) => parseSyntax('f', Buffer.from(`[Socket]\nA=${text}`))],
  ['unit-name', (text) => [parseUnitName(text), dropInDirectories(text)]],
  ['proc-cgroup', (text) => unitOfCgroup(systemdCgroup(`0::/${text}`, true) ?? '')],
  ...valueParsers.map((parse, index) => [`value ${index}`, parse] as const),
]; // prettier-ignore

/** In CI an eighth of a megabyte has to do: what is quadratic does not take a second of that either. */
const size = runsOf(2 ** 17, 2 ** 20);

describe('a megabyte', () => {
  const patience = 1000 * Number(process.env['BERTH_SLOWDOWN'] ?? 1);
  for (const [name, parse] of parsers) {
    it(`takes ${name} less than a second, whatever is in it`, (t: TestContext) => {
      let slowest = 0;
      for (const piece of hostile.slice(1)) {
        for (const text of [piece.repeat(Math.ceil(size / Buffer.byteLength(piece))), `"${piece.repeat(size / 4)}x`]) {
          const start = process.cpuUsage();
          try {
            parse(text);
          } catch (error) {
            assert.ok(error instanceof values.ValueError || error instanceof ReadError, String(error));
          }
          const took = process.cpuUsage(start).user / 1000;
          slowest = Math.max(slowest, took);
          assert.ok(took < patience, `${took} ms for ${JSON.stringify(piece)}`);
        }
      }
      t.diagnostic(`${slowest.toFixed(0)} ms at the most`);
    }); // prettier-ignore
  }
});
