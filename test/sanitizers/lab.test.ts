// That a fault in the C would be seen in a lab: one is planted, and the report of it must be there, and count.
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { peer, peerAt, reservation, reservations } from '../lab/claims.js';
import { withLab, type Lab, type LabOptions } from '../lab/lab.js';
import { projectRoot } from '../lab/paths.js';
import { runCommand } from '../lab/process.js';
import { labTest } from '../lab/requirements.js';
import { reportsOf } from '../lab/sanitized.js';

/** What test/sanitized.sh would say of this lab's reports alone, and fail for. */
async function judge(lab: Lab): Promise<{ readonly failed: boolean; readonly text: string }> {
  const { status, stdout } = await runCommand([
    'sh',
    `${projectRoot}test/sanitizers/judge.sh`,
    reportsOf(lab),
  ]);
  return { failed: status !== 0, text: stdout };
}

/** Boots a lab, which may fail, and takes its reports away, which are of no fault of berth's. */
async function withPlanted(
  t: Parameters<typeof withLab>[0],
  options: LabOptions,
  use: (lab: Lab) => Promise<void>,
): Promise<void> {
  await withLab(t, { name: 'planted', degraded: true, ...options }, async (lab) => {
    await use(lab);
    rmSync(reportsOf(lab), { recursive: true });
  });
}

const kinds = {
  'use-after-free': /ERROR: AddressSanitizer: heap-use-after-free.*src\/native\//s,
  overflow: /runtime error: signed integer overflow.*src\/native\//s,
  leak: /leak of \d+ byte.*src\/native\//s,
} as const;
type Kind = keyof typeof kinds;
const all = Object.keys(kinds) as Kind[];

labTest('a fault in berth-claim is reported, and its claim fails', async (t) => {
  const options: LabOptions = {
    programs: { ...peerAt(), '/usr/bin/berth-claim': `${projectRoot}build/bin/berth-claim.planted` },
    units: Object.fromEntries(
      ['none', ...all].map((kind) => [
        `${kind}.service`,
        `[Service]\nEnvironment=BERTH_PLANTED=${kind}\nUser=nobody\nExecStart=${peer} serve\n`,
      ]),
    ),
    files: reservations(
      Object.fromEntries(
        ['none', ...all].map((kind, index) => [kind, reservation([`ListenStream=${7001 + index}`])]),
      ),
    ),
  };
  await withPlanted(t, options, async (lab) => {
    await lab.systemctl('start', 'none.service');
    assert.deepEqual(await judge(lab), { failed: false, text: '' });
    for (const kind of all) {
      const start = await lab.run(['systemctl', 'start', `${kind}.service`], { allowFail: true });
      assert.notEqual(start.status, 0, kind);
      const { failed, text } = await judge(lab);
      assert.ok(failed, kind);
      assert.match(text, kinds[kind]);
    }
  });
});

function plantedDaemon(kind: Kind): LabOptions {
  return {
    programs: { '/usr/lib/berth/berth.node': `${projectRoot}build/lib/berth.planted.node` },
    units: { 'berth.service.d/planted.conf': `[Service]\nEnvironment=BERTH_PLANTED=${kind}\n` },
    files: reservations({ web: reservation(['ListenStream=7001']) }),
  };
}

for (const kind of ['use-after-free', 'overflow'] as const) {
  labTest(`a fault in berthd is reported, each time: ${kind}`, async (t) => {
    await withPlanted(t, plantedDaemon(kind), async (lab) => {
      // Each berthd ends by its fault, and systemd starts the next one.
      const reports = (): number =>
        readdirSync(reportsOf(lab)).filter((name) => name.includes('asan.') || name.includes('ubsan.'))
          .length;
      await lab.until('two reports', () => Promise.resolve(reports() >= 2 || undefined), 60_000);
      const { failed, text } = await judge(lab);
      assert.ok(failed);
      assert.match(text, kinds[kind]);
    });
  });
}

labTest('a leak in berthd is reported at its end, although Node leaks as well', async (t) => {
  await withPlanted(t, plantedDaemon('leak'), async (lab) => {
    await lab.text(['berth', 'list']);
    await lab.systemctl('stop', 'berth.socket', 'berth.service');
    const { failed, text } = await judge(lab);
    assert.ok(failed);
    assert.match(text, kinds.leak);
  });
});
