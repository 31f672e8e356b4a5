import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { verbs } from '../../../src/commands/arguments.js';
import { fakeDaemon, reservation, scratch } from './fake-daemon.js';

const completion = fileURLToPath(new URL('../../../../../docs/completions/berth.bash', import.meta.url));
const program = fileURLToPath(new URL('../../../src/bin/berth.js', import.meta.url));

/** What bash would offer for the last of `words`, with the `berth` of this build on the PATH. */
function complete(t: TestContext, words: readonly string[], directory = scratch(t)): Promise<string[]> {
  const bin = scratch(t);
  writeFileSync(join(bin, 'berth'), `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`, {
    mode: 0o755,
  });
  const script = `
    source "$1"
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _berth
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  return new Promise((resolve, reject) => {
    execFile(
      'bash',
      ['--norc', '-c', script, 'bash', completion, ...words],
      {
        cwd: directory,
        env: { ...process.env, PATH: `${bin}:${process.env['PATH'] ?? ''}` },
        timeout: 20_000,
      },
      (error, out, err) => {
        if (error !== null || err !== '') {
          reject(error ?? new Error(err));
        } else {
          resolve(
            out
              .split('\n')
              .filter((line) => line !== '')
              .sort(),
          );
        }
      },
    );
  });
}

function daemon(t: TestContext): string {
  const names = ['cups', 'cups-browsed', 'rsync'];
  return fakeDaemon(t, () => ({
    parameters: { reservations: names.map((name) => reservation(name)), more: false },
  }));
}

describe('the completion of bash', () => {
  it('offers the commands', async (t) => {
    assert.deepEqual(await complete(t, ['berth', '']), [...verbs].sort());
    assert.deepEqual(await complete(t, ['berth', '--json', 'rel']), ['release', 'reload']);
  });

  it('offers the names that berthd holds', async (t) => {
    const control = daemon(t);
    assert.deepEqual(await complete(t, ['berth', '--control', control, 'status', 'c']), [
      'cups',
      'cups-browsed',
    ]);
    assert.deepEqual(await complete(t, ['berth', '--control', '=', control, 'status', '']), [
      'cups',
      'cups-browsed',
      'rsync',
    ]);
  });

  it('offers no names, in silence, where there is no berthd', async (t) => {
    const control = join(scratch(t), 'control');
    assert.deepEqual(await complete(t, ['berth', '--control', control, 'status', '']), []);
  });

  it('offers the options, those of check only with check', async (t) => {
    assert.deepEqual(await complete(t, ['berth', '--no']), ['--no-legend', '--no-pager']);
    assert.deepEqual(await complete(t, ['berth', '--con']), ['--control']);
    assert.deepEqual(await complete(t, ['berth', 'check', '--con']), ['--config-dir', '--control']);
  });

  it('offers the forms of JSON behind --json=, and the options of watch with watch', async (t) => {
    assert.deepEqual(await complete(t, ['berth', '--json', '=']), ['pretty', 'short']);
    assert.deepEqual(await complete(t, ['berth', 'list', '--json', '=', 'p']), ['pretty']);
    assert.deepEqual(await complete(t, ['berth', '--json', '=', 'pretty', 'wa']), ['watch']);
    assert.deepEqual(await complete(t, ['berth', 'watch', '--cou']), ['--count']);
    assert.deepEqual(await complete(t, ['berth', 'list', '--cou']), []);
  });

  it('offers the names to verify, and the ports that are held to why', async (t) => {
    const control = daemon(t);
    assert.deepEqual(await complete(t, ['berth', '--control', control, 'verify', 'rsync', 'cups-']), [
      'cups-browsed',
    ]);
    assert.deepEqual(await complete(t, ['berth', '--control', control, 'why', '']), ['631', '631/tcp']);
  });

  it('offers the files that an option or check can take', async (t) => {
    const directory = scratch(t);
    writeFileSync(join(directory, 'a b.conf'), '');
    writeFileSync(join(directory, 'x.txt'), '');
    mkdirSync(join(directory, 'sub'));
    symlinkSync('x.txt', join(directory, 'y.conf'));
    assert.deepEqual(await complete(t, ['berth', 'check', ''], directory), ['a b.conf', 'sub', 'y.conf']);
    assert.deepEqual(await complete(t, ['berth', 'check', '--config-dir', ''], directory), ['sub']);
    assert.deepEqual(await complete(t, ['berth', '--control', 'x'], directory), ['x.txt']);
    assert.deepEqual(await complete(t, ['berth', '--control', '=', 'x'], directory), ['x.txt']);
    assert.deepEqual(await complete(t, ['berth', '--control', '='], directory), [
      'a b.conf',
      'sub',
      'x.txt',
      'y.conf',
    ]);
    mkdirSync(join(directory, 'portreserve'));
    writeFileSync(join(directory, 'portreserve/cups'), '');
    assert.deepEqual(await complete(t, ['berth', 'check', 'portreserve/'], directory), ['portreserve/cups']);
  });
});
