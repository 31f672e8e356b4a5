import type { LinkedSource } from '../config/source.js';

/** Everything that was looked at: what a later run compares to learn whether anything changed. */
export interface Inputs {
  /** Directories that were listed. */
  readonly directories: ReadonlySet<string>;
  /** Files that were read, and links that were followed or looked for. */
  readonly files: ReadonlySet<string>;
}

/** A source that notes what is asked of it. */
export function recording(source: LinkedSource): { source: LinkedSource; inputs: Inputs } {
  const directories = new Set<string>();
  const files = new Set<string>();
  return {
    inputs: { directories, files },
    source: {
      list(directory) {
        directories.add(directory);
        return source.list(directory);
      },
      read(file) {
        files.add(file);
        return source.read(file);
      },
      link(place) {
        files.add(place);
        return source.link(place);
      },
    },
  };
}
