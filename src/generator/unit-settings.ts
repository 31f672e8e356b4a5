import type { Assignment } from '../config/syntax.js';
import { parseInteger, ValueError } from '../config/values.js';
import { splitWords } from '../config/words.js';
import type { Unit } from '../systemd/unit-file.js';

/** NotifyAccess= as it is without berth; systemd.service(5) says what counts when it is not set. */
export function notifyAccess(unit: Unit): 'none' | 'main' | 'exec' | 'all' {
  const set = unit
    .assignments('Service', 'NotifyAccess')
    .findLast(({ value }) => ['none', 'main', 'exec', 'all'].includes(value))?.value;
  if (set !== undefined && set !== 'none') return set as 'main' | 'exec' | 'all';
  const notifies = ['notify', 'notify-reload'].includes(serviceType(unit));
  return notifies || unit.last('Service', 'WatchdogSec') !== undefined ? 'main' : 'none';
}

export function serviceType(unit: Unit): string {
  return unit.last('Service', 'Type')?.value ?? '';
}

/** Whether ExecStartPost= runs after the service has said that it is ready, and not right after its start. */
export function startTellsReady(unit: Unit): boolean {
  const bus = unit.last('Service', 'BusName') !== undefined;
  return ['notify', 'notify-reload', 'forking', 'dbus', 'oneshot', ...(bus ? [''] : [])].includes(
    serviceType(unit),
  );
}

export function fdStoreMax(unit: Unit): number {
  const valid = unit.assignments('Service', 'FileDescriptorStoreMax').map(({ value }) => integer(value));
  return valid.findLast((value) => value !== undefined) ?? 0;
}

function integer(text: string): number | undefined {
  try {
    return parseInteger(text, 0, 2 ** 32 - 1);
  } catch (error) {
    if (error instanceof ValueError) return undefined;
    throw error;
  }
}

/** The soft limit on descriptors that the unit sets, and where; undefined when it sets none. */
export function descriptorLimit(unit: Unit): { soft: number; at: Assignment } | undefined {
  const at = unit.last('Service', 'LimitNOFILE');
  if (at === undefined) return undefined;
  const [soft = ''] = at.value.split(':');
  if (soft === 'infinity') return { soft: Infinity, at };
  const value = integer(soft);
  return value === undefined ? undefined : { soft: value, at };
}

/** The words of a key that adds up. Words of an assignment with a mistake are left out; systemd complains of them. */
export function words(unit: Unit, section: string, key: string): { text: string; at: Assignment }[] {
  return unit.list(section, key).flatMap((at) => {
    try {
      return splitWords(at.value, { escapes: 'relaxed' }).map(({ text }) => ({ text, at }));
    } catch (error) {
      if (error instanceof ValueError) return [];
      throw error;
    }
  });
}

/** The setting of the unit that hides a path of the host from the commands that berth adds; undefined without one. */
export function hiddenBy(unit: Unit, path: string): Assignment | undefined {
  const root = ['RootDirectory', 'RootImage', 'RootMStack']
    .map((key) => unit.last('Service', key))
    .find((at) => at !== undefined && !/^-?\/+$/.test(at.value));
  if (root !== undefined) return root;
  const mounts = [
    ...words(unit, 'Service', 'TemporaryFileSystem').map(({ text, at }) => ({
      from: '',
      to: text.split(':')[0] ?? '',
      at,
    })),
    ...['BindPaths', 'BindReadOnlyPaths'].flatMap((key) =>
      words(unit, 'Service', key).map(({ text, at }) => {
        const [from = '', to = from] = text.replace(/^-/, '').split(':');
        return { from, to, at };
      }),
    ),
  ];
  return mounts.find(({ from, to }) => from !== to && covers(to, path))?.at;
}

/** Whether a mount on `directory` hides `path`. */
export function covers(directory: string, path: string): boolean {
  const clean = directory.replace(/\/+$/, '');
  return path === clean || path.startsWith(`${clean}/`);
}
