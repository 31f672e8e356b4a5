import { readdirSync, readFileSync } from 'node:fs';
import { oneReservation, withDaemon } from './fixture.js';
import { programs, runJson } from './programs.js';
import type { Row, Section } from './report.js';
import { startFdHolder, whyNoS6 } from './s6.js';
import { ratio, spread } from './statistics.js';

const rounds = 11;
/**
 * Of a round, so short that whatever else the machine does meets both daemons: on which processors the scheduler puts a
 * client and a daemon changes all the time, and decides more than anything else does.
 */
const turns = 6;
const milliseconds = 100;

/** One client after the other, some at once, and a crowd of which nearly all wait. */
const crowds = [1, 8, 100];

/** Of one turn: what the clients saw, in nanoseconds, and what the daemon's threads took of a processor meanwhile. */
interface Load {
  readonly claims: number;
  readonly nanoseconds: number;
  readonly median: number;
  readonly p99: number;
  readonly cpu: number;
}

interface Server {
  readonly name: string;
  readonly protocol: 'berth' | 's6';
  readonly pid: number;
  readonly socket: string;
  readonly id: string;
}

/** How many claims a daemon grants in a second, each on a connection of its own. */
export async function benchRate(): Promise<Section> {
  const missing = whyNoS6();
  return withDaemon(oneReservation(), async (berthd, directory) => {
    const s6 = missing === undefined ? await startFdHolder(directory) : undefined;
    try {
      const servers: Server[] = [
        { name: 'berthd', protocol: 'berth', pid: berthd.pid, socket: berthd.control, id: 'bench' },
        ...(s6 === undefined ? [] : [{ name: 's6-fdholderd', protocol: 's6', ...s6 } as const]),
      ];
      const rows: Row[] = [];
      for (const clients of crowds) rows.push(...(await compare(clients, servers)));
      return {
        name: 'rate',
        title: 'claims a second, a connection a claim',
        rows,
        skipped: missing === undefined ? [] : [missing],
      };
    } finally {
      await s6?.stop();
    }
  });
}

async function compare(clients: number, servers: readonly Server[]): Promise<Row[]> {
  const loads = servers.map((server) => ({ server, done: [] as Load[] }));
  for (let turn = 0; turn < rounds * turns; turn++)
    // Each is the first one every other time, so that a machine that becomes slower or faster is so for both.
    for (const { server, done } of turn % 2 === 0 ? loads : loads.toReversed())
      done.push(await load(server, clients));
  const crowd = clients === 1 ? '1 client' : `${clients} clients`;
  const rows = loads.flatMap(({ server: { name }, done }): Row[] => [
    { what: `${name}, ${crowd}`, unit: '/s', figure: spread(done.map(rate)) },
    {
      what: `${name}, ${crowd}, a claim`,
      unit: 'us',
      figure: spread(done.map(({ median }) => median / 1e3)),
    },
    {
      what: `${name}, ${crowd}, 99 of 100 within`,
      unit: 'ms',
      figure: spread(done.map(({ p99 }) => p99 / 1e6)),
    },
    {
      what: `${name}, ${crowd}, processor time of a claim`,
      unit: 'us',
      figure: spread(done.map(({ cpu, claims }) => cpu / claims / 1e3)),
    },
  ]);
  const [berth, peer] = loads.map(({ done }) =>
    Array.from({ length: rounds }, (_, round) => done.slice(round * turns, (round + 1) * turns).map(rate)),
  );
  if (berth === undefined || peer === undefined) return rows;
  return [
    ...rows,
    { what: `berthd to s6-fdholderd, ${crowd}`, unit: 'x', figure: ratio(berth, peer), least: 1 },
  ];
}

function rate({ claims, nanoseconds }: Load): number {
  return (claims / nanoseconds) * 1e9;
}

async function load({ protocol, pid, socket, id }: Server, clients: number): Promise<Load> {
  const before = processorTime(pid);
  const seen = await runJson<Omit<Load, 'cpu'>>(
    programs.claimLoad,
    protocol,
    socket,
    id,
    String(clients),
    String(milliseconds),
  );
  return { ...seen, cpu: processorTime(pid) - before };
}

/** Nanoseconds, of all threads that there are. */
function processorTime(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((thread) => parseInt(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8'), 10))
    .reduce((sum, nanoseconds) => sum + nanoseconds, 0);
}
