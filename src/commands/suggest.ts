import { readFileSync } from 'node:fs';
import { isSystemError } from '../model/errors.js';
import type { Handoff, SocketSpec } from '../model/reservation.js';
import type { Daemon } from '../generator/daemon-table.js';

/** Which handoff suits a daemon, and why. */
export interface Suggestion {
  readonly handoff: Handoff;
  /** For the comments of the file. */
  readonly reasons: readonly string[];
}

/**
 * What suits a service that works as it is configured now: nobody has to edit anything but the file that is written.
 * `program` is the path of its executable, or undefined where it is not known.
 */
export function suggestHandoff(
  daemon: Daemon | undefined,
  sockets: readonly SocketSpec[],
  program: string | undefined,
): Suggestion {
  if (daemon === undefined)
    return {
      handoff: 'bind',
      reasons: [
        'Handoff=bind works with any program. Handoff=store is better for one that takes descriptors from systemd (sd_listen_fds(3)).',
      ],
    };
  const { name } = daemon;
  const note = daemon.note === undefined ? [] : [daemon.note];
  const bind = (why: string): Suggestion => ({
    handoff: 'bind',
    reasons: [`Handoff=bind, because ${why}.`, ...note],
  });
  const lend = daemon.lend === true ? '; Handoff=lend works, too, and installs no filter' : '';
  if (daemon.handoff === 'bind') return bind(`${name} takes no descriptors, and binds by itself${lend}`);
  if (daemon.symbol !== undefined) {
    const known = program === undefined ? undefined : contains(program, daemon.symbol);
    if (known === false)
      return bind(`${program ?? name} was built without ${daemon.symbol}(3), and binds by itself`);
    if (known === undefined)
      return bind(`not every build of ${name} takes descriptors, and this one cannot be looked into`);
  }
  if (daemon.configure !== undefined)
    return bind(`${name} binds by itself as it is; Handoff=store is better once ${daemon.configure}`);
  if (daemon.takes === 'number' && (sockets.length > 1 || daemon.variable?.value(sockets) === undefined))
    return bind(`${name} knows its sockets by number, and these could be mistaken for each other`);
  const how = {
    address: 'by their addresses',
    name: 'by their names',
    number: 'by number',
    any: 'as they come',
    nothing: '',
  }[daemon.takes];
  const variable = daemon.variable === undefined ? '' : `, and the generator sets ${daemon.variable.name}=`;
  return {
    handoff: 'store',
    reasons: [
      `Handoff=store, because ${name} takes the sockets that systemd passes, ${how}${variable}.`,
      ...(daemon.argument === undefined ? [] : [`It does so with ${daemon.argument} in ExecStart= only.`]),
      ...note,
    ],
  };
}

/** Whether a program has a text in it; undefined when it cannot be read. */
function contains(program: string, text: string): boolean | undefined {
  try {
    return readFileSync(program).includes(text);
  } catch (error) {
    if (isSystemError(error)) return undefined;
    throw error;
  }
}
