import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { Berthd, programs } from '../support/berthd.js';
import { inet, inet6 } from '../support/holds.js';
import { root, run, until } from '../support/processes.js';
import { requires } from '../support/requirements.js';
import { freePort, steal } from '../support/sockets.js';

const hostile = `${root}build/bin/hostile`;
const runs = Number(process.env['FUZZ_RUNS'] ?? 400);

function file(port: number): string {
  return `[Socket]\nListenStream=${port}\nListenDatagram=${port}\n[Reservation]\nHandoff=bind\n`;
}

/** Runs the hostile program with `own` reserved for it, and returns what it printed. What is another's must stay so. */
async function attack(t: TestContext, mode: string): Promise<string> {
  const [own, foreign] = [freePort(), freePort()];
  const daemon = await Berthd.start(t, { own: file(own), foreign: file(foreign) });
  const claim = (command: readonly string[]) =>
    run(t, programs.claim, ['--control', daemon.control, '--bind', 'own', '--', ...command]);
  await claim(['true']);
  await daemon.reaches('own', 'held');
  const before = daemon.fds().size;
  const inodes = (await daemon.status('foreign')).sockets.map(({ inode }) => inode);
  const { out, err, status } = await claim([hostile, mode, String(runs), String(own), String(foreign)]);
  assert.deepEqual({ err, status }, { err: '', status: 0 });
  await daemon.reaches('own', 'held');
  assert.deepEqual(
    (await daemon.status('foreign')).sockets.map(({ inode }) => inode),
    inodes,
  );
  for (const port of [own, foreign])
    for (const kind of ['stream', 'datagram'] as const)
      for (const address of [inet('0.0.0.0', port), inet('127.0.0.1', port), inet6('::', port)])
        assert.deepEqual(steal(kind, address), [], `${kind} ${port}`);
  // What may take its time to be closed is closed by another thread.
  await until(
    () => daemon.fds().size,
    (now) => now === before,
    'descriptors are left',
  );
  assert.equal((await claim([`${root}build/bin/binder`, 'try', String(own)])).out, 'ok\n');
  return out;
}

describe('a hostile supervised program', () => {
  it('gets what it said when berthd looked, and never what is not its own', async (t) => {
    assert.match(await attack(t, 'address'), /stolen 0/);
  });

  it('gets nothing by putting other descriptors into the place of one', async (t) => {
    assert.match(await attack(t, 'descriptor'), /stolen 0/);
  });

  it('opens nothing by switching the options of its socket meanwhile', async (t) => {
    assert.match(await attack(t, 'options'), /stolen 0/);
  });

  it('leaves nothing undone by being killed in the call', async (t) => {
    assert.match(await attack(t, 'die'), /stolen 0/);
  });

  it('gets past by io_uring(7) no more than without berth', async (t) => {
    const out = await attack(t, 'ring');
    if (requires(t, out !== 'no ring\n', 'this kernel binds nothing by io_uring'))
      assert.match(out, /stolen 0/);
  });

  it('finds no way around in calls of 32 bits', async (t) => {
    const out = await attack(t, 'i386');
    if (!requires(t, process.arch === 'x64', 'int $0x80 is one of x86')) return;
    // -ENOSYS; getpid() of 32 bits works.
    assert.match(out, /^bind -38, listen -38, socketcall -38, getpid 1\nx32 bind -38\n/);
  });
});
