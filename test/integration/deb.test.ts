import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../lab/paths.js';
import { mustRun } from '../lab/process.js';
import { makePackage } from '../support/deb.js';

let directory = '';
let built = '';

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'berth-deb-'));
  built = await makePackage(directory);
});
after(() => rm(directory, { recursive: true }));

/** What `dpkg-deb --contents` lists: mode, owner, size, date, time, path. */
async function contents(): Promise<{ mode: string; owner: string; path: string }[]> {
  const lines = (await mustRun(['dpkg-deb', '--contents', built])).trim().split('\n');
  return lines.map((line) => {
    const [mode = '', owner = '', , , , path = ''] = line.split(/\s+/);
    return { mode, owner, path: path.replace(/^\./, '') };
  });
}

const field = async (name: string): Promise<string> =>
  (await mustRun(['dpkg-deb', '--field', built, name])).trim();

test('the package is named after its version and architecture, and says what it needs', async () => {
  const { version } = JSON.parse(await readFile(`${projectRoot}package.json`, 'utf8')) as { version: string };
  const architecture = (await mustRun(['dpkg', '--print-architecture'])).trim();
  assert.equal(built, join(directory, `berth_${version}_${architecture}.deb`));
  assert.equal(await field('Version'), version);
  const depends = (await field('Depends')).split(', ');
  for (const library of ['libc6', 'libsystemd0'])
    assert.ok(
      depends.some((one) => one.startsWith(`${library} (>= `)),
      `${depends.join()} lacks ${library}`,
    );
  // An upgrade of Node must not take berth away.
  assert.deepEqual(
    depends.filter((one) => one.startsWith('nodejs')),
    ['nodejs (>= 20.19)'],
  );
  for (const relation of ['Provides', 'Conflicts', 'Replaces'])
    assert.equal(await field(relation), 'portreserve');
});

test('every file is root’s, nobody else may write it, and what runs is executable', async () => {
  for (const { mode, owner, path } of await contents()) {
    assert.equal(owner, 'root/root', path);
    if (mode.startsWith('l')) continue;
    const program = /\/s?bin\/.|berth\/[a-z]+\.cjs$|system-generators\/./.test(path);
    assert.equal(mode.slice(1), path.endsWith('/') || program ? 'rwxr-xr-x' : 'rw-r--r--', path);
  }
});

test('the same sources make the same bytes, whoever builds them where', async () => {
  const elsewhere = await mkdtemp(join(tmpdir(), 'berth-deb-'));
  try {
    const env = { TZ: 'Pacific/Kiritimati', LC_ALL: 'C.UTF-8', HOME: '/nonexistent', USER: 'nobody' };
    const again = await makePackage(elsewhere, projectRoot, env);
    assert.ok((await readFile(built)).equals(await readFile(again)));
  } finally {
    await rm(elsewhere, { recursive: true });
  }
});

test('the copyright file names every npm package that is in a program, and no other', async () => {
  const found = new Set<string>();
  for (const program of ['berth', 'berthd', 'generator']) {
    const text = await readFile(`${projectRoot}build/lib/${program}.cjs`, 'utf8');
    // esbuild heads each module with its path.
    for (const [, name = ''] of text.matchAll(/^(?:\/\/ |\s+")(?:\S*\/)?node_modules\/([^/]+)\//gm))
      found.add(name);
  }
  for (const { path } of await contents()) {
    const name = /\/node_modules\/([^/]+)\/./.exec(path)?.[1];
    if (name !== undefined) found.add(name.replace(/^(node-unix-socket-linux)-.*/, '$1-*'));
  }
  const copyright = await readFile(`${projectRoot}src/build/deb/copyright`, 'utf8');
  const named = [...copyright.matchAll(/^(?:Files:)? node_modules\/(.*)\/\*$/gm)].map(([, name]) => name);
  assert.deepEqual([...found].sort(), named.sort());
});
