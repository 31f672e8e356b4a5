import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { benchBind } from './bind.js';
import { benchClaim } from './claim.js';
import { exitOnSignals } from './cleanup.js';
import { benchList } from './list.js';
import { benchRace } from './race.js';
import { benchRate } from './rate.js';
import { failed, formatSection } from './report.js';
import type { Section } from './report.js';
import { benchReload } from './reload.js';
import { benchRestart } from './restart.js';
import { benchScale } from './scale.js';
import { benchStart } from './start.js';

const sections: Readonly<Record<string, () => Promise<Section>>> = {
  claim: benchClaim,
  rate: benchRate,
  scale: benchScale,
  list: benchList,
  restart: benchRestart,
  reload: benchReload,
  start: benchStart,
  bind: benchBind,
  race: benchRace,
};
/** It takes its time, and what it shows at length the tests show in short. */
const onlyNamed = 'race';

const usage = `usage: npm run bench -- [SECTION...] [--json FILE]

Measures berth, and s6-fdholderd beside it. Sections: ${Object.keys(sections).join(', ')}; all but
${onlyNamed} by default, which takes about ten minutes. ${onlyNamed} restarts a service RACE_RESTARTS times (200) in every way of starting one.
Ends with 1 when a target is missed. Only root can measure restart, reload, start and race, which boot machines.
`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { json: { type: 'string' }, help: { type: 'boolean' } },
    allowPositionals: true,
  });
  const wanted =
    positionals.length > 0 ? positionals : Object.keys(sections).filter((name) => name !== onlyNamed);
  const unknown = wanted.filter((name) => !Object.hasOwn(sections, name));
  if (values.help === true || unknown.length > 0) {
    process.stderr.write(usage);
    return values.help === true ? 0 : 2;
  }
  const cpu = cpus();
  const machine = `${cpu.length} x ${cpu[0]?.model.trim() ?? 'CPU'}, Linux ${release()}, Node ${process.version}`;
  console.log(`${machine}\n`);
  const done: Section[] = [];
  for (const name of wanted) {
    const measure = sections[name];
    if (measure === undefined) continue;
    if (process.stderr.isTTY) process.stderr.write(`measuring ${name} ...\r`);
    const section = await measure();
    if (process.stderr.isTTY) process.stderr.write('\x1b[K');
    console.log(formatSection(section));
    done.push(section);
  }
  if (values.json !== undefined) {
    writeFileSync(values.json, `${JSON.stringify({ machine, date: new Date(), sections: done }, null, 2)}\n`);
  }
  return done.some(failed) ? 1 : 0;
}

exitOnSignals();
main().then(
  (status) => {
    process.exitCode = status;
  },
  (error: unknown) => {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  },
);
