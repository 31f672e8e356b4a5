import { statSync } from 'node:fs';
import { disk, readServicesText } from '../config/disk.js';
import { loadConfiguration, loadFiles, type Configuration } from '../config/load.js';
import { defaultDirectories } from '../config/search.js';
import { parseServices } from '../config/services.js';
import { generate } from '../generator/generate.js';
import { BerthError, exitStatuses } from '../model/errors.js';
import { formatMistake, type Mistake } from '../model/reservation.js';
import type { Invocation } from './arguments.js';
import { printJson, type Output } from './output.js';
import { count, printable } from '../model/text.js';

interface Checked extends Configuration {
  readonly warnings?: readonly Mistake[];
}

/** Reads the files as berthd would, without it. As a linter does: mistakes, one a line, and a summary. */
export function check(invocation: Invocation, output: Output): Promise<number> {
  const { reservations, mistakes, warnings = [] } = load(invocation);
  if (!invocation.json) {
    for (const warning of warnings) output.err(`${printable(formatMistake(warning))}\n`);
  }
  if (invocation.json) {
    printJson(output, mistakes);
  } else if (mistakes.length > 0) {
    for (const mistake of mistakes) {
      output.err(`${printable(formatMistake(mistake))}\n`);
    }
    output.err(`${count(mistakes.length, 'mistake')}\n`);
  } else {
    const sockets = reservations.reduce((sum, each) => sum + each.sockets.length, 0);
    output.out(`${count(reservations.length, 'reservation')}, ${count(sockets, 'socket')}, no mistakes\n`);
  }
  return Promise.resolve(mistakes.length > 0 ? exitStatuses.Configuration : 0);
}

function load({ operands, configDirs }: Invocation): Checked {
  const services = parseServices(readServicesText());
  if (operands.length === 0) {
    if (configDirs.length === 0) return wholeMachine();
    configDirs.forEach(mustBeDirectory);
    return loadConfiguration(disk, configDirs, services);
  }
  if (configDirs.length > 0) {
    throw new BerthError('Usage', 'check takes either FILEs or --config-dir');
  }
  return loadFiles(disk, operands, services);
}

/** The machine's own: unit files count, and so does whether the units can be handed what is reserved for them. */
function wholeMachine(): Checked {
  const { configuration, plan } = generate(defaultDirectories);
  const mistakes = [...configuration.mistakes, ...plan.mistakes];
  return { ...configuration, mistakes, warnings: plan.warnings };
}

/** The default search path may lack a directory; one that the caller names must be there. */
function mustBeDirectory(path: string): void {
  let stat;
  try {
    stat = statSync(path, { throwIfNoEntry: false });
  } catch {
    // It is there in some way; reading it says what is wrong.
    return;
  }
  if (stat?.isDirectory() !== true) {
    throw new BerthError('NotFound', `cannot check ${path}: no such directory`);
  }
}
