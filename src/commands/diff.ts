/** The lines of two texts, each with a space where both have it, `-` where only the first and `+` where only the second. */
export function diffLines(before: string, after: string): string[] {
  const a = lines(before);
  const b = lines(after);
  // The length of the longest common subsequence of a[i...] and b[j...].
  const common = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  const at = (i: number, j: number): number => common[i]?.[j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const row = common[i];
      if (row !== undefined)
        row[j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const result: string[] = [];
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      result.push(` ${a[i++] ?? ''}`);
      j++;
    } else if (i < a.length && (j === b.length || at(i + 1, j) >= at(i, j + 1)))
      result.push(`-${a[i++] ?? ''}`);
    else result.push(`+${b[j++] ?? ''}`);
  }
  return result;
}

function lines(text: string): string[] {
  return text === '' ? [] : text.replace(/\n$/, '').split('\n');
}
