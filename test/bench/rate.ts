import { oneReservation, withDaemon } from './fixture.js';
import { programs, runJson } from './programs.js';
import type { Row, Section } from './report.js';
import { startFdHolder, whyNoS6 } from './s6.js';
import { ratio, spread } from './statistics.js';

const rounds = 9;
const milliseconds = 700;

interface Load {
  readonly claims: number;
  readonly nanoseconds: number;
  readonly slowest: number;
}

/** How many claims a daemon grants in a second, each on a connection of its own. */
export async function benchRate(): Promise<Section> {
  const missing = whyNoS6();
  return withDaemon(oneReservation(), async (berthd, directory) => {
    const s6 = missing === undefined ? await startFdHolder(directory) : undefined;
    try {
      const rows: Row[] = [];
      for (const clients of [1, 8]) rows.push(...(await compare(clients, berthd.control, s6)));
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

async function compare(
  clients: number,
  control: string,
  s6: { socket: string; id: string } | undefined,
): Promise<Row[]> {
  const berth: Load[] = [];
  const peer: Load[] = [];
  for (let round = 0; round < rounds; round++) {
    berth.push(await load('berth', control, 'bench', clients));
    if (s6 !== undefined) peer.push(await load('s6', s6.socket, s6.id, clients));
  }
  const crowd = clients === 1 ? '1 client' : `${clients} clients`;
  const rates = (loads: Load[]): number[] => loads.map((one) => (one.claims / one.nanoseconds) * 1e9);
  const slowest = (loads: Load[]): number[] => loads.map((one) => one.slowest / 1e6);
  const berthRows: Row[] = [
    { what: `berthd, ${crowd}`, unit: '/s', figure: spread(rates(berth)) },
    { what: `berthd, ${crowd}, slowest claim of a round`, unit: 'ms', figure: spread(slowest(berth)) },
  ];
  if (s6 === undefined) return berthRows;
  const each = (loads: Load[]): number[][] => rates(loads).map((rate) => [rate]);
  return [
    ...berthRows,
    { what: `s6-fdholderd, ${crowd}`, unit: '/s', figure: spread(rates(peer)) },
    { what: `s6-fdholderd, ${crowd}, slowest claim of a round`, unit: 'ms', figure: spread(slowest(peer)) },
    { what: `berthd to s6-fdholderd, ${crowd}`, unit: 'x', figure: ratio(each(berth), each(peer)) },
  ];
}

function load(protocol: 'berth' | 's6', socket: string, name: string, clients: number): Promise<Load> {
  return runJson(programs.claimLoad, protocol, socket, name, String(clients), String(milliseconds));
}
