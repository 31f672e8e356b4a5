import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { BerthError, isSystemError, messageOf } from '../model/errors.js';
import type { SocketOptions } from '../model/reservation.js';
import { constant, native } from '../native/index.js';

/** Runs `action` with a umask, which is the process's own: nothing else may happen in between. */
function withUmask<T>(mask: number, action: () => T): T {
  const before = process.umask(mask);
  try {
    return action();
  } finally {
    process.umask(before);
  }
}

/**
 * Binds a socket to a path with the owner and mode of systemd.socket(5). A socket file that nobody serves is in the way
 * of bind(2) and goes; one that somebody serves stays, and EADDRINUSE is thrown.
 */
export function bindPath(fd: number, path: string, type: number, options: SocketOptions): void {
  const mask = 0o777 & ~options.directoryMode;
  withUmask(mask, () => {
    makeDirectory(dirname(path), options.directoryMode);
  });
  const bind = (): void => {
    withUmask(0o777 & ~options.socketMode, () => {
      native.bind(fd, { family: 'unix', path });
    });
  };
  try {
    bind();
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'EADDRINUSE' || !isStale(path, type)) throw error;
    unlinkSync(path);
    bind();
  }
  if (options.socketUser === undefined && options.socketGroup === undefined) return;
  withFile(fd, path, (file) => {
    chownFile(file, options);
  });
}

/** As bindPath, in the place of whatever socket has the path: it is never without one. */
export function bindPathInstead(fd: number, path: string, options: SocketOptions): void {
  withUmask(0o777 & ~options.directoryMode, () => {
    makeDirectory(dirname(path), options.directoryMode);
  });
  const directory = openSync(dirname(path), constant('O_PATH') | constants.O_DIRECTORY);
  try {
    bindOver(fd, directory, path, options, '');
  } finally {
    closeSync(directory);
  }
}

/** native.bindOver with the owner and mode that are configured. */
export function bindOver(
  fd: number,
  directory: number,
  path: string,
  { socketMode, socketUser, socketGroup }: SocketOptions,
  aside: string,
): void {
  const [user, group] = [idOf('user', socketUser), idOf('group', socketGroup)];
  native.bindOver(fd, directory, path, socketMode, user, group, aside);
}

/** The error of a socket of berthd's own that bindPath could not give its path. */
export function cannotServe(path: string, error: unknown): unknown {
  if (!isSystemError(error)) return error;
  const other = lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false;
  const reason = other ? `what is there is no socket (${error.code})` : messageOf(error);
  return new BerthError('Failed', `cannot serve '${path}': ${reason}`, { cause: error });
}

/** As mkdirSync with `recursive`, which answers ENOENT where a read-only file system is the reason (EROFS). */
function makeDirectory(path: string, mode: number): void {
  if (existsSync(path)) return;
  makeDirectory(dirname(path), mode);
  mkdirSync(path, { mode });
}

/** Gives the file of a bound socket the owner and mode of a changed configuration. */
export function updatePath(fd: number, path: string, options: SocketOptions): void {
  withFile(fd, path, (file) => {
    chmodSync(file, options.socketMode);
    chownFile(file, options);
  });
}

function chownFile(file: string, { socketUser, socketGroup }: SocketOptions): void {
  if (socketUser === undefined && socketGroup === undefined) return;
  chownSync(file, idOf('user', socketUser), idOf('group', socketGroup));
}

/**
 * Runs `action` with a name of the socket's own file, which is never that of another: whoever can write in its
 * directory, or in one above it, can put a link to any file in its place at any time, and berthd may change that.
 */
function withFile(fd: number, path: string, action: (file: string) => void): void {
  const file = openFile(fd, path);
  try {
    action(`/proc/self/fd/${file}`);
  } finally {
    closeSync(file);
  }
}

function openFile(fd: number, path: string): number {
  try {
    return native.boundFile(fd);
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'EPERM') throw error;
  }
  // An ordinary user's berthd cannot ask, and may change nothing but what is that user's.
  const file = openSync(path, constant('O_PATH') | constants.O_NOFOLLOW);
  if (fstatSync(file).isSocket()) return file;
  closeSync(file);
  throw new BerthError('Failed', `'${path}' is no socket any more`);
}

/**
 * True when a path is a socket that nobody has bound any more. The kernel alone is asked: in /proc/net/unix anybody's
 * abstract name can read like the line of another socket.
 */
export function isStale(path: string, type: number): boolean {
  if (!lstatSync(path).isSocket()) return false;
  // A stream that does not listen refuses as well; to a socket of another type it says EPROTOTYPE (unix_find_bsd()).
  const other = constant(type === constant('SOCK_DGRAM') ? 'SOCK_STREAM' : 'SOCK_DGRAM');
  return refuses(path, other) && refuses(path, type);
}

function refuses(path: string, type: number): boolean {
  const probe = native.socket(constant('AF_UNIX'), type, 0);
  try {
    native.adopt(probe); // non-blocking: a full backlog must not hold berthd up
    native.connect(probe, { family: 'unix', path });
    return false;
  } catch (error) {
    return isSystemError(error) && error.code === 'ECONNREFUSED';
  } finally {
    closeSync(probe);
  }
}

function idOf(kind: 'user' | 'group', name: string | undefined): number {
  if (name === undefined) return -1; // chown(2): leave it as it is
  if (/^\d+$/.test(name)) return Number(name);
  const id = kind === 'user' ? native.userId(name) : native.groupId(name);
  if (id === undefined) throw new BerthError('Failed', `there is no ${kind} '${name}'`);
  return id;
}

/** Makes each link point to the socket, replacing links only. Returns a message for each that cannot be made. */
export function linkPath(path: string, links: readonly string[]): string[] {
  return links.flatMap((link) => {
    const temporary = `${link}.berth-new`;
    try {
      mkdirSync(dirname(link), { recursive: true });
      const found = lstatSync(link, { throwIfNoEntry: false });
      if (found !== undefined && !found.isSymbolicLink())
        return [`cannot link '${link}': something else is there`];
      removePath(temporary, []); // of a berthd that was killed in between
      symlinkSync(path, temporary);
      renameSync(temporary, link);
      return [];
    } catch (error) {
      return [`cannot link '${link}': ${messageOf(error)}`];
    }
  });
}

/** Removes what RemoveOnStop= says should go; what is gone already is no matter. */
export function removePath(path: string, links: readonly string[]): void {
  for (const file of [path, ...links]) {
    try {
      unlinkSync(file);
    } catch {
      // It has been removed by somebody else, or is not ours to remove.
    }
  }
}
