/** Characters, not UTF-16 units; a terminal shows each as one cell but for the East Asian wide ones. */
export function width(text: string): number {
  return Array.from(text).length;
}

export function padEnd(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - width(text)));
}

/** At most `columns` wide, with … in the place of what is missing. */
export function truncate(text: string, columns: number): string {
  return width(text) <= columns
    ? text
    : `${Array.from(text)
        .slice(0, columns - 1)
        .join('')}…`;
}
