import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { HeldSocket } from '../../src/daemon/held-socket.js';
import { native } from '../../src/native/index.js';
import type { ThiefReport } from '../lab/thief.js';
import { inet, request, spec } from '../support/holds.js';
import { Child, root } from '../support/processes.js';
import { requires, requiresRoot } from '../support/requirements.js';
import { accept, connect, freePort, openSocket, randomLoopback, sockaddr } from '../support/sockets.js';

/** Of each case. What berth did before it waited for calls under way lost a port every few seconds, or minutes. */
const seconds = Number(process.env['STALL_SECONDS'] ?? 3);

/** Calls `move` all the while that a thief with these options, stopped by interrupts, tries to bind there. */
async function robbed(
  t: TestContext,
  host: string,
  port: number,
  kinds: readonly string[],
  move: () => void,
): Promise<void> {
  const args = kinds.flatMap((kind, index) => [
    ...(index === 0 ? [] : ['--and']),
    ...`${kind} --address ${host}`.split(' '),
  ]);
  const thief = new Child(t, `${root}build/bin/thief`, [
    ...['--port', String(port), '--hold-ms', '0', '--stdin', '--stalls'],
    ...args,
  ]);
  await Promise.race([thief.prints('out', /^ready$/m), thief.exit]);
  if (!requires(t, !thief.err.includes('perf_event_open'), 'perf_event_open(2) is not allowed here')) return;
  let moves = 0;
  for (const end = performance.now() + 1000 * seconds; performance.now() < end; moves++) move();
  thief.closeInput();
  const { out, err, status } = await thief.exit;
  assert.deepEqual([status, err], [0, '']);
  const { attempts, thefts } = JSON.parse(out.split('\n')[1] ?? '') as ThiefReport;
  t.diagnostic(`${attempts} attempts, ${moves} moves`);
  assert.ok(attempts > 100 * seconds);
  assert.equal(thefts, 0);
}

describe('a thief whose bind(2) interrupts stop in the midst of it', () => {
  it('gets nothing while a program binds datagram sockets beside the held one', async (t) => {
    if (!requiresRoot(t)) return;
    const [host, port] = [randomLoopback(), freePort()];
    const held = HeldSocket.bind(request(spec('datagram', inet(host, port)), {}, 'refuse', false, true));
    const address = sockaddr(host, port);
    await robbed(t, host, port, ['--udp --reuseport'], () => {
      const program = openSocket('datagram', 'inet');
      assert.equal(native.bindFor(-1, program, address, held.fds), 0);
      closeSync(program);
    });
    held.close();
  });

  for (const kind of ['stream', 'datagram'] as const)
    it(`gets nothing while held ${kind} sockets are replaced by one another`, async (t) => {
      if (!requiresRoot(t)) return;
      const address = inet(randomLoopback(), freePort());
      const wanted = request(spec(kind, address));
      let held = HeldSocket.bind(wanted);
      const protocol = kind === 'stream' ? '--tcp' : '--udp';
      const kinds = [`${protocol} --reuseport`, `${protocol} --reuseaddr --reuseport`];
      await robbed(t, address.host, address.port, kinds, () => {
        const next = HeldSocket.bind(wanted, [held]);
        held.close();
        held = next;
      });
      held.close();
    });

  it('gets nothing while a service is restarted, before and after there is a guard', async (t) => {
    if (!requiresRoot(t)) return;
    for (const guarded of [false, true]) {
      const address = inet(randomLoopback(), freePort());
      const held = HeldSocket.bind(request(spec('stream', address), {}, 'refuse', guarded));
      held.handOver();
      // It stays open, and has SO_REUSEADDR like the thief.
      connect(t, 'stream', address);
      accept(t, held.fd);
      const kinds = ['--tcp --reuseaddr', '--tcp --reuseaddr --reuseport'];
      await robbed(t, address.host, address.port, kinds, () => {
        held.rest();
        held.handOver();
      });
      held.close();
    }
  });
});
