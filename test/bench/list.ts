import { tcpReservations, withDaemon } from './fixture.js';
import { programs, timeCommands } from './programs.js';
import type { Row, Section } from './report.js';
import { ratio, spread } from './statistics.js';

const rounds = 15;
const runs = 3;

/** What a person waits for at `berth list`, beside what Node itself needs. */
export async function benchList(): Promise<Section> {
  const rows: Row[] = [];
  for (const size of [10, 1000]) {
    await withDaemon(tcpReservations(size), async ({ control }) => {
      const [node = [], list = []] = await timeCommands(rounds, runs, [
        [process.execPath, '-e', '0'],
        [
          'sh',
          '-c',
          'exec "$@" >/dev/null',
          'sh',
          process.execPath,
          programs.berth,
          'list',
          '--control',
          control,
        ],
      ]).then((times) => times.map((command) => command.map((round) => round.map((time) => time / 1e6))));
      const reservations = `${size.toLocaleString('en')} reservations`;
      rows.push(
        { what: `node -e 0, beside ${reservations}`, unit: 'ms', figure: spread(node.flat()) },
        { what: `berth list, ${reservations}`, unit: 'ms', figure: spread(list.flat()) },
        { what: `berth list to node -e 0, ${reservations}`, unit: 'x', figure: ratio(list, node) },
      );
    });
  }
  return { name: 'list', title: 'berth list, from its start to its end', rows, skipped: [] };
}
