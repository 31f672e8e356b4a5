import { chmodSync, readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { isSystemError } from '../model/errors.js';

/** Ends the lines that are berth's; libtirpc and SUSE's glibc read no further than the `#`. */
const mark = '# berth';
const ownLine = /^[0-9]+ # berth$/;

/** The text of a bindresvport.blacklist with these ports in lines of berth's own, and all other lines as they were. */
export function blacklistText(before: string, ports: Iterable<number>): string {
  const others = before.split('\n').filter((line) => !ownLine.test(line));
  if (others.at(-1) === '') others.pop();
  const own = [...new Set(ports)].sort((a, b) => a - b).map((port) => `${port} ${mark}`);
  return [...others, ...own].map((line) => `${line}\n`).join('');
}

/**
 * Brings such a file up to date, in one step for whoever reads it; one that would be empty is removed. Throws SystemError.
 */
export function updateBlacklist(path: string, ports: Iterable<number>): void {
  // What a link leads to is replaced, and not the link.
  const file = orUndefined(() => realpathSync(path)) ?? path;
  const before = orUndefined(() => readFileSync(file, 'utf8'));
  const after = blacklistText(before ?? '', ports);
  if (after === (before ?? '')) return;
  if (after === '') {
    rmSync(file);
    return;
  }
  const fresh = `${file}.berth-new`;
  writeFileSync(fresh, after);
  // Past the umask: everybody's library reads it.
  chmodSync(fresh, (orUndefined(() => statSync(file).mode) ?? 0o644) & 0o777);
  renameSync(fresh, file);
}

/** Undefined for what is not there. */
function orUndefined<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
