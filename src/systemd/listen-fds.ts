import { native } from '../native/index.js';

const firstFd = 3; // SD_LISTEN_FDS_START

/** A descriptor that the manager passed, with the name that the unit gave it. */
export interface PassedFd {
  readonly fd: number;
  readonly name: string;
}

/**
 * sd_listen_fds_with_names(3): the descriptors that the manager passed to this very process, made close-on-exec and
 * non-blocking; they are the caller's. The variables are removed, so that no child takes them for its own.
 */
export function takeListenFds(environment: NodeJS.ProcessEnv): PassedFd[] {
  const { LISTEN_PID: pid, LISTEN_FDS: count, LISTEN_FDNAMES: names } = environment;
  for (const variable of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID']) {
    Reflect.deleteProperty(environment, variable);
  }
  if (Number(pid) !== process.pid || count === undefined) return [];
  const named = names?.split(':') ?? [];
  return Array.from({ length: Number(count) }, (_, index) => {
    const fd = firstFd + index;
    native.adopt(fd);
    return { fd, name: named[index] ?? 'unknown' };
  });
}
