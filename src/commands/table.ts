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

/** Aligned lines, each with its newline. The widest columns are cut, and only as far as it takes to fit. */
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
  const fitted = [...widths];
  for (let over = total - columns; over > 0;) {
    const widest = fitted.indexOf(Math.max(...fitted));
    const room = fitted[widest] ?? 0;
    // Down to the next widest one first, so that two long columns share the loss.
    const next = Math.max(narrowest, ...fitted.filter((each) => each < room));
    if (room <= narrowest) break;
    const cut = Math.min(over, Math.max(1, room - next));
    fitted[widest] = room - cut;
    over -= cut;
  }
  return fitted;
}
