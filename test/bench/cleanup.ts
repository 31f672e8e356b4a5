import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Makes a signal, or a reader that has gone, end us by way of exit: then what is below happens. Statuses are a shell's. */
export function exitOnSignals(): void {
  for (const [signal, status] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => process.exit(status));
  }
  process.stdout.on('error', () => process.exit(141));
}

/** A child that does not outlive us. */
export function mortal<T extends ChildProcess>(child: T): T {
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  return child;
}

/** A directory of our own, short enough for the path of a socket, that goes when we do. */
export function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'berth-'));
  process.once('exit', () => {
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}
