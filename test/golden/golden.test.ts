import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { defaultDirectories } from '../../src/config/search.js';
import { formatMistake } from '../../src/model/reservation.js';
import { complaints, generate } from '../../src/generator/generate.js';

/**
 * NN-NAME.input is a machine's /etc, /usr and /run; NN-NAME.expected is what the generator makes of it: its drop-ins,
 * the lines that go to the log, and the notes of `berth generate`. UPDATE_GOLDEN=1 writes what is expected anew.
 */
const folder = 'test/golden';
const cases = readdirSync(folder)
  .filter((entry) => entry.endsWith('.input'))
  .map((entry) => entry.slice(0, -'.input'.length))
  .sort();

const unitFile = 'usr/lib/systemd/system/cups.service';
/** What no repository should contain, added to the tree of a case by the end of its name. */
const additions: Readonly<Record<string, readonly Uint8Array[]>> = {
  'hostile-unit': hostile(),
  'hostile-unit-store': hostile(),
};

function hostile(): Uint8Array[] {
  const binary = Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 7919 + (index >> 3)) % 256));
  return [
    Buffer.from(`Environment=${'A'.repeat(1024 * 1024)}\n`),
    Buffer.from('ExecStart=/bin/\0nul\n\0\0\0\n'),
    binary,
    Buffer.from('\n\\\n\\\n[\n]\n[]\n=\n==\nExecStart=/bin/second\\'),
  ];
}

function inputOf(context: TestContext, name: string): string {
  const added = additions[name.replace(/^\d+-/, '')];
  if (added === undefined) return path.resolve(folder, `${name}.input`);
  const root = copy(context, name);
  for (const bytes of added) appendFileSync(path.join(root, unitFile), bytes);
  return root;
}

function copy(context: TestContext, name: string): string {
  const root = mkdtempSync(path.join(tmpdir(), 'berth-golden-'));
  context.after(() => {
    rmSync(root, { recursive: true, force: true });
  });
  cpSync(path.resolve(folder, `${name}.input`), root, { recursive: true, verbatimSymlinks: true });
  return root;
}

/** Everything that a case makes, by its place. */
function outcome(root: string): Record<string, string> {
  const generated = generate(defaultDirectories, root);
  const { plan, configuration } = generated;
  const notes = [
    ...configuration.notes.map(formatMistake),
    ...plan.units.flatMap(({ unit, notes }) => notes.map((note) => `${unit}: ${note}`)),
  ];
  const lines = (texts: readonly string[]) => texts.map((text) => `${text}\n`).join('');
  const files = plan.units.flatMap(({ file }) => (file === undefined ? [] : [[file.path, file.text] as const]));
  return Object.fromEntries([...files, ['log', lines(complaints(generated))], ['notes', lines(notes)]]);
}

function expectedOf(directory: string): Record<string, string> {
  const entries = existsSync(directory) ? readdirSync(directory, { recursive: true, withFileTypes: true }) : [];
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
  return Object.fromEntries(files.map((file) => [path.relative(directory, file), readFileSync(file, 'utf8')]));
}

function write(directory: string, files: Readonly<Record<string, string>>): void {
  rmSync(directory, { recursive: true, force: true });
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(path.join(directory, path.dirname(file)), { recursive: true });
    writeFileSync(path.join(directory, file), text);
  }
}

describe('golden directories', () => {
  for (const name of cases) {
    it(name, (context) => {
      const expected = path.join(folder, `${name}.expected`);
      const made = outcome(inputOf(context, name));
      if (process.env['UPDATE_GOLDEN'] === '1') write(expected, made);
      assert.deepEqual(made, expectedOf(expected));
    });
  }
});

/** The commands of ExecStart= as a systemd that loads the tree has them. */
function loadedCommands(root: string, unit: string): { commands: string[]; complaints: string } {
  const { stdout, stderr } = spawnSync('systemd-analyze', [`--root=${root}`, '--man=no', 'verify', unit], {
    encoding: 'utf8',
    env: { ...process.env, SYSTEMD_LOG_LEVEL: 'debug' },
    maxBuffer: 64 * 1024 * 1024,
  });
  const block = /-> ExecStart:\n((?:\t\t\tCommand Line: .*\n)*)/.exec(stdout)?.[1] ?? '';
  const commands = block.split('\n').map((line) => line.replace(/^\t\t\tCommand Line: /, ''));
  return { commands: commands.filter((line) => line !== ''), complaints: stderr };
}

describe('systemd on the drop-ins', () => {
  const analyze = spawnSync('systemd-analyze', ['--version']).status === 0;
  const withFiles = cases.filter(
    (name) => additions[name.replace(/^\d+-/, '')] === undefined && !name.includes('missing'),
  );
  for (const name of withFiles) {
    const drops = Object.entries(expectedOf(path.join(folder, `${name}.expected`))).filter(([file]) => file.endsWith('.conf'));
    if (drops.length === 0) continue;
    it(`takes every line of ${name}, and runs the same commands`, (context) => {
      if (!analyze) {
        assert.notEqual(process.env['BERTH_MUST_RUN'], '1', 'there is no systemd-analyze');
        context.skip('there is no systemd-analyze');
        return;
      }
      const root = copy(context, name);
      const units = drops.map(([file]) => path.dirname(file).replace(/\.d$/, ''));
      const before = units.map((unit) => loadedCommands(root, unit).commands);
      for (const [file, text] of drops) {
        mkdirSync(path.join(root, 'run/systemd/system', path.dirname(file)), { recursive: true });
        writeFileSync(path.join(root, 'run/systemd/system', file), text);
      }
      units.forEach((unit, index) => {
        const { commands, complaints } = loadedCommands(root, unit);
        const own = complaints.split('\n').filter((line) => /-berth\.conf:\d+:/.test(line));
        // 252 knows PrivatePIDs= and the like no better than we know what comes after 262.
        assert.deepEqual(own, [], unit);
        assert.deepEqual(commands.map(unwrap), before[index]?.map(plain), unit);
      });
    });
  }
});

/** The command that berth-claim runs, with the zeroth argument that it gives it. */
function unwrap(command: string): string {
  const claim = /^\/usr\/bin\/berth-claim (?:--argv0 ("(?:[^"\\]|\\.)*"|\S+) )?(?:--bind )?(?:[\w.@-]+ )+-- /;
  let rest = command;
  for (let match = claim.exec(rest); match !== null; match = claim.exec(rest)) {
    rest = rest.slice(match[0].length);
    if (match[1] !== undefined) rest = rest.replace(/^("(?:[^"\\]|\\.)*"|\S+)/, () => match[1] ?? '');
  }
  return plain(rest);
}

/** In a path, a variable is never replaced, and $ is as good as $$. */
function plain(command: string): string {
  return command.replace(/^("(?:[^"\\]|\\.)*"|\S+)/, (path) => path.replaceAll('\\$\\$', '\\$'));
}
