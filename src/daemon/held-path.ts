import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  unlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { BerthError, isSystemError } from '../model/errors.js';
import { constant, native } from '../native/index.js';
import { typeOf } from './hold-open.js';
import type { HoldRequest } from './hold-request.js';
import { bindOver, isStale } from './unix-path.js';

/** What tells one file from another; a number alone may be given again. */
interface FileId {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly birthtimeNs: bigint;
}

interface Found extends FileId {
  readonly isSocket: boolean;
}

/** The held socket, as it is at any moment. */
interface Holding {
  readonly fd: number;
  readonly request: HoldRequest;
}

/** A program's own file at the path, and the program; undefined when an earlier berthd put it there. */
interface Admitted {
  readonly file: FileId | undefined;
  readonly program: object | undefined;
}

/**
 * The path of a held socket, which always leads to a socket: the held one, or that of a program which binds by itself. Two
 * cannot be at one path, so the held one's file is aside meanwhile, under a hidden name in the same directory.
 */
export class HeldPath {
  readonly path: string;
  readonly #hold: Holding;
  readonly #name: string;
  readonly #aside: string;
  /** Where berthd cannot ask the kernel for it. */
  #own: FileId | undefined;
  #admitted: Admitted | undefined;

  /** The socket is bound already. */
  constructor(path: string, hold: Holding) {
    this.path = path;
    this.#hold = hold;
    this.#name = basename(path);
    this.#aside = `.${this.#name}.berth`;
    const aside = find(join(dirname(path), this.#aside));
    this.#own = aside ?? find(path);
    if (aside !== undefined) this.#admitted = { file: find(path), program: undefined };
  }

  /** Whether a program's socket has been at the path since the held one's was. */
  get admits(): boolean {
    return this.#admitted !== undefined;
  }

  /**
   * Whether a process that says `text` of a socket of this type (the kernel's number) means this path. Its links, its root
   * and its mounts are looked through. Undefined when that takes too long.
   */
  isMeant(pid: number, text: string, type: number): boolean | undefined {
    const cut = text.lastIndexOf('/') + 1;
    if (text.slice(cut) !== this.#name || type !== this.#type) return false;
    const directory = openDirectory(dirname(this.path));
    if (directory === undefined) return false;
    try {
      return native.means(pid, cut === 0 ? '.' : text.slice(0, cut), directory);
    } finally {
      closeSync(directory);
    }
  }

  /**
   * Binds a program's socket in the place of whatever has the path, with the owner and mode that are configured. False, with
   * nothing done, when it is another of that program's own, or no socket, which bind(2) has an error for. `slot` is
   * where the journal notes the call.
   */
  admit(fd: number, text: string, program: object, slot: number): boolean {
    const done = this.#inDirectory((place) => {
      const path = inside(place, this.#name);
      const there = find(path);
      if (this.#isTaken(there, program)) return false;
      const aside = isSame(there, this.#ownFile) ? this.#aside : '';
      native.noteBegun(slot);
      bindOver(fd, place, text, this.#hold.request.options, aside);
      this.#admitted = { file: find(path), program };
      return true;
    });
    if (done === undefined)
      throw new BerthError('Failed', `there is no directory for '${this.path}' any more`);
    return done;
  }

  /** Whether admit would do nothing. */
  isTaken(program: object): boolean {
    return this.#isTaken(find(this.path), program);
  }

  /** Ends what a berthd that was killed had begun: true when the program's socket is at the path. */
  finish(fd: number, program: object): boolean {
    const done = this.#inDirectory((place) => {
      const file = fileOf(fd);
      const path = inside(place, this.#name);
      const staged = stagedIn(inside(place, `.${this.#name}.berth-new`), file);
      if (staged !== undefined && find(path)?.isSocket !== false) renameSync(staged, path);
      if (file === undefined || !isSame(find(path), file)) return false;
      this.#admitted = { file, program };
      return true;
    });
    return done === true;
  }

  /** A program has ended, whose socket may have been at the path: see restore. */
  leave(program: object): boolean {
    return this.#admitted?.program !== program || this.restore();
  }

  /**
   * Puts the held socket's file where it belongs. False when that is not possible and another socket has to be bound: the file
   * is gone, with its directory perhaps. What is there instead goes, unless the path is not for programs of a reservation,
   * and somebody serves it.
   */
  restore(): boolean {
    const done = this.#inDirectory((place) => {
      const [path, aside] = [inside(place, this.#name), inside(place, this.#aside)];
      const [there, hidden, own] = [find(path), find(aside), this.#ownFile];
      if (isSame(there, own)) {
        if (hidden?.isSocket === true) unlinkSync(aside);
      } else {
        if (there?.isSocket === false) throw new BerthError('Failed', `'${this.path}' is no socket any more`);
        const taken = there !== undefined && !this.#hold.request.yields && !this.admits;
        if (taken && !isStale(path, this.#type)) return true;
        if (!isSame(hidden, own)) return false;
        renameSync(aside, path);
      }
      this.#admitted = undefined;
      return true;
    });
    return done === true;
  }

  /** The hold has another socket from here on, which is at the path. */
  renew(): void {
    this.#admitted = undefined;
    this.forget();
    this.#own = find(this.path);
  }

  /** Removes what is aside. */
  forget(): void {
    this.#inDirectory((place) => {
      const aside = inside(place, this.#aside);
      if (find(aside)?.isSocket === true) unlinkSync(aside);
    });
  }

  #isTaken(there: Found | undefined, program: object): boolean {
    if (there?.isSocket === false) return true;
    if (this.#admitted === undefined || !isSame(there, this.#admitted.file)) return false;
    const { program: owner } = this.#admitted;
    return owner === undefined ? !isStale(this.path, this.#type) : owner === program;
  }

  get #ownFile(): FileId | undefined {
    return fileOf(this.#hold.fd) ?? this.#own;
  }

  get #type(): number {
    return typeOf(this.#hold.request.spec);
  }

  /** Runs `action` with the directory, whatever is in its place a moment later. Undefined when there is none. */
  #inDirectory<T>(action: (directory: number) => T): T | undefined {
    const directory = openDirectory(dirname(this.path));
    if (directory === undefined) return undefined;
    try {
      return action(directory);
    } finally {
      closeSync(directory);
    }
  }
}

function openDirectory(path: string): number | undefined {
  try {
    return openSync(path, constant('O_PATH') | constants.O_DIRECTORY);
  } catch (error) {
    if (isSystemError(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return undefined;
    throw error;
  }
}

function inside(directory: number, name: string): string {
  return `/proc/self/fd/${directory}/${name}`;
}

function find(path: string): Found | undefined {
  const found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (found === undefined) return undefined;
  const { dev, ino, birthtimeNs } = found;
  return { dev, ino, birthtimeNs, isSocket: found.isSocket() };
}

function isSame(one: FileId | undefined, other: FileId | undefined): boolean {
  return (
    one !== undefined &&
    one.dev === other?.dev &&
    one.ino === other.ino &&
    one.birthtimeNs === other.birthtimeNs
  );
}

/** The file of a bound socket, whatever it is called by now; undefined where berthd may not ask. */
function fileOf(fd: number): FileId | undefined {
  let file: number;
  try {
    file = native.boundFile(fd);
  } catch (error) {
    if (isSystemError(error) && (error.code === 'EPERM' || error.code === 'ENOENT')) return undefined;
    throw error;
  }
  try {
    return fstatSync(file, { bigint: true });
  } finally {
    closeSync(file);
  }
}

/** Where native.bindOver has left a file, in a directory that is berthd's own. */
function stagedIn(staging: string, file: FileId | undefined): string | undefined {
  const found = lstatSync(staging, { throwIfNoEntry: false });
  if (found?.isDirectory() !== true || found.uid !== process.geteuid?.()) return undefined;
  return readdirSync(staging, { recursive: true, withFileTypes: true })
    .map(({ parentPath, name }) => join(parentPath, name))
    .find((path) => isSame(find(path), file));
}
