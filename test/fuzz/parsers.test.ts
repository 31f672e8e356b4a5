import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { projectRoot } from '../lab/paths.js';
import { runCommand } from '../lab/process.js';
import { counted, runsOf } from './fuzz.js';

const inputs = runsOf(5000, 60_000);
const seed = process.env['FUZZ_SEED'] ?? String(Date.now());

/** Each is a parser of the C programs, or whatever else they make of what others write. */
const targets = readdirSync(`${projectRoot}test/fuzz/targets`)
  .filter((name) => name.endsWith('.c') && name !== 'driver.c')
  .map((name) => name.slice(0, -2));

describe('the C reads anything without a fault', () => {
  for (const target of targets) {
    it(`${target}: its corpus, and ${inputs} inputs made of it`, async (t) => {
      const failed = join(tmpdir(), `berth-fuzz-${target}-${process.pid}`);
      // The programs bring their own sanitizers along; a caller's may be others.
      const env = { ...process.env, LD_PRELOAD: undefined, ASAN_OPTIONS: undefined };
      const corpus = `${projectRoot}test/fuzz/corpus/${target}`;
      const argv = [`${projectRoot}build/bin/fuzz-${target}`, seed, String(inputs), corpus, failed];
      const outcome = await runCommand(argv, { env });
      const about = outcome.status === 0 ? '' : await readFile(failed, 'base64').catch(() => 'not kept');
      await rm(failed, { force: true });
      assert.equal(outcome.status, 0, `seed ${seed}, input ${about} (base64)\n${outcome.stderr}`);
      t.diagnostic(`seed ${seed}`);
      counted(t, `C-${target}`, parseInt(outcome.stdout, 10));
      assert.equal(outcome.stdout, `${inputs + readdirSync(corpus).length} inputs\n`);
    });
  }
});
