import { setTimeout as delay } from 'node:timers/promises';
import { Client } from './client.js';
import type { Traffic } from './client.js';
import { Thieves } from './thief.js';
import type { Thefts } from './thief.js';
import { host } from './ways.js';
import type { Way } from './ways.js';

/** How long a server stays down between two runs: as a service does that is upgraded or crashed. */
const downMs = 30;
const patienceMs = 10_000;

/** What came of one way to keep a port. */
export interface Result extends Thefts, Traffic {
  readonly way: string;
  readonly port: number;
  /** Starts of the server, and how many of them failed because a thief had the port. */
  readonly starts: number;
  readonly failedStarts: number;
  readonly seconds: number;
}

/** Starts and stops a server `restarts` times, beside thieves and a client that never pauses. */
export async function run(
  way: Way,
  restarts: number,
  progress: (soFar: Pick<Result, 'starts' | 'failedStarts' | 'attempts' | 'thefts' | 'served'>) => void,
): Promise<Result> {
  const begin = performance.now();
  const thieves = await Thieves.start(host, way.port);
  const client = new Client(host, way.port);
  let failedStarts = 0;
  let starts = 0;
  try {
    while (starts < restarts) {
      starts++;
      if (!(await serveOnce(way, client))) failedStarts++;
      await way.afterStop();
      await delay(downMs);
      progress({ starts, failedStarts, ...thieves.soFar, served: client.traffic.served });
    }
  } finally {
    client.close();
  }
  const thefts = await thieves.stop();
  const seconds = (performance.now() - begin) / 1000;
  return { way: way.name, port: way.port, starts, failedStarts, ...client.traffic, ...thefts, seconds };
}

/** One run of the server, until the client has been served by it. False when it could not have its port. */
async function serveOnce(way: Way, client: Client): Promise<boolean> {
  const server = way.startServer();
  const { pid } = server.process;
  if (pid === undefined) throw new Error(`cannot run ${server.process.spawnfile}`);
  const timeout = new AbortController();
  const outcome = await Promise.race([
    client.servedBy(pid).then(() => 'serves' as const),
    server.exit,
    delay(patienceMs, 'silent' as const, { signal: timeout.signal }).catch(() => 'silent' as const),
  ]);
  timeout.abort();
  if (outcome === 'silent') throw new Error(`no answer from the server in ${patienceMs / 1000} s`);
  if (outcome !== 'serves') {
    if (server.complaint().includes('Address already in use')) return false;
    throw new Error(`the server ended with ${outcome}: ${server.complaint()}`);
  }
  server.process.kill('SIGTERM');
  await server.exit;
  return true;
}
