import { close } from 'node:fs';

/**
 * Closes a descriptor that another process made, on a thread of its own: close(2) can wait as long as a file system of that
 * process likes, or a connection with SO_LINGER. When that has ended does not matter to anybody.
 */
export function closeForeign(fd: number): void {
  close(fd, () => undefined);
}
