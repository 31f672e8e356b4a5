import type { TestContext } from 'node:test';

/**
 * Skips the test with the reason unless `met`; fails it instead where BERTH_MUST_RUN=1 is set. True when the test can
 * go on.
 */
export function requires(t: TestContext, met: boolean, reason: string): boolean {
  if (met) return true;
  if (process.env['BERTH_MUST_RUN'] === '1') throw new Error(`BERTH_MUST_RUN=1, but ${reason}`);
  t.skip(reason);
  return false;
}

export function requiresRoot(t: TestContext): boolean {
  return requires(t, process.geteuid?.() === 0, 'this needs root');
}
