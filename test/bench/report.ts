import { formatTable } from '../../src/commands/table.js';
import type { Spread } from './statistics.js';

/** One figure of a section. A target is the most that it may be. */
export interface Row {
  readonly what: string;
  readonly unit: 'ms' | 'us' | 'ns' | '/s' | 'MiB' | 'x';
  readonly figure: Spread;
  readonly target?: number;
}

export interface Section {
  readonly name: string;
  readonly title: string;
  readonly rows: readonly Row[];
  /** What was left out, and why. */
  readonly skipped: readonly string[];
}

export function missed({ figure, target }: Row): boolean {
  return target !== undefined && figure.median > target;
}

export function formatSection({ name, title, rows, skipped }: Section): string {
  const table = formatTable(
    ['', 'MEDIAN', 'P10', 'P90', 'RUNS', 'TARGET'],
    rows.map((row) => [
      `  ${row.what}`,
      `${number(row.figure.median, row.unit)} ${row.unit}`,
      number(row.figure.p10, row.unit),
      number(row.figure.p90, row.unit),
      String(row.figure.count),
      row.target === undefined ? '' : `at most ${row.target}: ${missed(row) ? 'MISSED' : 'met'}`,
    ]),
    {
      header: rows.length > 0,
      paintHeader: (line) => line.trimEnd(),
      paintCell: (text) => text,
    },
  );
  const lines = table.split('\n').map((line) => line.trimEnd());
  return [`${name}: ${title}`, ...lines.slice(0, -1), ...skipped.map((why) => `  skipped: ${why}`), ''].join(
    '\n',
  );
}

function number(value: number, unit: Row['unit']): string {
  return unit === '/s' ? Math.round(value).toLocaleString('en') : value.toFixed(unit === 'MiB' ? 1 : 2);
}
