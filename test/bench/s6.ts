import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { mortal } from './cleanup.js';
import { end } from './daemon.js';
import { cleanEnvironment, find } from './programs.js';

const run = promisify(execFile);

export interface FdHolder {
  readonly pid: number;
  readonly socket: string;
  readonly id: string;
  stop(): Promise<void>;
}

/** Why there is nothing to compare with; undefined when there is. */
export function whyNoS6(): string | undefined {
  return find('s6-fdholder-daemon') === undefined
    ? 's6 is not installed (Debian package s6), so there is nothing to compare with'
    : undefined;
}

/**
 * Starts an s6-fdholderd that lets everybody do everything, and stores one descriptor in it. Its rules are compiled to
 * a cdb, which it reads faster than a directory.
 */
export async function startFdHolder(directory: string): Promise<FdHolder> {
  const rules = join(directory, 'rules');
  const socket = join(directory, 'fdholder');
  const id = 'bench';
  const env = join(rules, 'uid/default/env');
  mkdirSync(env, { recursive: true });
  mkdirSync(join(rules, 'gid'));
  writeFileSync(join(rules, 'uid/default/allow'), '');
  for (const right of ['STORE', 'RETRIEVE']) writeFileSync(join(env, `S6_FDHOLDER_${right}_REGEX`), '.*\n');
  const options = { env: cleanEnvironment };
  await run('s6-accessrules-cdb-from-fs', [`${rules}.cdb`, rules], options);
  const child = mortal(
    spawn('s6-fdholder-daemon', ['-1', '-x', `${rules}.cdb`, socket], {
      ...options,
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  );
  const stop = (): Promise<void> => end(child);
  try {
    await Promise.race([
      once(child.stdout, 'data'), // -1: a line break once it is ready
      once(child, 'exit').then(() => {
        throw new Error('s6-fdholderd has ended');
      }),
    ]);
    const store = run('s6-fdholder-store', [socket, id], options);
    store.child.stdin?.end();
    await store;
    return { pid: child.pid ?? 0, socket, id, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
