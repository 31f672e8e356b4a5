import { parseArgs } from 'node:util';
import { exitOnSignals, makeDirectory } from '../bench/cleanup.js';
import { Progress } from './progress.js';
import { run } from './run.js';
import type { Result } from './run.js';
import { formatSummary, lost } from './summary.js';
import { Thieves } from './thief.js';
import { closeThenBind, host, withBerth } from './ways.js';
import type { Way } from './ways.js';

const usage = `usage: npm run demo -- [--restarts N]

Restarts a small server N times (200 by default) while thieves try to take its port and a client goes on asking: with
berth, and by letting go of the port and binding it again. Ends with 1 when berth loses the port.
`;

async function show(what: string, way: Way, restarts: number): Promise<Result> {
  try {
    console.log(`${what}, ${host} port ${way.port}`);
    const progress = new Progress(way.name, restarts);
    return await run(way, restarts, (soFar) => {
      progress.show(soFar);
    });
  } finally {
    await way.close();
  }
}

async function main(directory: string): Promise<number> {
  const { values } = parseArgs({ options: { restarts: { type: 'string' }, help: { type: 'boolean' } } });
  const restarts = Number(values.restarts ?? 200);
  if (values.help === true || !Number.isInteger(restarts) || restarts < 1 || restarts > 100_000) {
    process.stderr.write(usage);
    return values.help === true ? 0 : 2;
  }
  console.log(
    `A server is restarted ${restarts} times. ${Thieves.count} thieves try for its port without a pause, TCP and UDP, with\n` +
      `and without SO_REUSEADDR, while a client goes on asking.\n`,
  );
  const berth = await show(
    'With berth: it holds the port and hands it over',
    await withBerth(directory),
    restarts,
  );
  const old = await show(
    'The old way: a holder lets go, the server binds',
    await closeThenBind(directory),
    restarts,
  );
  console.log(`\n${formatSummary(berth, old)}`);
  return lost(berth) === 0 ? 0 : 1;
}

exitOnSignals();
main(makeDirectory()).then(
  (status) => process.exit(status),
  (error: unknown) => {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  },
);
