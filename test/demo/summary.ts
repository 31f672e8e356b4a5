import { grouped } from './progress.js';
import type { Result } from './run.js';

/** The two runs side by side, and what they come to. */
export function formatSummary(berth: Result, old: Result): string {
  const row = (what: string, figure: (result: Result) => string): string =>
    `  ${what.padEnd(42)}${figure(berth).padStart(14)}${figure(old).padStart(20)}`;
  const count = (what: string, key: keyof Omit<Result, 'way'>): string =>
    row(what, (result) => grouped(result[key]));
  return [
    row('', ({ way }) => way),
    count('starts of the server', 'starts'),
    count('  that found its port stolen', 'failedStarts'),
    count('attempts of the thieves', 'attempts'),
    count('  that got a port (thefts)', 'thefts'),
    count('requests of the client: served', 'served'),
    count('  refused, while the server was down', 'refused'),
    count('  cut off without an answer', 'cutOff'),
    row(
      'datagrams of the client: echoed',
      ({ echoed, datagrams }) => `${Math.round((echoed / datagrams) * 100)} %`,
    ),
    row('seconds', ({ seconds }) => seconds.toFixed(1)),
    '',
    sentence(berth, old),
  ].join('\n');
}

function sentence(berth: Result, old: Result): string {
  const kept =
    lost(berth) === 0
      ? `berth kept the port through ${berth.starts} restarts and ${grouped(berth.attempts)} attempts on it`
      : `berth LOST the port: ${berth.thefts} thefts, ${berth.failedStarts} failed starts`;
  return `${kept}; letting go and binding again lost it in ${old.failedStarts} of ${old.starts} starts.`;
}

/** What must be 0 with berth. */
export function lost({ thefts, failedStarts }: Result): number {
  return thefts + failedStarts;
}
