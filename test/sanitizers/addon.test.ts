// That a fault in the addon would be seen where the tests themselves run with the sanitizers: one is planted. For the lab,
// lab.test.ts does the same.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../../', import.meta.url));

const send = `const n = require('${root}build/lib/berth.planted.node');
const [one] = n.socketpair(n.constants.SOCK_SEQPACKET);
n.send(one, Buffer.from('x'), []);`;

/** What judge.sh says of a Node that sends a packet. */
function judge(planted: string): { readonly status: number | null; readonly text: string } {
  const directory = mkdtempSync(join(tmpdir(), 'berth-planted-'));
  const env = { ...process.env, BERTH_PLANTED: planted, BERTH_REPORTS: directory };
  spawnSync(process.execPath, ['-e', send], { env });
  // awk is to be no program under test.
  const plain = { ...process.env, LD_PRELOAD: undefined };
  const { status, stdout } = spawnSync('sh', [`${root}test/sanitizers/judge.sh`, directory], { env: plain });
  rmSync(directory, { recursive: true });
  return { status, text: stdout.toString() };
}

test('a fault in the addon is reported, and counts', () => {
  assert.deepEqual(judge('none'), { status: 0, text: '' });
  for (const [kind, report] of [
    ['use-after-free', /ERROR: AddressSanitizer: heap-use-after-free.*src\/native\/addon/s],
    ['overflow', /runtime error: signed integer overflow.*src\/native\/addon/s],
    ['leak', /leak of 4711 byte.*src\/native\/addon/s],
  ] as const) {
    const { status, text } = judge(kind);
    assert.equal(status, 1, kind);
    assert.match(text, report);
  }
});
