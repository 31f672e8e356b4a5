import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A directory that goes with the test. Its path is short: sun_path has 108 bytes. */
export function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'bt-'));
  t.after(() => {
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

/** The open descriptors of a process with what each one is, by number; without the one that looks. */
export function openFds(pid: number | 'self' = 'self'): Map<number, string> {
  const found = new Map<number, string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      found.set(Number(fd), readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch {
      // The descriptor of the readdir itself.
    }
  }
  return found;
}
