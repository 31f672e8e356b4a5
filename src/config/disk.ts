import * as fs from 'node:fs';
import { constants } from 'node:fs';
import * as path from 'node:path';
import { ReadError, type LinkedSource } from './source.js';
import { fileLimit } from './syntax.js';

const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = constants;

/** The disk. Synchronous: it is read at the start and at a reload, when there is nothing to do meanwhile. */
export const disk: LinkedSource = {
  list(directory) {
    try {
      return fs.readdirSync(directory);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return [];
      throw readError(error);
    }
  },

  read(path) {
    let descriptor: number;
    try {
      // Without O_NONBLOCK, a FIFO would keep the daemon waiting for somebody to write to it. libuv adds O_CLOEXEC.
      descriptor = fs.openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    } catch (error) {
      if (codeOf(error) === 'ENOENT' && !isDangling(path)) return undefined;
      throw readError(error, path);
    }
    try {
      return readOpen(descriptor);
    } catch (error) {
      throw error instanceof ReadError ? error : readError(error);
    } finally {
      fs.closeSync(descriptor);
    }
  },

  link(path) {
    try {
      return fs.readlinkSync(path);
    } catch (error) {
      // EINVAL: it is there and no link.
      if (['EINVAL', 'ENOENT', 'ENOTDIR'].includes(codeOf(error))) return undefined;
      throw readError(error, path);
    }
  },
};

/**
 * The disk of a tree whose root is the directory `root`: a link in it that starts with a slash leads into the tree,
 * never out of it. What links to /dev/null is a mask, although such a tree has no devices.
 */
export function diskBelow(root: string): LinkedSource {
  if (root === '') return disk;
  const inTree = <T>(place: string, action: (real: string) => T): T => {
    const real = resolveLinks(disk, place, root);
    if (real === '/dev/null') return action(real);
    try {
      return action(root + real);
    } catch (error) {
      throw error instanceof ReadError ? error : readError(error);
    }
  };
  return {
    list: (directory) => inTree(directory, (real) => disk.list(real)),
    read: (file) => inTree(file, (real) => disk.read(real)),
    link: (place) => inTree(path.dirname(place), (parent) => disk.link(`${parent}/${path.basename(place)}`)),
  };
}

/** What systemd and the kernel allow at the most on the way to a file (ELOOP). */
const linkLimit = 40;

/** A path with every link on its way followed, as far as there is something there. `root` goes before each look. */
export function resolveLinks(source: Pick<LinkedSource, 'link'>, place: string, root = ''): string {
  const left = place.split('/').reverse();
  let done = '';
  for (let links = 0; left.length > 0;) {
    const part = left.pop() ?? '';
    if (part === '' || part === '.') continue;
    if (part === '..') {
      done = done.slice(0, Math.max(0, done.lastIndexOf('/')));
      continue;
    }
    const target = source.link(`${root}${done}/${part}`);
    if (target === undefined) done = `${done}/${part}`;
    else if (++links > linkLimit) throw new ReadError('cannot be read: it is a link that leads in a circle');
    else {
      if (target.startsWith('/')) done = '';
      left.push(...target.split('/').reverse());
    }
  }
  return done === '' ? '/' : done;
}

function readOpen(descriptor: number): Uint8Array {
  const stat = fs.fstatSync(descriptor);
  if (isDevNull(stat)) return new Uint8Array();
  if (!stat.isFile()) throw new ReadError(`cannot be read: it is ${kindOf(stat)}, not a regular file`);
  if (stat.size > fileLimit) throw new ReadError(`the file is larger than ${fileLimit / 1024 / 1024} MiB`);
  // One byte more than it should have, so that a file that grows meanwhile is not read for ever.
  const bytes = Buffer.allocUnsafe(stat.size + 1);
  let length = 0;
  while (length < bytes.length) {
    const count = fs.readSync(descriptor, bytes, length, bytes.length - length, null);
    if (count === 0) return bytes.subarray(0, length);
    length += count;
  }
  throw new ReadError('the file is being written to right now');
}

/** Device 1:3 (null(4)), however it is called: that is what masks in systemd, too. */
function isDevNull(stat: fs.Stats): boolean {
  return stat.isCharacterDevice() && stat.rdev === ((1 << 8) | 3);
}

function kindOf(stat: fs.Stats): string {
  if (stat.isDirectory()) return 'a directory';
  if (stat.isFIFO()) return 'a FIFO';
  if (stat.isSocket()) return 'a socket';
  return 'a device';
}

function isDangling(path: string): boolean {
  return fs.lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'it is a link to a file that does not exist',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTDIR: 'it is not a directory',
  ELOOP: 'it is a link that leads in a circle',
  ENXIO: 'it is a socket or a device without a driver',
  EMFILE: 'too many files are open',
  ENFILE: 'too many files are open on this machine',
};

function readError(error: unknown, path?: string): ReadError {
  const code = codeOf(error);
  // ENOTDIR names the path's parent.
  const reason =
    code === 'ENOTDIR' && path !== undefined ? 'a part of its path is not a directory' : reasons[code];
  return new ReadError(`cannot be read: ${reason === undefined ? code : `${reason} (${code})`}`, {
    cause: error,
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

/** The text of /etc/services, from which ports may be named; empty where the machine has none. */
export function readServicesText(path = '/etc/services'): string {
  try {
    return Buffer.from(disk.read(path) ?? []).toString('utf8');
  } catch {
    return '';
  }
}
