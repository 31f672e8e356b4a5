import { formatTable } from '../../src/commands/table.js';
import type { Spread } from './statistics.js';

/** One figure of a section. A target is the most that its median may be, `least` the least. */
export interface Row {
  readonly what: string;
  readonly unit: 'ms' | 'us' | 'ns' | '/s' | 'MiB' | 'x';
  readonly figure: Spread;
  readonly target?: number;
  readonly least?: number;
}

/** What is counted, not timed. */
export interface Counts {
  readonly heads: readonly string[];
  readonly lines: readonly (readonly string[])[];
  /** What was promised and did not hold. */
  readonly broken: readonly string[];
}

export interface Section {
  readonly name: string;
  readonly title: string;
  readonly rows: readonly Row[];
  readonly counts?: Counts;
  /** What was left out, and why. */
  readonly skipped: readonly string[];
}

function missed({ figure: { median }, target = Infinity, least = -Infinity }: Row): boolean {
  return median > target || median < least;
}

function verdict(row: Row): string {
  const { target, least } = row;
  if (target === undefined && least === undefined) return '';
  const wanted = target === undefined ? `at least ${least}` : `at most ${target}`;
  return `${wanted}: ${missed(row) ? 'MISSED' : 'met'}`;
}

/** Whether a target is missed or a promise is broken. */
export function failed({ rows, counts }: Section): boolean {
  return rows.some(missed) || (counts?.broken.length ?? 0) > 0;
}

export function formatSection({ name, title, rows, counts, skipped }: Section): string {
  const figures = rows.map((row) => [
    `  ${row.what}`,
    `${number(row.figure.median, row.unit)} ${row.unit}`,
    number(row.figure.p10, row.unit),
    number(row.figure.p90, row.unit),
    String(row.figure.count),
    verdict(row),
  ]);
  const counted = (counts?.lines ?? []).map(([what = '', ...cells]) => [`  ${what}`, ...cells]);
  return [
    `${name}: ${title}`,
    ...table(['', 'MEDIAN', 'P10', 'P90', 'RUNS', 'TARGET'], figures),
    ...table(counts?.heads ?? [], counted),
    ...(counts?.broken ?? []).map((what) => `  BROKEN: ${what}`),
    ...skipped.map((why) => `  skipped: ${why}`),
    '',
  ].join('\n');
}

function table(heads: readonly string[], lines: readonly (readonly string[])[]): string[] {
  const options = {
    header: lines.length > 0,
    paintHeader: (line: string) => line.trimEnd(),
    paintCell: (text: string) => text,
  };
  const text = formatTable(heads, lines, options);
  return text
    .split('\n')
    .map((line) => line.trimEnd())
    .slice(0, -1);
}

function number(value: number, unit: Row['unit']): string {
  return unit === '/s' ? Math.round(value).toLocaleString('en') : value.toFixed(unit === 'MiB' ? 1 : 2);
}
