import { oneReservation, withDaemon } from './fixture.js';
import { programs, timeCommands } from './programs.js';
import type { Section } from './report.js';
import { startFdHolder, whyNoS6 } from './s6.js';
import { ratio, spread } from './statistics.js';

const rounds = 40;
const runs = 20;

/** What it costs a service that it is started through berth-claim, beside s6-fdholder-retrieve and nothing at all. */
export async function benchClaim(): Promise<Section> {
  const missing = whyNoS6();
  return withDaemon(oneReservation(), async (berthd, directory) => {
    const s6 = missing === undefined ? await startFdHolder(directory) : undefined;
    try {
      const times = await timeCommands(rounds, runs, [
        ['true'],
        [programs.claim, '--control', berthd.control, 'bench', '--', 'true'],
        ...(s6 === undefined ? [] : [['s6-fdholder-retrieve', s6.socket, s6.id, 'true']]),
      ]);
      const [floor = [], berth = [], peer] = times.map((command) =>
        command.map((round) => round.map((nanoseconds) => nanoseconds / 1e6)),
      );
      return {
        name: 'claim',
        title: 'a command, from its start to its end',
        rows: [
          { what: 'true', unit: 'ms', figure: spread(floor.flat()) },
          { what: 'berth-claim NAME -- true', unit: 'ms', figure: spread(berth.flat()) },
          ...(peer === undefined
            ? []
            : ([
                { what: 's6-fdholder-retrieve SOCK ID true', unit: 'ms', figure: spread(peer.flat()) },
                {
                  what: 'berth-claim to s6-fdholder-retrieve',
                  unit: 'x',
                  figure: ratio(berth, peer),
                  target: 1,
                },
              ] as const)),
          { what: 'berth-claim to true', unit: 'x', figure: ratio(berth, floor) },
        ],
        skipped: missing === undefined ? [] : [missing],
      };
    } finally {
      await s6?.stop();
    }
  });
}
