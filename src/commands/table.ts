import { padEnd, truncate, width } from './text.js';

export interface TableOptions {
  /** The terminal's width; where it is undefined, nothing is cut. */
  readonly columns?: number | undefined;
  readonly header: boolean;
  readonly paintHeader: (line: string) => string;
  /** Colours a cell that is already as wide as its column. */
  readonly paintCell: (text: string, row: number, column: number) => string;
}

const gap = 2;
const narrowest = 10;

/** Aligned lines, each with its newline. Only the widest column is cut, and only as far as it takes to fit. */
export function formatTable(
  heads: readonly string[],
  rows: readonly (readonly string[])[],
  options: TableOptions,
): string {
  const widths = fit(natural(options.header ? [heads, ...rows] : rows), options.columns);
  const line = (cells: readonly string[], paint: (text: string, column: number) => string): string =>
    `${cells
      .map((cell, column) => {
        const room = widths[column] ?? 0;
        const text = truncate(cell, room);
        // No blanks at the end of a line.
        return paint(column === cells.length - 1 ? text : padEnd(text, room), column);
      })
      .join(' '.repeat(gap))}\n`;

  const header = options.header ? [options.paintHeader(line(heads, (text) => text).trimEnd()) + '\n'] : [];
  const body = rows.map((cells, row) => line(cells, (text, column) => options.paintCell(text, row, column)));
  return [...header, ...body].join('');
}

function natural(lines: readonly (readonly string[])[]): number[] {
  const widths: number[] = [];
  for (const cells of lines) {
    cells.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, width(cell));
    });
  }
  return widths;
}

function fit(widths: readonly number[], columns: number | undefined): readonly number[] {
  const total = widths.reduce((sum, each) => sum + each, 0) + gap * (widths.length - 1);
  if (columns === undefined || total <= columns) {
    return widths;
  }
  const widest = widths.indexOf(Math.max(...widths));
  return widths.map((each, column) =>
    column === widest ? Math.max(Math.min(narrowest, each), each - (total - columns)) : each,
  );
}
