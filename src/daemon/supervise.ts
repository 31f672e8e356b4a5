import { closeSync, existsSync, openSync, readSync, watch as watchDirectory } from 'node:fs';
import { basename, dirname } from 'node:path';
import { native, Prioritized, Readable } from '../native/index.js';
import { cgroupEventsFile } from '../systemd/cgroup.js';
import type { UnitCgroup } from '../systemd/cgroup.js';
import { searchHeirs } from './heirs.js';

/** A wait for the end of a claimant. After close() it reports nothing any more. */
export interface Supervision {
  close(): void;
}

/** That of a process. */
export interface ProcessSupervision extends Supervision {
  /** Whether the process still lives, and it is these sockets, by inode, that it is followed for. */
  follows(inodes: readonly number[]): boolean;
}

/** Watches a descriptor, which it takes over. `ended` is called once at the most. */
function watchFd(fd: number, events: number, hasEnded: () => boolean, ended: () => void): Supervision {
  let open = true;
  const close = (): void => {
    if (!open) return;
    open = false;
    native.unwatch(watch);
    closeSync(fd);
  };
  const watch = native.watch(fd, events, () => {
    if (!open || !hasEnded()) return;
    close();
    ended();
  });
  return { close };
}

/** For an end that came before the watch: it is told like any other, after the caller has taken the supervision. */
function endSoon(watch: Supervision, ended: () => void): Supervision {
  watch.close();
  const soon = setImmediate(ended);
  return {
    close: () => {
      clearImmediate(soon);
    },
  };
}

/** `populated 0` in cgroup.events, or a cgroup that has been removed: no process of the unit is left (cgroups(7)). */
function isEmpty(fd: number): boolean {
  const text = Buffer.alloc(256);
  try {
    const length = readSync(fd, text, 0, text.length, 0);
    return /^populated 0$/m.test(text.toString('latin1', 0, length));
  } catch {
    return true; // ENODEV
  }
}

/**
 * Waits until no process is left in a unit's cgroup, which the kernel tells through cgroup.events. Undefined where that
 * file cannot be had (cgroups v1, a container): the claimant itself must be watched then.
 */
export function superviseUnit({ path }: UnitCgroup, ended: () => void): Supervision | undefined {
  const file = cgroupEventsFile(path);
  if (file === undefined) return undefined;
  try {
    const fd = openSync(file, 'r');
    const supervision = watchFd(fd, Prioritized, () => isEmpty(fd), ended);
    // What happened before the file was opened is not told of any more (kernfs_generic_poll).
    return isEmpty(fd) ? endSoon(supervision, ended) : supervision;
  } catch {
    return undefined;
  }
}

/**
 * Waits until systemd has removed a unit's cgroup, as it does when the unit is inactive or failed. Between the commands
 * of a unit its cgroup may be empty for a moment, and yet the unit is starting. Undefined as for superviseUnit.
 */
export function superviseCgroup({ path }: UnitCgroup, ended: () => void): Supervision | undefined {
  const file = cgroupEventsFile(path);
  if (file === undefined) return undefined;
  const cgroup = dirname(file);
  try {
    // poll(2) on cgroup.events does not tell of the removal; inotify(7) on the directory above does (IN_DELETE).
    const watcher = watchDirectory(dirname(cgroup), (_event, name) => {
      if (name !== basename(cgroup) || existsSync(cgroup)) return;
      watcher.close();
      ended();
    });
    watcher.on('error', () => {
      watcher.close();
    });
    return existsSync(cgroup) ? watcher : endSoon(watcher, ended);
  } catch {
    return undefined;
  }
}

/**
 * Waits for the end of a process, whose pidfd it takes over, and then for that of each process that still has one of the
 * sockets: a server that went into the background lives on in its child.
 */
export function superviseProcess(
  pidfd: number,
  inodes: ReadonlySet<number>,
  ended: () => void,
): ProcessSupervision {
  let current: Supervision = watchFd(pidfd, Readable, () => true, search);
  let lives = true;
  function search(): void {
    lives = false;
    current = searchHeirs(inodes, (heirs) => {
      for (const pid of heirs) {
        const heir = native.pidfdOpen(pid);
        if (heir === undefined) continue;
        current = watchFd(heir, Readable, () => true, search);
        return;
      }
      ended();
    });
  }
  return {
    close: () => {
      lives = false;
      current.close();
    },
    // Its end may have come to the pidfd, and not to the loop yet.
    follows: (others) =>
      lives &&
      others.length === inodes.size &&
      others.every((inode) => inodes.has(inode)) &&
      native.pollNow(pidfd) === 0,
  };
}
