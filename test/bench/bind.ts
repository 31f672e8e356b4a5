import { execFileSync } from 'node:child_process';
import { root } from '../support/processes.js';
import { tcpReservations, withDaemon } from './fixture.js';
import { programs } from './programs.js';
import type { Row, Section } from './report.js';
import { ratio, spread } from './statistics.js';

const rounds = 12;
/** Of each, so that what the machine does otherwise meets both. */
const callsPerRound = 40;

type Times = ReadonlyMap<string, readonly (readonly number[])[]>;

/** What bind(2) and listen(2) take when berthd serves them, and what its filter costs every other call. */
export async function benchBind(): Promise<Section> {
  const [text = ''] = Object.values(tcpReservations(1));
  const [, host = '', port = ''] = /ListenStream=(.*):(\d+)/.exec(text) ?? [];
  const reservations = { bench: `${text}[Reservation]\nHandoff=bind\n` };
  return withDaemon(reservations, (berthd) => {
    const timer = (at: string): readonly string[] => [
      `${root}build/bin/call-timer`,
      host,
      at,
      String(callsPerRound),
    ];
    const plain = timer(String(Number(port) + 1));
    const supervised = [programs.claim, '--control', berthd.control, '--bind', 'bench', '--', ...timer(port)];
    measure(supervised); // Node compiles what runs often
    const [before, after] = [new Map<string, number[][]>(), new Map<string, number[][]>()];
    for (let round = 0; round < rounds; round++) {
      add(before, measure(plain));
      add(after, measure(supervised));
    }
    return Promise.resolve({
      name: 'bind',
      title: 'calls of a program, alone and under berth-claim --bind',
      rows: [...rowsOf(before, after)],
      skipped: [],
    });
  });
}

function measure([command = '', ...args]: readonly string[]): Map<string, number[]> {
  const times = new Map<string, number[]>();
  for (const line of execFileSync(command, args, { encoding: 'utf8' }).trimEnd().split('\n')) {
    const [name = '', nanoseconds] = line.split(' ');
    times.set(name, [...(times.get(name) ?? []), Number(nanoseconds)]);
  }
  return times;
}

function add(all: Map<string, number[][]>, times: ReadonlyMap<string, number[]>): void {
  for (const [name, values] of times) all.set(name, [...(all.get(name) ?? []), values]);
}

function* rowsOf(before: Times, after: Times): Generator<Row> {
  for (const [name, plain] of before) {
    const supervised = after.get(name) ?? [];
    // A call that is served takes microseconds, one that is let through nanoseconds.
    const [unit, per] = ['bind', 'listen'].includes(name) ? (['us', 1000] as const) : (['ns', 1] as const);
    const figure = (values: readonly (readonly number[])[]) =>
      spread(values.flat().map((value) => value / per));
    yield { what: `${name}()`, unit, figure: figure(plain) };
    yield { what: `${name}(), supervised`, unit, figure: figure(supervised) };
    yield { what: `${name}(), supervised to plain`, unit: 'x', figure: ratio(supervised, plain) };
  }
}
