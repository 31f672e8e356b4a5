import { posix } from 'node:path';
import { ValueError } from '../config/values.js';
import type { Unit } from '../systemd/unit-file.js';
import { parseCommandLines, type CommandLine } from './command-line.js';
import { daemons, type Daemon } from './daemon-table.js';

/** What stands before the program in a command line that is run by another. */
const runners = /^(?:python[0-9.]*|perl|env|nice|ionice|chrt|taskset|setpriv|numactl|sh|bash|dash)$/;

/** The daemon that a command line runs, its arguments without quotes; undefined when it is none that is known. */
export function daemonOfCommand(words: readonly string[]): Daemon | undefined {
  const [program, ...rest] = words;
  if (program === undefined) return undefined;
  const name = baseName(program);
  const known = daemons.find(({ programs }) => programs.some((each) => each.test(name)));
  if (known !== undefined || !runners.test(name)) return known;
  // `python3 -m gunicorn`, `perl /usr/sbin/spamd`: the first argument that is no option, and what it runs in turn.
  const next = rest.findIndex((word) => !word.startsWith('-') && !/^[A-Z_]+=/.test(word));
  return next === -1 ? undefined : daemonOfCommand(rest.slice(next));
}

/** The daemon that a unit runs by its ExecStart=; undefined when it is none that is known, or cannot be read. */
export function daemonOfUnit(unit: Unit): Daemon | undefined {
  for (const command of commandsOf(unit)) {
    const daemon = daemonOfCommand([command.plainPath, ...command.words]);
    if (daemon !== undefined) return daemon;
  }
  return undefined;
}

/** The same, by the name of the unit where the command does not tell. */
export function guessDaemon(unit: string, words: readonly string[]): Daemon | undefined {
  const stem = unit.replace(/(?:@[^.]*)?\.service$/, '');
  return daemonOfCommand(words) ?? daemons.find(({ units }) => units.some((each) => each.test(stem)));
}

/** The commands of ExecStart=, without those that systemd could not read either. */
export function commandsOf(unit: Unit): CommandLine[] {
  return unit.list('Service', 'ExecStart').flatMap(({ value }) => {
    try {
      return parseCommandLines(value);
    } catch (error) {
      if (error instanceof ValueError) return [];
      throw error;
    }
  });
}

/** Servers that title themselves write `nginx: master process /usr/sbin/nginx -g …` where the command stood. */
function baseName(program: string): string {
  return posix.basename(program.replace(/:.*$/, ''));
}
