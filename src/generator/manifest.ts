import type { Plan } from './plan.js';

/** Lines for the log; more would drown what else happens at a boot. */
const logLimit = 20;
const logLineLimit = 900; // LINE_MAX of /dev/kmsg is 1024, with a header

/**
 * What the guard, berth-generator.c, works from: `berth-generator 1 VERSION`, then the stamps of the inputs (or `U` when
 * it must not be kept), `L TEXT` for the log, `O LENGTH PATH` and the bytes of a drop-in, and `end`. The format is
 * between programs of one version; the first line holds them together.
 */
export function manifest(
  version: string,
  stamps: string | undefined,
  plan: Plan,
  complaints: readonly string[],
): string {
  const lines = complaints.slice(0, logLimit).map((line) => `L ${oneLine(line)}\n`);
  if (complaints.length > logLimit)
    lines.push(`L and ${complaints.length - logLimit} more: see berth generate\n`);
  const files = plan.units.flatMap(({ file }) => (file === undefined ? [] : [file]));
  const outputs = files.map(({ path, text }) => `O ${Buffer.byteLength(text)} ${path}\n${text}\n`);
  return `berth-generator 1 ${version}\n${stamps ?? 'U\n'}${lines.join('')}${outputs.join('')}end\n`;
}

function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what this is about
  const clean = text.replace(/[\u0000-\u001f\u007f]/g, '?');
  return Buffer.byteLength(clean) > logLineLimit
    ? `${Buffer.from(clean).toString('utf8', 0, logLineLimit)}...`
    : clean;
}
