import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { ConfigurationFiles, type Memory } from '../../../src/daemon/configured.js';

const reservation = '[Socket]\nListenStream=127.0.0.1:631\n';

/** A directory with one reservation, and a stand-in for berthd's own file outside of it. */
function makeDirectory(t: TestContext): { directory: string; program: string; at: (name: string) => string } {
  const top = mkdtempSync(path.join(tmpdir(), 'berth-'));
  t.after(() => {
    rmSync(top, { recursive: true, force: true });
  });
  const directory = path.join(top, 'conf');
  const at = (name: string): string => path.join(directory, name);
  const program = path.join(top, 'berthd.cjs');
  writeFileSync(program, '');
  mkdirSync(directory);
  writeFileSync(at('cups.conf'), reservation);
  return { directory, program, at };
}

/** Loads until the files are old enough for their stamps to prove something. */
async function remembered(files: ConfigurationFiles): Promise<Memory> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    files.load();
    const memory = files.remember();
    if (memory !== undefined) return memory;
    assert.ok(Date.now() < deadline, 'nothing is ever remembered');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('ConfigurationFiles', () => {
  it('remembers nothing of a file that was written a moment ago', (t) => {
    const { directory, program, at } = makeDirectory(t);
    const files = new ConfigurationFiles([directory], program);
    writeFileSync(at('cups.conf'), reservation);
    files.load();
    assert.equal(files.remember(), undefined);
  });

  it('recalls the settings as long as nothing has changed', async (t) => {
    const { directory, program, at } = makeDirectory(t);
    writeFileSync(at('berthd.conf'), 'LogLevel=debug\n');
    const memory = await remembered(new ConfigurationFiles([directory], program));
    const settings = new ConfigurationFiles([directory], program).recall(memory);
    assert.equal(settings?.logLevel, 'debug');
  });

  const changes: Record<string, (at: (name: string) => string, program: string) => void> = {
    'a file with the same name and size': (at) => {
      writeFileSync(at('cups.conf'), reservation.replace('631', '632'));
    },
    'a file in the place of another': (at) => {
      writeFileSync(at('new'), reservation);
      renameSync(at('new'), at('cups.conf'));
    },
    'a new reservation': (at) => {
      writeFileSync(at('new.conf'), reservation);
    },
    'a new drop-in': (at) => {
      symlinkSync('/nonexistent', at('cups.conf.d'));
    },
    'a reservation that has gone': (at) => {
      unlinkSync(at('cups.conf'));
    },
    'settings where there were none': (at) => {
      writeFileSync(at('berthd.conf'), 'LogLevel=err\n');
    },
    'another berthd': (_at, program) => {
      writeFileSync(program, '// another');
    },
    'where a link on the way to a file leads': (at) => {
      unlinkSync(at('second'));
      symlinkSync('other', at('second'));
    },
  };
  for (const [what, change] of Object.entries(changes)) {
    it(`recalls nothing after a change: ${what}`, async (t) => {
      const { directory, program, at } = makeDirectory(t);
      writeFileSync(at('real'), reservation.replace('631', '633'));
      writeFileSync(at('other'), reservation.replace('631', '634'));
      symlinkSync('real', at('second'));
      symlinkSync('second', at('linked.conf'));
      const memory = await remembered(new ConfigurationFiles([directory], program));
      const files = new ConfigurationFiles([directory], program);
      assert.notEqual(files.recall(memory), undefined);
      change(at, program);
      assert.equal(files.recall(memory), undefined);
    });
  }

  it('recalls nothing of other directories', async (t) => {
    const { directory, program } = makeDirectory(t);
    const memory = await remembered(new ConfigurationFiles([directory], program));
    assert.equal(new ConfigurationFiles([directory, '/nonexistent'], program).recall(memory), undefined);
  });
});
