import { setTimeout as pause } from 'node:timers/promises';
import { whyNoLab } from '../lab/requirements.js';
import { bootMachine, cpuOf, pidOf, socketsOf } from './machine.js';
import type { BenchMachine } from './machine.js';
import type { Row, Section } from './report.js';
import { ratio, spread } from './statistics.js';

const rounds = 7;
const sizes = [10, 1000, 10_000] as const;
const unit = 'berth.service';

/** One start of berthd out of the vault, in milliseconds. */
interface Start {
  /** From when the unit was active no longer to when it was again. */
  readonly gone: number;
  /** From berthd's exec to its READY=1. */
  readonly ready: number;
  /** CPU time of berthd until then. */
  readonly cpu: number;
  /** From its exec until a claim that was made while it was dead has been answered. */
  readonly claim?: number;
}

const kinds = ['restart', 'kill'] as const;
type Starts = Record<(typeof kinds)[number], Start[]>;

/** How a restart grows with what is held: every socket comes back out of the vault, and stays the same. */
export async function benchRestart(): Promise<Section> {
  const section = { name: 'restart', title: 'berthd restarted by systemd, all sockets out of the vault' };
  const why = whyNoLab();
  if (why !== undefined) return { ...section, rows: [], skipped: [why] };
  const machines: BenchMachine[] = [];
  try {
    for (const size of sizes) machines.push(await bootMachine(size));
    const starts = machines.map((): Starts => ({ restart: [], kill: [] }));
    for (let round = 0; round < rounds; round++) {
      for (const [index, machine] of machines.entries()) {
        for (const kind of kinds) starts[index]?.[kind].push(await measure(machine, kind));
      }
    }
    const rows = kinds.flatMap((kind) =>
      sizes.flatMap((size, index) =>
        rowsOf(kind, size, starts[index]?.[kind] ?? [], starts[0]?.[kind] ?? []),
      ),
    );
    return { ...section, rows, skipped: [] };
  } finally {
    for (const { lab } of machines) await lab.close();
  }
}

/** Throws when a socket has not come through. */
async function measure({ lab, size }: BenchMachine, kind: keyof Starts): Promise<Start> {
  const pid = pidOf(lab, unit);
  const before = socketsOf(pid);
  let answered = 0n;
  if (kind === 'restart') await lab.systemctl('restart', unit);
  else {
    const active = await lab.property(unit, 'ActiveEnterTimestampMonotonic');
    process.kill(pid, 'SIGKILL');
    await lab.run(['berth-claim', 'bench-1', '--', 'true']);
    answered = process.hrtime.bigint();
    while ((await lab.property(unit, 'ActiveEnterTimestampMonotonic')) === active) await pause(50);
  }
  const cpu = cpuOf(lab, `system.slice/${unit}`);
  const kept = [...socketsOf(pidOf(lab, unit))].filter((inode) => before.has(inode)).length;
  // One that is not held is the control socket, and the one that was claimed has a guard.
  if (kept < size + 1) throw new Error(`of ${size} sockets ${kept - 1} came through the ${kind}`);
  const times = await lab.systemctl(
    'show',
    '--property=ActiveExitTimestampMonotonic,ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic',
    unit,
  );
  const time = (what: string): number =>
    Number(new RegExp(`^${what}TimestampMonotonic=(\\d+)$`, 'm').exec(times)?.[1]);
  const active = time('ActiveEnter');
  return {
    gone: (active - time('ActiveExit')) / 1000,
    ready: (active - time('ExecMainStart')) / 1000,
    cpu,
    // Both by CLOCK_MONOTONIC.
    ...(answered === 0n ? {} : { claim: Number(answered / 1000n) / 1000 - time('ExecMainStart') / 1000 }),
  };
}

const titles: Readonly<Record<keyof Starts, string>> = { restart: 'systemctl restart', kill: 'kill -9' };

function rowsOf(kind: keyof Starts, size: number, starts: readonly Start[], base: readonly Start[]): Row[] {
  const label = `${titles[kind]}, ${size.toLocaleString('en')} ports`;
  const values = (field: keyof Start): number[] => starts.map((start) => start[field] ?? NaN);
  const claims: Row[] =
    kind === 'kill'
      ? [{ what: `${label}, exec to the first answered claim`, unit: 'ms', figure: spread(values('claim')) }]
      : [];
  const against = (what: string, field: keyof Start): Row => ({
    what: `${label}, ${what}, to ${sizes[0]} ports`,
    unit: 'x',
    figure: ratio(
      starts.map((start) => [start[field] ?? NaN]),
      base.map((start) => [start[field] ?? NaN]),
    ),
  });
  return [
    { what: `${label}, not active for`, unit: 'ms', figure: spread(values('gone')) },
    { what: `${label}, exec to READY`, unit: 'ms', figure: spread(values('ready')) },
    { what: `${label}, CPU time until then`, unit: 'ms', figure: spread(values('cpu')) },
    ...claims,
    ...(size === sizes[0]
      ? []
      : [
          against('not active', 'gone'),
          against('exec to READY', 'ready'),
          against('CPU time', 'cpu'),
          ...(kind === 'kill' ? [against('exec to the first answered claim', 'claim')] : []),
        ]),
  ];
}
