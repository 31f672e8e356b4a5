import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isShortage } from '../model/errors.js';

/** A unit of the system manager, and the cgroup that it owns, as a path from the cgroup root. */
export interface UnitCgroup {
  readonly unit: string;
  readonly path: string;
}

const unitSuffix = /\.(service|scope|socket|mount|swap)$/;

/**
 * The unit that a cgroup path belongs to, as systemd's own cg_path_get_unit reads it: the first component that is no
 * slice. What lies below it is the unit's own affair (a container, a user's manager, a delegated subtree), so a cgroup
 * that somebody names like a unit further down is never taken for it. Undefined when the path is of no unit.
 */
export function unitOfCgroup(path: string): UnitCgroup | undefined {
  const components = path.split('/').slice(1);
  const index = components.findIndex((component) => !component.endsWith('.slice'));
  const component = components[index];
  if (component === undefined) return undefined;
  // A leading underscore keeps a unit's name apart from the kernel's own files (cg_unescape in systemd).
  const unit = component.startsWith('_') ? component.slice(1) : component;
  if (!unitSuffix.test(unit)) return undefined;
  return { unit, path: `/${components.slice(0, index + 1).join('/')}` };
}

/**
 * The root of the unified hierarchy, in which systemd keeps its units, also where it is mounted beside those of cgroups
 * v1. Undefined on a machine with those alone; there systemd has a named hierarchy for itself.
 */
export const unifiedRoot = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find((root) =>
  existsSync(`${root}/cgroup.controllers`),
);

/** The cgroup in which systemd keeps a process, out of the text of /proc/PID/cgroup (cgroups(7)). */
export function systemdCgroup(procCgroup: string, unified = unifiedRoot !== undefined): string | undefined {
  const line = (unified ? /^0::(\/.*)$/m : /^\d+:name=systemd:(\/.*)$/m).exec(procCgroup);
  return line?.[1]?.replace(/ \(deleted\)$/, '');
}

let lastText = '';
let lastUnit: UnitCgroup | undefined;

/** The unit of a process, out of the text of its /proc/PID/cgroup. The same one comes again and again. */
export function unitOfText(procCgroup: string): UnitCgroup | undefined {
  if (procCgroup === lastText) return lastUnit;
  const path = systemdCgroup(procCgroup);
  lastUnit = path === undefined ? undefined : unitOfCgroup(path);
  lastText = procCgroup;
  return lastUnit;
}

/** The unit of a process by its number; undefined when it has gone or belongs to none. Throws where that cannot be told. */
export function unitOfProcess(pid: number): UnitCgroup | undefined {
  try {
    return unitOfText(readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
  } catch (error) {
    if (isShortage(error)) throw error;
    return undefined;
  }
}

/**
 * Where the unified hierarchy shows whether a cgroup is populated. Undefined where the kernel does not have one, which
 * is so on a host with nothing but cgroups v1.
 */
export function cgroupEventsFile(path: string): string | undefined {
  if (unifiedRoot === undefined) return undefined;
  const file = `${unifiedRoot}${path}/cgroup.events`;
  return existsSync(file) ? file : undefined;
}

/** The process that has been longest in a cgroup itself, not in those below it; undefined when none is. */
export function firstProcessIn({ path }: UnitCgroup): number | undefined {
  try {
    const pid = parseInt(readFileSync(`${unifiedRoot ?? ''}${path}/cgroup.procs`, 'utf8'), 10);
    return pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** The cgroup of a unit, in whatever slice it is; undefined when it has none, because it is not started. */
export function findUnitCgroup(unit: string, slice = ''): UnitCgroup | undefined {
  const path = `${slice}/${unit}`;
  if (cgroupEventsFile(path) !== undefined) return { unit, path };
  for (const name of subslices(slice)) {
    const found = findUnitCgroup(unit, `${slice}/${name}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function subslices(slice: string): string[] {
  if (unifiedRoot === undefined) return [];
  try {
    return readdirSync(`${unifiedRoot}${slice}`).filter((name) => name.endsWith('.slice'));
  } catch {
    return []; // removed meanwhile
  }
}
