import type { Mistake, Reservation, SocketSpec } from '../model/reservation.js';
import type { Unit } from '../systemd/unit-file.js';
import type { Daemon } from './daemon-table.js';
import { commandsOf, daemonOfUnit } from './daemons.js';
import type { Setting } from './drop-in.js';
import { serviceType, words } from './unit-settings.js';

const keys = {
  stream: 'ListenStream',
  datagram: 'ListenDatagram',
  seqpacket: 'ListenSequentialPacket',
} as const;

/**
 * What the daemon of a unit needs besides its sockets, where that is known. `ownSockets` is a `.socket` unit whose
 * descriptors come before berth's. Adds to `warnings` what is known not to work. What the unit sets itself stands.
 */
export function daemonSettings(
  unit: Unit,
  handed: readonly Reservation[],
  ownSockets: string | undefined,
  warnings: Mistake[],
): Setting[] {
  const daemon = daemonOfUnit(unit);
  const passed = handed.filter(({ handoff }) => handoff === 'store' || handoff === 'exec');
  const [first] = passed;
  if (daemon === undefined || first === undefined) return [];
  const sockets = passed.flatMap((each) => each.sockets);
  warnings.push(...neverHanded(daemon, sockets), ...missingArgument(unit, daemon));
  if (daemon.handoff === 'bind') {
    const message = `${daemon.name} takes no descriptors, and binds by itself: use Handoff=bind`;
    warnings.push({ ...first.at, key: 'Handoff', message });
  }
  // What is passed in the fd store has no order, and what both stores and wraps passes the stored ones first.
  const inOrder = passed.every(({ handoff }) => handoff === 'exec') || sockets.length === 1;
  if (daemon.takes === 'number' && !inOrder) {
    const message = `${daemon.name} knows its sockets by number, and the order of several in the fd store is not stable: use Handoff=exec`;
    warnings.push({ ...first.at, key: 'Handoff', message });
    return [];
  }
  return variableSettings(unit, daemon, sockets, first, ownSockets, warnings);
}

function neverHanded({ never }: Daemon, sockets: readonly SocketSpec[]): Mistake[] {
  if (never === undefined) return [];
  return sockets
    .filter(
      ({ type, address }) =>
        type === never.type && 'port' in address && (never.port ?? address.port) === address.port,
    )
    .map(({ type, at }) => ({ ...at, key: keys[type], message: never.because }));
}

function missingArgument(unit: Unit, { name, argument }: Daemon): Mistake[] {
  const at = unit.last('Service', 'ExecStart');
  if (argument === undefined || at === undefined) return [];
  if (commandsOf(unit).some((command) => command.words.includes(argument))) return [];
  const { file, line, key } = at;
  return [
    { file, line, key, message: `${name} takes descriptors with ${argument} only, which is not there` },
  ];
}

function variableSettings(
  unit: Unit,
  { name, variable, staysInForeground }: Daemon,
  sockets: readonly SocketSpec[],
  first: Reservation,
  ownSockets: string | undefined,
  warnings: Mistake[],
): Setting[] {
  if (variable === undefined) return [];
  const set = words(unit, 'Service', 'Environment').some(({ text }) => text.startsWith(`${variable.name}=`));
  if (set) return [];
  const value = ownSockets === undefined ? variable.value(sockets) : undefined;
  if (value === undefined) {
    const why =
      ownSockets === undefined
        ? 'it wants a path, or an IPv4 address with its port'
        : `the sockets of ${ownSockets} come first`;
    const message = `${name} needs Environment=${variable.name}=, which cannot be set here: ${why}`;
    warnings.push({ ...first.at, key: '', message });
    return [];
  }
  const settings: Setting[] = [
    {
      section: 'Service',
      key: 'Environment',
      value: `"${variable.name}=${value.replaceAll(/["\\]/g, '\\$&').replaceAll('%', '%%')}"`,
      reason: `Because ${variable.because}.`,
    },
  ];
  if (staysInForeground === true && serviceType(unit) === 'forking')
    settings.push(
      {
        section: 'Service',
        key: 'Type',
        value: 'exec',
        reason: `Not forking: with inherited sockets ${name} stays in the foreground, whatever its configuration says.`,
      },
      { section: 'Service', key: 'PIDFile', value: '' },
    );
  return settings;
}
