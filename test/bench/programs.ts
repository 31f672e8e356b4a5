import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The root of the project: this file runs in build/js/test/bench. */
const root = fileURLToPath(new URL('../../../../', import.meta.url));

export const programs = {
  berthd: join(root, 'build/lib/berthd.cjs'),
  berth: join(root, 'build/lib/berth.cjs'),
  claim: join(root, 'build/bin/berth-claim'),
  thief: join(root, 'build/bin/thief'),
  spawnTimer: join(root, 'build/bin/spawn-timer'),
  claimLoad: join(root, 'build/bin/claim-load'),
  demoServer: join(root, 'build/bin/demo-server'),
  portHolder: join(root, 'build/bin/port-holder'),
} as const;

const run = promisify(execFile);

/**
 * A short search path, because a long one costs every command that is looked up; and without NODE_EXTRA_CA_CERTS, which
 * Node reads at every start.
 */
export const cleanEnvironment: NodeJS.ProcessEnv = {
  PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: process.env['HOME'],
};

/** What a command printed, as JSON. Throws with what it said on stderr when it fails. */
export async function runJson<T>(program: string, ...argv: string[]): Promise<T> {
  const { stdout } = await run(program, argv, { env: cleanEnvironment, maxBuffer: 64 * 1024 * 1024 });
  return JSON.parse(stdout) as T;
}

/** Where a command is on the search path; undefined when it is not installed. */
export function find(command: string): string | undefined {
  return cleanEnvironment['PATH']
    ?.split(':')
    .map((directory) => join(directory, command))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Times commands in turns. Nanoseconds, by command, round and run. */
export function timeCommands(
  rounds: number,
  runs: number,
  commands: readonly string[][],
): Promise<number[][][]> {
  return runJson(
    programs.spawnTimer,
    String(rounds),
    String(runs),
    ...commands.flatMap((command) => [',', ...command]),
  );
}
