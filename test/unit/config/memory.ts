import { ReadError, type FileSource } from '../../../src/config/source.js';

/** A tree of files for tests: path → content; an Error stands for what cannot be read, '' for a mask. */
export function memory(files: Readonly<Record<string, string | Error>>): FileSource & { reads: string[] } {
  const reads: string[] = [];
  return {
    reads,
    list(directory) {
      if (files[directory] instanceof Error) throw files[directory];
      const names = Object.keys(files)
        .filter((path) => path.startsWith(`${directory}/`))
        .map((path) => path.slice(directory.length + 1).split('/')[0] ?? '');
      return [...new Set(names)];
    },
    read(path) {
      reads.push(path);
      const content = files[path];
      if (content instanceof Error) throw content;
      return content === undefined ? undefined : Buffer.from(content);
    },
  };
}

export const unreadable = new ReadError('cannot be read: permission denied (EACCES)');
