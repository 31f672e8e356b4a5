import { bindObstacle, needsNetwork } from '../model/bind-mode.js';
import type { Location, Mistake, Reservation } from '../model/reservation.js';
import type { Assignment } from '../config/syntax.js';
import type { Unit } from '../systemd/unit-file.js';
import type { CommandLine } from './command-line.js';
import { claimProgram, controlSocket } from './paths.js';
import { covers, descriptorLimit, fdStoreMax, serviceType, words } from './unit-settings.js';

/** Units that berthd itself waits for: whoever starts before them cannot wait for berthd. */
const beforeBerth = [
  'berth.service',
  'berth.socket',
  '-.mount',
  'usr.mount',
  'etc.mount',
  'local-fs-pre.target',
  'systemd-journald.socket',
];
/** The default of systemd (system.conf's DefaultLimitNOFILE=), and what a service needs beside its sockets. */
const defaultDescriptorLimit = 1024;
const ownDescriptors = 16;
/** MAX_ARG_STRLEN of execve(2), for the whole variable. */
const variableLimit = 128 * 1024;

/** Why a handoff cannot work in this unit, whichever reservation it is. */
export function unitRefusals(unit: Unit, reservations: readonly Reservation[]): Mistake[] {
  const [first] = reservations;
  if (first === undefined) return [];
  const at = first.at;
  if (unit.found.id === 'berth.service')
    return [{ ...at, key: 'Service', message: 'berthd cannot be handed its own sockets' }];
  const early = words(unit, 'Unit', 'Before').find(({ text }) => beforeBerth.includes(text));
  if (early !== undefined) {
    const message = `${unit.found.id} starts before ${early.text}, which berthd waits for: nothing can be handed to it`;
    return [mistake(early.at, message)];
  }
  const mistakes = reservations
    .filter(({ name }) => name.startsWith('-'))
    .map(({ at, name }) => ({ ...at, key: '', message: `berth-claim would take '${name}' for an option` }));
  const commanded = reservations.find(({ handoff }) => ['store', 'exec', 'bind'].includes(handoff));
  if (
    commanded !== undefined &&
    unit.list('Service', 'ExecStart').length === 0 &&
    unit.found.state === 'found'
  ) {
    const message = `${unit.found.id} has no ExecStart=, so there is no command that could get the sockets`;
    mistakes.push({ ...commanded.at, key: 'Service', message });
  }
  return mistakes;
}

/** Why sockets cannot reach the unit through its fd store. */
export function storeRefusals(unit: Unit, reservations: readonly Reservation[]): Mistake[] {
  const [first] = reservations;
  if (first === undefined) return [];
  const mistakes: Mistake[] = [];
  const input = unit.last('Service', 'StandardInput');
  if (input?.value === 'socket')
    mistakes.push(
      mistake(input, `the command gets one socket as its input, and none of the stored ones${useExec}`),
    );
  const sockets = reservations.reduce((sum, each) => sum + each.sockets.length, 0);
  const limit = descriptorLimit(unit);
  const soft = limit?.soft ?? defaultDescriptorLimit;
  const needed = sockets + fdStoreMax(unit) + ownDescriptors;
  if (needed > soft) {
    const message = `${sockets} sockets need LimitNOFILE=${needed} in ${unit.found.id}, where it is ${soft}: the start would fail`;
    mistakes.push(
      limit === undefined ? { ...first.at, key: 'Handoff', message } : mistake(limit.at, message),
    );
  }
  const names = reservations.reduce(
    (sum, { fdName, sockets }) => sum + (fdName.length + 1) * sockets.length,
    0,
  );
  if (names + 'LISTEN_FDNAMES='.length > variableLimit) {
    const message = `the names of ${sockets} sockets do not fit into LISTEN_FDNAMES (128 KiB): shorten FileDescriptorName=`;
    mistakes.push({ ...first.at, key: 'Handoff', message });
  }
  return mistakes;
}

/** What lets the service start, and find no sockets. */
export function storeWarnings(unit: Unit, handed: readonly Reservation[]): Mistake[] {
  const pids = unit.isOn('Service', 'PrivatePIDs') ? unit.last('Service', 'PrivatePIDs') : undefined;
  if (pids === undefined || !handed.some(({ handoff }) => handoff === 'store')) return [];
  return [
    mistake(
      pids,
      `systemd 257 sets a wrong LISTEN_PID with it, which sd_listen_fds(3) takes for no sockets${useExec}`,
    ),
  ];
}

/** Two reservations of one unit with one fd name: a claim empties the store by name, so each would undo the other. */
export function sharedName(reservation: Reservation, earlier: readonly Reservation[]): Mistake | undefined {
  const other = earlier.find(({ fdName }) => fdName === reservation.fdName);
  if (other === undefined) return undefined;
  const message = `'${reservation.fdName}' names the sockets of '${other.name}' in ${reservation.unit} already: the fd store is emptied by name`;
  return { ...reservation.at, key: 'FileDescriptorName', message };
}

/** Why berth-claim, which in exec mode runs with all of the unit's restrictions, could not do its work. */
export function execRefusals(unit: Unit, commands: readonly CommandLine[]): Mistake[] {
  // systemd complains of all of them.
  const mistakes: Mistake[] = unit.mistakes.slice(0, 1).map((each) => ({
    ...each,
    message: `the unit cannot be read exactly, so its command is not wrapped: ${each.message}`,
  }));
  // '+' takes a command past the sandbox (systemd.service(5)).
  const restricted = commands.some(({ prefixes }) => !prefixes.includes('+'));
  const families = addressFamilies(unit);
  if (restricted && families !== undefined)
    mistakes.push(
      mistake(families, `it forbids AF_UNIX, by which berth-claim asks for the sockets${useStore}`),
    );
  for (const path of [claimProgram, controlSocket]) {
    const hidden = words(unit, 'Service', 'InaccessiblePaths').find(({ text }) =>
      covers(text.replace(/^[-+]+/, ''), path),
    );
    if (restricted && hidden !== undefined)
      mistakes.push(mistake(hidden.at, `it hides ${path}, which berth-claim needs${useStore}`));
  }
  const relative = commands.find(({ plainPath }) => !/^[/%]/.test(plainPath));
  const search = words(unit, 'Service', 'Environment').findLast(({ text }) => text.startsWith('PATH='));
  if (relative !== undefined && search !== undefined)
    mistakes.push(
      mistake(
        search.at,
        `'${relative.plainPath}' would be looked for in this PATH, and is not now: write its full path`,
      ),
    );
  return mistakes;
}

const useStore = '; use Handoff=store';
const useExec = '; use Handoff=exec';

/** The line because of which a command could not open an AF_UNIX socket; undefined when it could. */
function addressFamilies(unit: Unit): Assignment | undefined {
  let state: { allows: boolean; by: Assignment } | undefined;
  for (const at of unit.list('Service', 'RestrictAddressFamilies')) {
    const inverted = at.value.startsWith('~');
    const listed = at.value.replace(/^~/, '').split(/\s+/).includes('AF_UNIX');
    // The first line says whether the list allows or forbids (systemd.exec(5)).
    state ??= { allows: inverted, by: at };
    if (listed) state = { allows: !inverted, by: at };
  }
  return state === undefined || state.allows ? undefined : state.by;
}

/** Why a reservation cannot be handed over as it says, in whatever unit: nothing is emitted that could not work. */
export function modeRefusal(reservation: Reservation): Mistake | undefined {
  const { at, handoff } = reservation;
  const obstacle = handoff === 'bind' ? bindObstacle(reservation) : undefined;
  return obstacle && { ...at, ...obstacle };
}

/** Why berthd could not bind for this unit. A path is the same in every network namespace. */
export function bindRefusals(unit: Unit, wrapped: readonly Reservation[]): Mistake[] {
  if (!wrapped.some((each) => each.handoff === 'bind' && needsNetwork(each))) return [];
  const network =
    (unit.isOn('Service', 'PrivateNetwork') ? unit.last('Service', 'PrivateNetwork') : undefined) ??
    unit.last('Service', 'NetworkNamespacePath');
  if (network === undefined || network.value === '') return [];
  return [
    mistake(network, `what is reserved is of another network namespace: it cannot be bound here${useStore}`),
  ];
}

export function isOneshot(unit: Unit): boolean {
  return serviceType(unit) === 'oneshot';
}

function mistake({ file, line, key }: Location & { readonly key: string }, message: string): Mistake {
  return { file, line, key, message };
}
