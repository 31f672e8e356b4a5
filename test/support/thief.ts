import type { TestContext } from 'node:test';
import { Child, root } from './processes.js';
import type { Kind } from './sockets.js';

export interface Loot {
  readonly attempts: number;
  readonly binds: number;
  readonly listens: number;
  readonly errors: Readonly<Record<string, number>>;
}

export interface ThiefAttempt {
  readonly kind: Kind;
  readonly host: string;
  readonly options?: readonly string[];
}

export interface Thief {
  /** Stops it and tells what it did. */
  stop(): Promise<Loot>;
}

/** Starts a process that tries to take a port all the time; resolves when it has made its first attempts. */
export async function startThief(
  t: TestContext,
  port: number,
  attempts: readonly ThiefAttempt[],
  user?: number,
): Promise<Thief> {
  const wanted = attempts.map(({ options = [], ...rest }) => ({ ...rest, options }));
  const child = new Child(
    t,
    process.execPath,
    [`${root}build/js/test/support/thief-main.js`, String(port), JSON.stringify(wanted)],
    user === undefined ? {} : { uid: user, gid: user },
  );
  await child.prints('out', /^ready$/m);
  return {
    stop: async () => {
      child.closeInput();
      const { out, status, err } = await child.exit;
      if (status !== 0) throw new Error(`the thief failed: ${err}`);
      return JSON.parse(out.split('\n')[1] ?? '') as Loot;
    },
  };
}
