/** The middle of a set of measurements, and the tenths of it that lie below and above. */
export interface Spread {
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
  readonly count: number;
}

/** Throws for an empty set: a benchmark without measurements has failed. */
export function spread(values: readonly number[]): Spread {
  if (values.length === 0) throw new Error('nothing was measured');
  const sorted = [...values].sort((a, b) => a - b);
  const at = (part: number): number => {
    const place = (sorted.length - 1) * part;
    const low = sorted[Math.floor(place)] ?? NaN;
    const high = sorted[Math.ceil(place)] ?? NaN;
    return low + (high - low) * (place - Math.floor(place));
  };
  return { median: at(0.5), p10: at(0.1), p90: at(0.9), count: values.length };
}

/**
 * How two series of rounds compare: the ratio of their medians in each round, so that what slows the machine for a while
 * slows both sides of each ratio.
 */
export function ratio(over: readonly (readonly number[])[], under: readonly (readonly number[])[]): Spread {
  return spread(over.map((round, index) => spread(round).median / spread(under[index] ?? []).median));
}
