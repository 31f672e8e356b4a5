import { bootLab } from '../lab/lab.js';
import type { Lab } from '../lab/lab.js';
import { peer, peerAt, reservation, reservations } from '../lab/claims.js';
import { whyNoLab } from '../lab/requirements.js';
import type { Row, Section } from './report.js';
import { ratio, spread } from './statistics.js';

const rounds = 12;
const startsInARound = 5;

/** A service that takes descriptors, and one that binds by itself: the same program otherwise. */
const takes = `${peer} serve --notify`;
const binds = (port: number): string => `${peer} serve --bind :: ${port} --notify`;

/** The ways of starting one, each with a port of its own. The first is what the others are compared with. */
const ways = [
  { name: 'plain', port: 8001, command: binds },
  { name: 'store', port: 8002, command: () => takes, handoff: 'store' },
  { name: 'exec', port: 8003, command: () => takes, handoff: 'exec' },
  { name: 'bind', port: 8004, command: binds, handoff: 'bind' },
] as const;

/** What berth adds to the start of a service in each mode. */
export async function benchStart(): Promise<Section> {
  const section = {
    name: 'start',
    title: 'a service with a TCP and a UDP port, from its unit being started to its READY=1',
  };
  const why = whyNoLab();
  if (why !== undefined) return { ...section, rows: [], skipped: [why] };
  const held = ways.flatMap((way) => ('handoff' in way ? [way] : []));
  const lab = await bootLab({
    name: 'bench-start',
    programs: peerAt(),
    units: Object.fromEntries(
      ways.map(({ name, port, command }) => [`${name}.service`, unitOf(command(port))]),
    ),
    files: reservations(
      Object.fromEntries(
        held.map(({ name, port, handoff }) => [
          name,
          reservation([`ListenStream=${port}`, `ListenDatagram=${port}`], [`Handoff=${handoff}`]),
        ]),
      ),
    ),
  });
  try {
    const times = ways.map((): number[][] => []);
    for (let round = 0; round < rounds; round++) {
      for (const [index, { name }] of ways.entries()) {
        const starts: number[] = [];
        for (let n = 0; n < startsInARound; n++) starts.push(await start(lab, `${name}.service`));
        times[index]?.push(starts);
      }
    }
    return { ...section, rows: [...rowsOf(times)], skipped: [] };
  } finally {
    await lab.close();
  }
}

function unitOf(command: string): string {
  return `[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nExecStart=${command}\n`;
}

/** In milliseconds, by systemd's own clock: systemctl's time is not in it. */
async function start(lab: Lab, unit: string): Promise<number> {
  await lab.systemctl('restart', unit);
  const times = await lab.systemctl(
    'show',
    '--property=InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic',
    unit,
  );
  const time = (what: string): number =>
    Number(new RegExp(`^${what}TimestampMonotonic=(\\d+)$`, 'm').exec(times)?.[1]);
  return (time('ActiveEnter') - time('InactiveExit')) / 1000;
}

function* rowsOf(times: readonly number[][][]): Generator<Row> {
  for (const [index, { name }] of ways.entries()) {
    const of = times[index] ?? [];
    yield { what: name, unit: 'ms', figure: spread(of.flat()) };
    if (index > 0) yield { what: `${name} to plain`, unit: 'x', figure: ratio(of, times[0] ?? []) };
  }
}
