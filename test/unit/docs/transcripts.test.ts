import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { readArguments, type Invocation } from '../../../src/commands/arguments.js';
import { handoffs, type Handoff } from '../../../src/model/reservation.js';
import type { ReservationInfo } from '../../../src/protocol/messages.js';
import { formatSection, type Row } from '../../bench/report.js';
import { formatSummary } from '../../demo/summary.js';
import type { Result } from '../../demo/run.js';
import { root } from '../../support/processes.js';
import { berth } from '../commands/capture.js';
import { fakeDaemon } from '../commands/fake-daemon.js';
import { blocks, readDocument, type Block } from './markdown.js';

const readme = blocks(readDocument('README.md'));
const { scripts } = JSON.parse(readDocument('package.json')) as { scripts: Record<string, string> };

function blockOf(info: string): Block {
  const found = readme.find((block) => block.info === info);
  assert.ok(found, `a block of '${info}'`);
  return found;
}

function numberOf(text = ''): number {
  return Number(text.replaceAll(',', ''));
}

/** The numbers of one of the two columns, in the order in which the summary has them. */
function resultOf(way: string, lines: readonly string[], column: 1 | 2): Result {
  const figures = lines.map((line) => numberOf(line.match(/[\d,.]+(?= %|\s{2,}|$)/g)?.at(column - 3)));
  const [
    starts = 0,
    failedStarts = 0,
    attempts = 0,
    thefts = 0,
    served = 0,
    refused = 0,
    cutOff = 0,
    echoed = 0,
    seconds = 0,
  ] = figures;
  return {
    way,
    port: 0,
    starts,
    failedStarts,
    attempts,
    thefts,
    served,
    refused,
    cutOff,
    echoed,
    datagrams: 100,
    seconds,
  };
}

describe('what README.md shows of a run', () => {
  it('is what the demonstration prints, with its figures', () => {
    const [command, heads = '', ...lines] = blockOf('demo').text.trimEnd().split('\n');
    assert.equal(command, '$ npm run demo');
    const [berthWay = '', oldWay = ''] = heads.trim().split(/\s{2,}/);
    const figures = lines.slice(0, lines.indexOf(''));
    const shown = [heads, ...lines].join('\n');
    assert.equal(formatSummary(resultOf(berthWay, figures, 1), resultOf(oldWay, figures, 2)), shown);
  });

  it('is what berth prints of such a machine', async (t) => {
    const [command, , ...lines] = blockOf('list').text.trimEnd().split('\n');
    assert.equal(command, '# berth');
    const shown = lines.slice(0, lines.indexOf('')).map((line): ReservationInfo => {
      const [name = '', sockets = '', unit = '', handoff = '', state] = line.split(/\s{2,}/);
      assert.ok((handoffs as readonly string[]).includes(handoff));
      assert.ok(state === 'held' || state === 'active');
      const since = Date.now() - 90_000;
      return { name, sockets: sockets.split(', '), unit, handoff: handoff as Handoff, state, since };
    });
    const control = fakeDaemon(t, () => ({ parameters: { reservations: shown, more: false } }));
    const { out } = await berth(['--control', control]);
    assert.equal(`# berth\n${out}`, blockOf('list').text);
  });

  it('is what the benchmark prints, of sections that it has', () => {
    const [machine = '', ...sections] = blockOf('bench').text.trimEnd().split('\n\n');
    assert.match(machine, /^\d+ x .*, Linux \S+, Node v/);
    const source = readDocument('test/bench/main.ts');
    assert.ok(sections.length >= 5);
    for (const section of sections) {
      const [, name = '', title = ''] = /^(\w+): (.*)$/m.exec(section) ?? [];
      assert.ok(source.includes(`  ${name}: bench`), name);
      const rows = section.split('\n').slice(2).map(rowOf);
      // The columns are as wide as those of the lines that are left out.
      assert.equal(squeezed(formatSection({ name, title, rows, skipped: [] })), squeezed(section));
    }
  });
});

function rowOf(line: string): Row {
  const [what = '', figure = '', p10, p90, count, goal] = line.trim().split(/\s{2,}/);
  const [median, unit = ''] = figure.split(' ');
  const [, bound, limit] = /^at (most|least) (\S+):/.exec(goal ?? '') ?? [];
  return {
    what,
    unit: unit as Row['unit'],
    figure: { median: numberOf(median), p10: numberOf(p10), p90: numberOf(p90), count: numberOf(count) },
    ...(limit === undefined ? {} : { [bound === 'most' ? 'target' : 'least']: Number(limit) }),
  };
}

function squeezed(text: string): string {
  return text.trim().replaceAll(/ +/g, ' ');
}

describe('the commands of README.md', () => {
  const lines = readme
    .filter(({ info }) => info === 'install' || info.startsWith('lab='))
    .flatMap(({ text }) => text.trimEnd().split('\n'))
    .map((line) => line.replace(/ +# .*$/, '').split(' '));

  it('are of programs that there are', async () => {
    assert.ok(lines.length > 8);
    for (const [program = '', ...args] of lines) {
      if (program === 'npm')
        assert.ok(args[0] === 'run' && scripts[args[1] ?? ''] !== undefined, args.join(' '));
      else if (program === 'berth') assert.ok('verb' in ((await readArguments(args, '')) as Invocation));
      else assert.ok(['systemctl', 'apt'].includes(program), program);
    }
  });

  it('name units and packages that are made', () => {
    for (const [program = '', ...args] of lines) {
      for (const unit of args.filter((arg) => /^berth.*\.(?:socket|service)$/.test(arg)))
        assert.ok(existsSync(join(root, 'units', unit)), unit);
      if (program === 'apt') assert.deepEqual(args, ['install', './build/berth_*.deb']);
    }
    assert.match(
      readDocument('src/build/deb.sh'),
      /package=\$\{1-build\}\/berth_\$\{version\}_\$architecture\.deb/,
    );
  });
});
