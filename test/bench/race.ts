import { flood, peerAt } from '../lab/claims.js';
import { bootLab } from '../lab/lab.js';
import type { Lab } from '../lab/lab.js';
import { whyNoLab } from '../lab/requirements.js';
import { askThief, everyKind } from '../lab/thief.js';
import type { ThiefReport } from '../lab/thief.js';
import { programs } from './programs.js';
import { port, ways } from './race-ways.js';
import type { Way } from './race-ways.js';
import type { Section } from './report.js';

const restarts = Number(process.env['RACE_RESTARTS'] ?? 200);
const only = process.env['RACE_WAYS'];

interface Outcome {
  readonly attempts: number;
  readonly thefts: number;
  readonly failedStarts: number;
  readonly served: number;
  readonly refused: number;
  readonly cut: number;
  readonly seconds: number;
}

/** Restarts a service over and over in each way of starting one, while thieves try for its port and a client asks. */
export async function benchRace(): Promise<Section> {
  const section = {
    name: 'race',
    title: `${restarts} restarts of a service in each way, under thieves of every kind`,
    rows: [],
  };
  const why = whyNoLab();
  if (why !== undefined) return { ...section, skipped: [why] };
  const lines: string[][] = [];
  const broken: string[] = [];
  for (const way of ways) {
    if (only !== undefined && !way.name.includes(only)) continue;
    const outcome = await race(way);
    lines.push(lineOf(way, outcome));
    const counted = {
      thefts: outcome.thefts,
      'failed starts': outcome.failedStarts,
      refused: outcome.refused,
    };
    for (const what of way.promised) {
      if (counted[what] > 0) broken.push(`${way.name}: ${counted[what]} ${what}`);
    }
  }
  const heads = ['', 'THEFTS', 'FAILED STARTS', 'REFUSED', 'CUT', 'SERVED', 'ATTEMPTS', 'MS A RESTART'];
  return { ...section, counts: { heads, lines, broken }, skipped: [] };
}

function lineOf({ name }: Way, outcome: Outcome): string[] {
  const { thefts, failedStarts, refused, cut, served, attempts, seconds } = outcome;
  const counts = [thefts, failedStarts, refused, cut, served, attempts];
  return [
    name,
    ...counts.map((count) => count.toLocaleString('en')),
    ((seconds * 1000) / restarts).toFixed(0),
  ];
}

async function race(way: Way): Promise<Outcome> {
  const lab = await bootLab({
    ...way.lab,
    name: 'race',
    programs: { ...peerAt(), '/usr/local/bin/thief': programs.thief },
    units: {
      ...way.lab.units,
      // Every moment that is left is theirs, but the service's own.
      'thief.service': `[Service]
Type=notify
Nice=19
ExecStart=/usr/local/bin/thief --port ${port} ${everyKind} --and --bindresvport
`,
    },
  });
  try {
    return await raceIn(lab);
  } catch (error) {
    throw new Error(`${way.name}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  } finally {
    await lab.close();
  }
}

/** What all have done; throws when one of them has not gone on to the end, or could not have got the port at all. */
async function askAll(lab: Lab): Promise<ThiefReport> {
  const report = await askThief(lab);
  const goOn = async (): Promise<true | undefined> => {
    const { kinds } = await askThief(lab);
    const idle = Object.entries(report.kinds).filter(
      ([kind, { attempts }]) => (kinds[kind]?.attempts ?? 0) <= attempts,
    );
    return idle.length === 0 ? true : undefined;
  };
  await lab.until('every thief to go on', goOn, 30_000);
  for (const [kind, { otherErrors, lastError }] of Object.entries(report.kinds))
    if (otherErrors > 0) throw new Error(`${kind}: ${otherErrors} times ${lastError}`);
  return report;
}

/** The service has its port before the first thief comes: a boot is another question. */
async function raceIn(lab: Lab): Promise<Outcome> {
  await lab.systemctl('start', 'web.service');
  await lab.systemctl('start', 'thief.service');
  const client = flood(lab, 'tcp', '127.0.0.1', port);
  const begun = performance.now();
  const failedStarts = Number(
    await lab.text(
      `failed=0
for n in $(seq ${restarts}); do systemctl restart web.service 2>/dev/null || failed=$((failed + 1)); done
echo $failed`,
      { timeoutMs: 60_000 + restarts * 2000 },
    ),
  );
  const seconds = (performance.now() - begun) / 1000;
  const { answered, refused, cut, silent } = await client.end();
  const { attempts, thefts } = await askAll(lab);
  return { attempts, thefts, failedStarts, served: answered, refused, cut: cut + silent, seconds };
}
