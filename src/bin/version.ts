import { createRequire } from 'node:module';

/** Put in the place of the name by src/build/bundle.mjs. */
declare const BERTH_VERSION: string | undefined;

/** Of package.json: what the bundle was built from, or beside the modules that tsc wrote into build/js. */
export function version(): string {
  if (typeof BERTH_VERSION === 'string') {
    return BERTH_VERSION;
  }
  const require = createRequire(import.meta.url);
  return (require('../../../../package.json') as { version: string }).version;
}
