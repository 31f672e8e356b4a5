import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { Berthd, programs } from '../support/berthd.js';
import { inet, inet6 } from '../support/holds.js';
import { Child, root, run, until } from '../support/processes.js';
import { requires } from '../support/requirements.js';
import { freePort, steal } from '../support/sockets.js';

const hostile = `${root}build/bin/hostile`;
/** In ms: how long others wait at the most. */
const patience = 1000 * Number(process.env['BERTH_SLOWDOWN'] ?? 1);
const runs = 400;

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

/** A program whose call waits until a line is written to it, because berthd's look at it does. */
async function makeWait(
  t: TestContext,
  mode: 'memory' | 'socket',
): Promise<{ daemon: Berthd; slow: Child; own: number } | undefined> {
  const [own, other] = [freePort(), freePort()];
  const daemon = await Berthd.start(t, { own: file(own), other: file(other) });
  const bind = (name: string, command: readonly string[]) => [
    ...['--control', daemon.control, '--bind', name, '--'],
    ...command,
  ];
  const slow = new Child(t, programs.claim, bind('own', [`${root}build/bin/slow`, mode, String(own)]));
  await Promise.race([slow.prints('out', /calling/), slow.exit]);
  if (!requires(t, !slow.err.includes('userfaultfd'), 'userfaultfd(2) is not allowed here')) return undefined;
  for (let round = 0; round < 3; round++) {
    const before = performance.now();
    for (const [name, port] of [
      ['other', other],
      ['own', own],
    ] as const) {
      const tried = [`${root}build/bin/binder`, 'try', String(port)];
      assert.equal((await run(t, programs.claim, bind(name, tried))).out, 'ok\n', name);
    }
    assert.equal((await daemon.list()).length, 2);
    assert.ok(performance.now() - before < patience, 'others have waited');
  }
  assert.doesNotMatch(slow.out, /bind/);
  return { daemon, slow, own };
}

function countThreads({ pid }: Berthd, file: string, pattern: RegExp): number {
  return readdirSync(`/proc/${pid}/task`).filter((thread) => {
    try {
      return pattern.test(readFileSync(`/proc/${pid}/task/${thread}/${file}`, 'utf8'));
    } catch {
      return false; // it has ended meanwhile
    }
  }).length;
}

/** The threads that look. Two stay at the most. */
function lookers(daemon: Berthd): number {
  return countThreads(daemon, 'comm', /^berth-look$/m);
}

/** Those that wait for memory of userfaultfd(2). */
function lookersAtMemory(daemon: Berthd): number {
  return countThreads(daemon, 'wchan', /userfault/);
}

describe('a program that makes the look at its call last', () => {
  for (const [mode, result] of [
    ['memory', /bind 0/],
    ['socket', /bind 22/], // it has a port already
  ] as const) {
    it(`waits alone, and is served in the end (${mode})`, async (t) => {
      const made = await makeWait(t, mode);
      if (made === undefined) return;
      made.slow.write('\n');
      assert.match((await made.slow.exit).out, result);
      await made.daemon.reaches('own', 'held');
    });

    it(`leaves nothing behind when it is killed (${mode})`, async (t) => {
      const made = await makeWait(t, mode);
      if (made === undefined) return;
      const { daemon, slow } = made;
      const before = daemon.fds().size;
      slow.kill('SIGKILL');
      await slow.exit;
      await daemon.reaches('own', 'held');
      await until(
        () => [daemon.fds().size < before, lookers(daemon) <= 2],
        (now) => now.every(Boolean),
        'a look is left',
      );
      const { status } = await daemon.stop();
      assert.equal(status, 0);
    });
  }

  it('does not keep berthd from ending', async (t) => {
    const made = await makeWait(t, 'memory');
    if (made === undefined) return;
    assert.equal((await made.daemon.stop()).status, 0);
    // Without a vault nobody serves its call any more, and the kernel says so.
    assert.match((await made.slow.exit).out, /bind 38/);
  });

  it('cannot have berthd look at the memory of more and more that have ended', async (t) => {
    const made = await makeWait(t, 'memory');
    if (made === undefined) return;
    const { daemon } = made;
    let { slow } = made;
    const keepers: Child[] = [];
    const claim = ['--control', daemon.control, '--bind', 'own', '--'];
    for (let round = 1; ; round++) {
      const fd = (await slow.prints('out', /calling (\d+)/))[1] ?? '';
      await until(
        () => lookersAtMemory(daemon),
        (now) => now === round,
        'berthd does not look',
      );
      const keeper = new Child(t, `${root}build/bin/slow`, ['keep', String(slow.pid), fd]);
      await keeper.prints('out', /kept/);
      keepers.push(keeper);
      slow.kill('SIGKILL');
      await slow.exit;
      await daemon.reaches('own', 'held');
      if (round === 8) break;
      slow = new Child(t, programs.claim, [...claim, `${root}build/bin/slow`, 'memory', String(made.own)]);
    }
    const { status, err } = await run(t, programs.claim, [...claim, 'true']);
    assert.equal(status, 125);
    assert.match(err, /'own' has 8 ended programs/);
    for (const keeper of keepers) keeper.closeInput();
    await until(
      async () => (await run(t, programs.claim, [...claim, 'true'])).status,
      (now) => now === 0,
      'the claim is still refused',
    );
  });
});
