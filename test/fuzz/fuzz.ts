import { appendFileSync, readdirSync, readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import fc from 'fast-check';
import { root } from '../support/processes.js';

/**
 * How many inputs each target gets: a few in CI; FUZZ_RUNS=100000 for that many, FUZZ_RUNS=long (test/fuzz.sh) for a
 * million and more in all. FUZZ_SEED repeats a run. FUZZ_COUNTS names a file that gets a line `TARGET INPUTS` of each.
 */
const wanted = process.env['FUZZ_RUNS'] ?? 'short';
const seed = process.env['FUZZ_SEED'];

/** The inputs of one target; where it costs more than a parser does, say how many of a long run's it gets. */
export function runsOf(short: number, long: number): number {
  return wanted === 'short' ? short : wanted === 'long' ? long : Number(wanted);
}

export function counted(t: TestContext, target: string, inputs: number): void {
  t.diagnostic(`${target}: ${inputs} inputs`);
  const file = process.env['FUZZ_COUNTS'];
  if (file !== undefined) appendFileSync(file, `${target} ${inputs}\n`);
}

/** Every file of a target's corpus, as it is. */
export function corpusOf(target: string): Buffer[] {
  const directory = `${root}test/fuzz/corpus/${target}`;
  return readdirSync(directory)
    .sort()
    .map((name) => readFileSync(`${directory}/${name}`));
}

/** Bytes on which parsers decide something. */
const tokens = [
  ...['', '\0', '\n', '\r\n', ' ', '\t', '"', "'", '\\', '\\\n', '=', '%', '%%', '$', ':', ';', '#', '[', ']', '/', '@', '..', '-', '+', '!'],
  ...['0', '1', '-1', '65535', '65536', '4294967296', '99999999999999999999', '0x', '1e9', '__proto__', 'é', '\u{1f600}', '\u202e'],
].map((text) => Buffer.from(text)); // prettier-ignore

const change = fc.record({
  at: fc.nat(),
  gone: fc.nat(9),
  put: fc.oneof(
    fc.constantFrom(...tokens),
    fc.uint8Array({ maxLength: 6 }),
    fc.tuple(fc.nat(), fc.nat(40)).map(([from, length]) => ({ from, length })),
  ),
});

/** A corpus' entry, with up to eight changes: bytes that go, and what comes in their place, out of another entry too. */
export function mutated(target: string): fc.Arbitrary<Buffer> {
  const corpus = corpusOf(target);
  const all = Buffer.concat(corpus);
  return fc.tuple(fc.constantFrom(...corpus), fc.array(change, { maxLength: 8 })).map(([entry, changes]) =>
    changes.reduce((data, { at, gone, put }) => {
      const place = at % (data.length + 1);
      const bytes = put instanceof Uint8Array ? put : slice(all, put);
      return Buffer.concat([data.subarray(0, place), bytes, data.subarray(place + gone)]);
    }, entry),
  );
}

function slice(all: Buffer, { from, length }: { from: number; length: number }): Buffer {
  const start = from % (all.length + 1);
  return all.subarray(start, start + length);
}

/** Texts for a parser: its corpus, what is made of it, and what has nothing to do with it. */
export function texts(target: string): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 5, arbitrary: mutated(target).map((bytes) => bytes.toString('utf8')) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
  );
}

/** The corpus as it is, then generated inputs; `check` throws at what must not be. */
export function fuzz<T>(
  t: TestContext,
  target: string,
  inputs: fc.Arbitrary<T>,
  check: (input: T) => void,
  { short = 400, long = 45_000, examples = [] as readonly T[] } = {},
): void {
  let ran = 0;
  const count = (input: T): void => {
    ran++;
    check(input);
  };
  examples.forEach(count);
  fc.assert(fc.property(inputs, count), {
    numRuns: runsOf(short, long),
    ...(seed === undefined ? {} : { seed: Number(seed) }),
  });
  counted(t, target, ran);
}
