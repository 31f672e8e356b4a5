import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeDirectory } from './cleanup.js';
import { startDaemon, writeReservations } from './daemon.js';
import { tcpReservations } from './fixture.js';
import type { Row, Section } from './report.js';
import { ratio, spread } from './statistics.js';

const rounds = 7;
const sizes = [10, 1000, 10_000] as const;

/** What berthd needs beside a descriptor for each socket. */
const spareFds = 100;

interface Start {
  /** Milliseconds to READY=1. */
  readonly ready: number;
  /** MiB of smaps_rollup (proc_pid_smaps(5)). */
  readonly rss: number;
  readonly pss: number;
  readonly own: number;
}

/** How start-up and memory grow with what is reserved: one TCP port a file. */
export async function benchScale(): Promise<Section> {
  const limit = descriptorLimit();
  const possible = sizes.filter((size) => size + spareFds <= limit);
  const directories = possible.map((size) => {
    const directory = makeDirectory();
    writeReservations(join(directory, 'conf'), tcpReservations(size));
    return directory;
  });
  const starts = possible.map((): Start[] => []);
  try {
    for (let round = 0; round < rounds; round++) {
      for (const [index, directory] of directories.entries()) {
        starts[index]?.push(await measure(directory, possible[index] ?? 0));
      }
    }
  } finally {
    for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  }
  const base = starts[0] ?? [];
  return {
    name: 'scale',
    title: 'berthd, from its exec to READY=1, and its memory then',
    rows: possible.flatMap((size, index) => rowsOf(size, starts[index] ?? [], base)),
    skipped: sizes
      .filter((size) => !possible.includes(size))
      .map((size) => `${size} ports: a process may have ${limit} descriptors here (ulimit -Hn)`),
  };
}

async function measure(directory: string, size: number): Promise<Start> {
  const daemon = await startDaemon(directory);
  try {
    if (daemon.status !== `Holding ${size} sockets of ${size} reservations`) {
      throw new Error(`berthd holds less than it was to: ${daemon.status}`);
    }
    const rollup = readFileSync(`/proc/${daemon.pid}/smaps_rollup`, 'utf8');
    const mebibytes = (field: string): number =>
      Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(rollup)?.[1]) / 1024;
    return {
      ready: daemon.startup / 1e6,
      rss: mebibytes('Rss'),
      pss: mebibytes('Pss'),
      own: mebibytes('Private_Clean') + mebibytes('Private_Dirty'),
    };
  } finally {
    await daemon.stop();
  }
}

function rowsOf(size: number, starts: readonly Start[], base: readonly Start[]): Row[] {
  const values = (field: keyof Start): number[] => starts.map((start) => start[field]);
  const ports = `${size.toLocaleString('en')} ports`;
  const against = (what: string, field: keyof Start): Row => ({
    what: `${ports}, ${what}, to ${sizes[0]} ports`,
    unit: 'x',
    figure: ratio(
      starts.map((start) => [start[field]]),
      base.map((start) => [start[field]]),
    ),
  });
  return [
    { what: `${ports}, time to READY`, unit: 'ms', figure: spread(values('ready')) },
    { what: `${ports}, RSS`, unit: 'MiB', figure: spread(values('rss')) },
    { what: `${ports}, PSS`, unit: 'MiB', figure: spread(values('pss')) },
    { what: `${ports}, private memory`, unit: 'MiB', figure: spread(values('own')) },
    ...(size === sizes[0] ? [] : [against('time', 'ready'), against('RSS', 'rss'), against('PSS', 'pss')]),
  ];
}

/** The hard limit: Node raises the soft one to it at its start. */
function descriptorLimit(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1];
  return hard === 'unlimited' ? Infinity : Number(hard);
}
