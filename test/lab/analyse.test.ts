import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { withLab } from './lab.js';
import { projectRoot } from './paths.js';
import { labTest } from './requirements.js';

/** The C that is installed, with the headers that it includes and the script. */
function sources(): Record<string, string> {
  const folders = ['src/native', 'generators', 'node_modules/node-api-headers/include'];
  const files = folders.flatMap((folder) =>
    readdirSync(`${projectRoot}${folder}`, { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.[ch]$/.test(name))
      .map((name) => `${folder}/${name}`),
  );
  return Object.fromEntries(
    ['src/build/analyse.sh', ...files].map((file) => [
      `/root/berth/${file}`,
      readFileSync(`${projectRoot}${file}`, 'utf8'),
    ]),
  );
}

labTest('cppcheck and clang-tidy have nothing to say about the C', async (t) => {
  const options = { berth: false, packages: ['clang-tidy', 'cppcheck'], files: sources() };
  await withLab(t, options, async (lab) => {
    const run = ['sh', '/root/berth/src/build/analyse.sh'];
    const { status, stdout, stderr } = await lab.run(run, { allowFail: true, timeoutMs: 600_000 });
    assert.equal(status, 0, stdout + stderr);
    // That they look at all: a mistake that each of them finds.
    await lab.write('/root/wrong.c', 'int wrong(void) { int *p = 0; return *p; }\n');
    const wrong = await lab.run([...run, '/root/wrong.c'], { allowFail: true, timeoutMs: 60_000 });
    assert.equal(wrong.status, 1);
    assert.match(wrong.stdout, /wrong\.c:1:.*\[clang-analyzer-core\.NullDereference/);
    assert.match(wrong.stderr, /wrong\.c:1:.*\[nullPointer\]/);
  });
});

labTest('the C compiles for aarch64 without a warning', async (t) => {
  const options = {
    berth: false,
    packages: ['gcc-aarch64-linux-gnu', 'libc6-dev-arm64-cross'],
    files: sources(),
  };
  await withLab(t, options, async (lab) => {
    const flags =
      '-std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wvla -O2 -fanalyzer -fPIC';
    const compile = (file: string) =>
      lab.run(
        [
          ...['aarch64-linux-gnu-gcc', ...flags.split(' '), '-D_FORTIFY_SOURCE=2', '-DVERSION="0"'],
          ...['-DNAPI_VERSION=9', '-I/root/berth/node_modules/node-api-headers/include'],
          ...['-c', '-o', '/dev/null', file],
        ],
        { allowFail: true, timeoutMs: 60_000 },
      );
    for (const file of Object.keys(options.files).filter((name) => name.endsWith('.c'))) {
      const { status, stderr } = await compile(file);
      assert.deepEqual({ status, stderr }, { status: 0, stderr: '' }, file);
    }
    await lab.write('/root/wrong.c', 'int wrong(void) { int *p = 0; return *p; }\n');
    assert.match((await compile('/root/wrong.c')).stderr, /analyzer-null-dereference/);
  });
});
