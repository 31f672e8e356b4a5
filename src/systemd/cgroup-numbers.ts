import { statSync } from 'node:fs';
import { unifiedRoot, unitOfText } from './cgroup.js';
import type { UnitCgroup } from './cgroup.js';

/** More cgroups than that claim on no machine. */
const most = 512;

const known = new Map<number, UnitCgroup | undefined>();

/**
 * The unit of a process by the number of its cgroup, for which the kernel does not have to write a file of /proc. `read`
 * gives the text of its /proc/PID/cgroup where the number is not known yet, or 0.
 *
 * What a number stands for never changes: it is given to one cgroup only, also when another is made in its place
 * (cgroup_id() in the kernel), and one of the unified hierarchy can be neither moved nor renamed (there is no rename in
 * cgroup_kf_syscall_ops). The process may have been moved between the two looks, so a number is remembered only when the
 * directory has it that the text names.
 */
export function unitOfNumber(number: number, read: () => string): UnitCgroup | undefined {
  const unit = known.get(number);
  if (unit !== undefined || known.has(number)) return unit;
  const text = read();
  const found = unitOfText(text);
  if (number === 0 || numberOf(text) !== number) return found;
  if (known.size >= most) known.clear();
  known.set(number, found);
  return found;
}

/** A cgroup's number is the inode of its directory (kernfs_ino() in the kernel); undefined where there is none. */
function numberOf(procCgroup: string): number | undefined {
  const path = /^0::(\/.*)$/m.exec(procCgroup)?.[1];
  if (unifiedRoot === undefined || path === undefined) return undefined;
  try {
    const found = statSync(`${unifiedRoot}${path}`, { throwIfNoEntry: false });
    // Not what is mounted there, nor what lies above it: `/..` stands for what this cgroup namespace does not show.
    return found?.dev === statSync(unifiedRoot).dev ? found.ino : undefined;
  } catch {
    return undefined;
  }
}
