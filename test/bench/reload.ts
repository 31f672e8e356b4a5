import { whyNoLab } from '../lab/requirements.js';
import { bootMachine, cpuOf, timerPath } from './machine.js';
import type { BenchMachine, Services } from './machine.js';
import type { Row, Section } from './report.js';
import { ratio, spread } from './statistics.js';

const rounds = 5;
/** daemon-reloads in a row, in each round. */
const runs = 2;
/**
 * Held sockets alone are one descriptor for PID 1, however many they are. Of units it reads all that are loaded, without berth
 * too.
 */
const machinesOf: readonly { readonly size: number; readonly services: Services }[] = [
  { size: 0, services: 'none' },
  { size: 10, services: 'none' },
  { size: 10_000, services: 'none' },
  { size: 10, services: 'loaded' },
  { size: 1000, services: 'loaded' },
];

const mask = '/etc/systemd/system-generators/berth-generator';
const generator = '/usr/lib/systemd/system-generators/berth-generator';

/** The states in which a reload finds the machine, and what brings each of them about, before the reload and in it. */
const states = {
  without: { prepare: `ln -sf /dev/null ${mask}`, change: '' },
  unchanged: { prepare: `rm -f ${mask}`, change: '' },
  changed: { prepare: `rm -f ${mask}`, change: "echo '#' >>/etc/berth/bench-0.conf;" },
} as const;
type State = keyof typeof states;

interface Machine extends BenchMachine {
  readonly services: Services;
}

interface Times {
  /** Milliseconds of each daemon-reload. */
  readonly reload: number[];
  /** Milliseconds of CPU of one, in PID 1 and all generators. */
  readonly cpu: number[];
}

/** What berth adds to systemctl daemon-reload. */
export async function benchReload(): Promise<Section> {
  const section = { name: 'reload', title: 'systemctl daemon-reload, without and with berth-generator' };
  const why = whyNoLab();
  if (why !== undefined) return { ...section, rows: [], skipped: [why] };
  const machines: Machine[] = [];
  try {
    for (const { size, services } of machinesOf)
      machines.push({ ...(await bootMachine(size, services)), services });
    const rows: Row[] = [];
    const results = new Map(machines.map((machine) => [machine, newTimes()]));
    for (let round = 0; round < rounds; round++) {
      for (const [machine, times] of results) {
        for (const state of statesOf(machine)) await measure(machine, state, times[state]);
      }
    }
    for (const [machine, times] of results) {
      for (const state of statesOf(machine)) rows.push(...rowsOf(machine, state, times));
      rows.push(await generatorAlone(machine));
    }
    rows.push(...growth(results));
    return { ...section, rows, skipped: [] };
  } finally {
    for (const { lab } of machines) await lab.close();
  }
}

function newTimes(): Record<State, Times> {
  return {
    without: { reload: [], cpu: [] },
    unchanged: { reload: [], cpu: [] },
    changed: { reload: [], cpu: [] },
  };
}

function statesOf({ size }: Machine): State[] {
  return size === 0 ? ['without', 'unchanged'] : ['without', 'unchanged', 'changed'];
}

async function measure({ lab }: Machine, state: State, { reload, cpu }: Times): Promise<void> {
  const { prepare, change } = states[state];
  await lab.run(prepare);
  await lab.systemctl('daemon-reload');
  const before = cpuOf(lab, 'init.scope');
  const command = ['sh', '-c', `${change} exec systemctl daemon-reload`];
  const [times = []] = await lab.json<number[][][]>([timerPath, '1', `${runs}`, ',', ...command]);
  // The timer begins with a round that it does not tell of.
  cpu.push((cpuOf(lab, 'init.scope') - before) / (2 * runs));
  reload.push(spread(times.flat()).median / 1e6);
}

async function generatorAlone({ lab, size, services }: Machine): Promise<Row> {
  const directories = ['/tmp/generated', '/tmp/generated', '/tmp/generated'];
  const [times = []] = await lab.json<number[][][]>([timerPath, '9', '3', ',', generator, ...directories]);
  const figure = spread(times.flat().map((time) => time / 1e6));
  // It is what the target is for: the reload itself varies by more than that.
  const target = size <= 10 ? { target: 5 } : {};
  return { what: `${nameOf(size, services)}, unchanged: the generator alone`, unit: 'ms', figure, ...target };
}

function nameOf(size: number, services: Services): string {
  if (size === 0) return 'nothing reserved';
  return `${size.toLocaleString('en')} ${services === 'none' ? 'held, Handoff=none' : 'units with drop-ins'}`;
}

/** What the most cost against 10, with berth and without. */
function growth(results: ReadonlyMap<Machine, Record<State, Times>>): Row[] {
  return (['none', 'loaded'] as const).flatMap((services) => {
    const [[few, base] = [], [many, most] = []] = [...results]
      .filter(([machine]) => machine.size > 0 && machine.services === services)
      .sort(([a], [b]) => a.size - b.size);
    if (few === undefined || base === undefined || many === undefined || most === undefined) return [];
    return (['without', 'unchanged'] as const).flatMap((state) =>
      (['reload', 'cpu'] as const).map((kind): Row => {
        const label = `${nameOf(many.size, services)}, ${labels[state]}`;
        const what = `${label}${kind === 'cpu' ? ', CPU time' : ''}, to ${few.size}`;
        const rounds = (times: Times): number[][] => times[kind].map((value) => [value]);
        return { what, unit: 'x', figure: ratio(rounds(most[state]), rounds(base[state])) };
      }),
    );
  });
}

const labels = { without: 'no generator', unchanged: 'unchanged', changed: 'changed' } as const;

function rowsOf({ size, services }: Machine, state: State, times: Record<State, Times>): Row[] {
  const { reload, cpu } = times[state];
  const label = `${nameOf(size, services)}, ${labels[state]}`;
  const own: Row[] = [
    { what: label, unit: 'ms', figure: spread(reload) },
    { what: `${label}, CPU time`, unit: 'ms', figure: spread(cpu) },
  ];
  if (state === 'without') return own;
  // Round by round, so that what slows the machine for a while slows both.
  const added = (kind: keyof Times): number[] =>
    times[state][kind].map((value, round) => value - (times.without[kind][round] ?? NaN));
  return [
    ...own,
    {
      what: `${label}: added by berth`,
      unit: 'ms',
      figure: spread(added('reload')),
    },
    { what: `${label}: CPU time added`, unit: 'ms', figure: spread(added('cpu')) },
  ];
}
