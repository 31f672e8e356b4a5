/** Why a file or a directory cannot be read, in words that complete `FILE:1: …`. */
export class ReadError extends Error {
  override readonly name = 'ReadError';
}

/**
 * Where configuration comes from: the disk (disk.ts), or a table in a test. Both methods throw ReadError for whatever
 * is there and cannot be read.
 */
export interface FileSource {
  /** The names in a directory, in any order; none when there is no such directory. */
  list(directory: string): readonly string[];
  /** A file's bytes; undefined when there is no such file. What is masked (a link to /dev/null) is empty. */
  read(path: string): Uint8Array | undefined;
}

/** A source that also knows links: systemd takes a unit's other names from what links to it. */
export interface LinkedSource extends FileSource {
  /** Where a symbolic link points, as written; undefined when there is no link. Throws ReadError. */
  link(path: string): string | undefined;
}
