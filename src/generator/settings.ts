import * as path from 'node:path';
import type { Handoff, Mistake, Reservation } from '../model/reservation.js';
import { excerpt, lineLimit } from '../config/syntax.js';
import { ValueError } from '../config/values.js';
import type { Unit } from '../systemd/unit-file.js';
import { parseCommandLines, wrapCommand, type CommandLine } from './command-line.js';
import type { Setting } from './drop-in.js';
import { claimProgram, controlSocket, notifySocket } from './paths.js';
import {
  bindRefusals,
  execRefusals,
  isOneshot,
  modeRefusal,
  sharedName,
  storeRefusals,
  unitRefusals,
} from './refusals.js';
import { fdStoreMax, hiddenBy, notifyAccess, serviceType, startTellsReady, words } from './unit-settings.js';

/** Between a claim's removal of old descriptors and its pushing of new ones, and for what a later reload adds. */
const storeSlack = 8;

export interface Settings {
  /** The reservations that the settings are for. */
  readonly handed: readonly Reservation[];
  readonly settings: readonly Setting[];
}

/** What a drop-in has to set for the reservations of one unit. Adds to `mistakes` and `notes`. */
export function settingsFor(
  unit: Unit,
  reservations: readonly Reservation[],
  mistakes: Mistake[],
  notes: string[],
): Settings {
  const nothing = { handed: [], settings: [] };
  const wanted = reservations.filter((reservation) => {
    const refusal = modeRefusal(reservation);
    if (refusal !== undefined) mistakes.push(refusal);
    else if (isAskedFor(unit, reservation, 'berth-claim'))
      notes.push(
        `${unit.found.id} claims '${reservation.name}' by a command of its own, so nothing is added for it`,
      );
    else return true;
    return false;
  });
  const refused = unitRefusals(unit, wanted);
  mistakes.push(...refused);
  if (refused.length > 0 || wanted.length === 0) return nothing;
  if (unit.found.state === 'missing' && wanted.some(({ handoff }) => !wraps(handoff)))
    notes.push(`there is no ${unit.found.id} yet`);

  const store = storable(unit, wanted, mistakes);
  const { wrapped, lines } = wrappable(unit, wanted, mistakes, notes);
  const asked = wanted.filter(({ handoff }) => handoff === 'lend' || handoff === 'release');
  const lent = asked.filter(({ handoff }) => handoff === 'lend');
  const released = asked.filter(({ handoff }) => handoff === 'release');
  // A unit that was made for portreserve.
  const byItself = released.filter((each) => isAskedFor(unit, each, 'portrelease'));
  for (const { name } of byItself)
    notes.push(`${unit.found.id} runs portrelease for '${name}' itself, so only its end is told to berthd`);
  const handed = wanted.filter(
    (each) => store.includes(each) || wrapped.includes(each) || asked.includes(each),
  );
  if (handed.length === 0) return nothing;
  return {
    handed,
    settings: [
      ...order,
      ...(wrapped.length === 0 ? [] : execSettings(wrapped, lines)),
      ...handed.filter((each) => !wrapped.includes(each) && !byItself.includes(each)).map(claimSetting),
      // Where the start ends with the service bound, the loan ends there; else only with the service.
      ...(startTellsReady(unit) ? lent.map((each) => doneSetting('ExecStartPost', each)) : []),
      // So that a berthd that has nothing else to watch can end, and is started again when the service has stopped.
      ...(isIdle(unit)
        ? []
        : [...store, ...lent, ...released].map((each) => doneSetting('ExecStopPost', each))),
      ...(store.length === 0 ? [] : storeSettings(unit, store)),
      ...sandboxSettings(unit, store.length > 0, wrapped.length > 0),
      ...(wrapped.some(({ handoff }) => handoff === 'bind') ? filterSettings(unit, lines) : []),
    ],
  };
}

/** systemd 252 makes every command of such a unit wait for up to 5 s, at its stop too: berthd sees the end by itself. */
function isIdle(unit: Unit): boolean {
  return serviceType(unit) === 'idle';
}

/**
 * Wants= and never Requires=: a restart of berthd must not restart the service. Not After=berth.service either: a claim
 * waits in its socket for berthd, but with that order a berthd that is away could only be started when the unit has
 * stopped, and the unit's stop, which tells berthd, would wait for it in vain (systemd.unit(5), After=). No cycle can come
 * of the socket: it has no default dependencies, and a unit that comes before it is refused (refusals.ts).
 */
const order: readonly Setting[] = [
  { section: 'Unit', key: 'Wants', value: 'berth.service' },
  { section: 'Unit', key: 'After', value: 'berth.socket' },
];

/** '+': past User=, RestrictAddressFamilies= and SystemCallFilter=, which are for the service and not for the helper. */
function claimSetting({ name }: Reservation): Setting {
  return { section: 'Service', key: 'ExecStartPre', value: `+${claimProgram} ${name}` };
}

/** '-': the service is not to fail for it. */
function doneSetting(key: 'ExecStartPost' | 'ExecStopPost', { name }: Reservation): Setting {
  return { section: 'Service', key, value: `-+${claimProgram} --done ${name}` };
}

function storable(unit: Unit, wanted: readonly Reservation[], mistakes: Mistake[]): Reservation[] {
  const store: Reservation[] = [];
  for (const reservation of wanted.filter(({ handoff }) => handoff === 'store')) {
    const shared = sharedName(reservation, store);
    if (shared === undefined) store.push(reservation);
    else mistakes.push(shared);
  }
  const refused = storeRefusals(unit, store);
  mistakes.push(...refused);
  return refused.length > 0 ? [] : store;
}

function storeSettings(unit: Unit, store: readonly Reservation[]): Setting[] {
  const sockets = store.reduce((sum, each) => sum + each.sockets.length, 0);
  const existing = fdStoreMax(unit);
  const settings: Setting[] = [
    {
      section: 'Service',
      key: 'FileDescriptorStoreMax',
      value: String(sockets + existing + storeSlack),
      reason: `${sockets} for berth${existing > 0 ? `, ${existing} of the unit's own` : ''}, and some to spare.`,
    },
  ];
  const access = notifyAccess(unit);
  if (access === 'none' || access === 'main') {
    const reason = `Raised from ${access}: the fd store takes nothing from ExecStartPre= else.`;
    settings.push({ section: 'Service', key: 'NotifyAccess', value: 'exec', reason });
  }
  return settings;
}

/** The modes in which berth-claim runs the command. */
function wraps(handoff: Handoff): boolean {
  return handoff === 'exec' || handoff === 'bind';
}

interface Wrappable {
  readonly wrapped: readonly Reservation[];
  /** The wrapped commands. */
  readonly lines: readonly string[];
}

function wrappable(
  unit: Unit,
  wanted: readonly Reservation[],
  mistakes: Mistake[],
  notes: string[],
): Wrappable {
  const wrapped = wanted.filter(({ handoff }) => wraps(handoff));
  if (wrapped.length === 0) return { wrapped, lines: [] };
  const namesOf = (mode: Handoff): string[] =>
    wrapped.flatMap(({ name, handoff }) => (handoff === mode ? name : []));
  const names = { exec: namesOf('exec'), bind: namesOf('bind') };
  if (unit.found.state === 'missing') {
    notes.push(
      `without ${unit.found.id} there is no ExecStart= to wrap for ${wrapped.map(({ name }) => name).join(', ')}`,
    );
    return { wrapped: [], lines: [] };
  }
  if (unit.found.state === 'generated') {
    const message = `podman makes ${unit.found.id} of ${unit.found.file ?? ''}, so there is no ExecStart= to wrap: its container takes what Handoff=store passes`;
    mistakes.push(...wrapped.map(({ at }) => ({ ...at, key: 'Handoff', message })));
    return { wrapped: [], lines: [] };
  }
  const before = mistakes.length;
  const commands: CommandLine[] = [];
  const lines: string[] = [];
  for (const { file, line, key, value } of unit.list('Service', 'ExecStart')) {
    try {
      for (const command of parseCommandLines(value)) {
        const line = wrapCommand(command, names, claimProgram);
        if (line.length > lineLimit - 100)
          throw new ValueError('the wrapped line would be longer than 1 MiB');
        commands.push(command);
        lines.push(line);
      }
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      mistakes.push({ file, line, key, message: `cannot be wrapped: ${error.message}` });
    }
  }
  mistakes.push(...execRefusals(unit, commands), ...bindRefusals(unit, wrapped));
  if (mistakes.length > before) return { wrapped: [], lines: [] };
  if (isOneshot(unit) && lines.length > 1)
    notes.push(`each of the ${lines.length} commands claims the sockets`);
  return { wrapped, lines };
}

function execSettings(wrapped: readonly Reservation[], lines: readonly string[]): Setting[] {
  const how = {
    exec: 'with the sockets as descriptors 3 and up',
    bind: 'through which berthd serves what they bind',
  };
  const ways = (['exec', 'bind'] as const).filter((mode) => wrapped.some(({ handoff }) => handoff === mode));
  const reset: Setting = {
    section: 'Service',
    key: 'ExecStart',
    value: '',
    reason: `The same commands, started by berth-claim${ways[0] === 'bind' ? ', ' : ' '}${ways.map((way) => how[way]).join(', and ')}.`,
  };
  return [reset, ...lines.map((value): Setting => ({ section: 'Service', key: 'ExecStart', value }))];
}

/** Lets the helper run where the unit's own view of the file system has no place for it; '+' does not (systemd.exec(5)). */
function sandboxSettings(unit: Unit, stores: boolean, wraps: boolean): Setting[] {
  const settings: Setting[] = [];
  // Below RootDirectory= and RootImage=, systemd itself mounts the notification socket.
  const needed = [claimProgram, controlSocket, ...(stores ? [notifySocket] : [])];
  const hidden = needed.flatMap((path) => {
    const by = hiddenBy(unit, path);
    return by === undefined || (path === notifySocket && by.key.startsWith('Root')) ? [] : [{ path, by }];
  });
  const [first] = hidden;
  if (first !== undefined) {
    settings.push({
      section: 'Service',
      key: 'BindReadOnlyPaths',
      value: hidden.map(({ path }) => path).join(' '),
      reason: `What ${first.by.key}=${excerpt(first.by.value)} hides and berth-claim needs.`,
    });
  }
  const forbidden = words(unit, 'Service', 'NoExecPaths').length > 0;
  if (wraps && forbidden) {
    const reason = 'NoExecPaths= is for all but these.';
    settings.push({ section: 'Service', key: 'ExecPaths', value: claimProgram, reason });
  }
  return settings;
}

/** A system call filter of the unit has to let berth-claim install another one; '+' takes a command past it. */
function filterSettings(unit: Unit, lines: readonly string[]): Setting[] {
  if (words(unit, 'Service', 'SystemCallFilter').length === 0 || lines.every((line) => line.startsWith('+')))
    return [];
  const reason =
    'By which berth-claim has berthd asked what to bind; systemd has it in none of its usual sets.';
  return [{ section: 'Service', key: 'SystemCallFilter', value: 'seccomp', reason }];
}

/** Whether a command of the unit is a claim of that reservation already, or a release. */
function isAskedFor(unit: Unit, { name }: Reservation, program: 'berth-claim' | 'portrelease'): boolean {
  const names = program === 'portrelease' ? [name, '*'] : [name];
  const values = ['ExecStartPre', 'ExecStart'].flatMap((key) =>
    unit.list('Service', key).map(({ value }) => value),
  );
  return values.some((value) => {
    try {
      return parseCommandLines(value).some(
        ({ plainPath, words }) =>
          path.basename(plainPath) === program && words.some((word) => names.includes(word)),
      );
    } catch (error) {
      if (error instanceof ValueError) return false;
      throw error;
    }
  });
}
