import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { Worker } from 'node:worker_threads';
import { constant, native, Readable, Writable, type Watch } from '../../../src/native/index.js';
import { openFds } from '../../support/files.js';
import { closing, outcome } from '../../support/sockets.js';

const module = JSON.stringify(new URL('../../../src/native/index.js', import.meta.url).href);

function pair(t: TestContext): [number, number] {
  const [one, other] = native.socketpair(constant('SOCK_SEQPACKET'));
  return [closing(t, one), closing(t, other)];
}

/** Ends the watch with the test, before the descriptors that were registered earlier are closed. */
function watching(t: TestContext, fd: number, events: number, callback: (events: number) => void): Watch {
  const watch = native.watch(fd, events, callback);
  t.after(() => {
    native.unwatch(watch);
  });
  return watch;
}

/** Resolves with the events of the first call. */
function firstEvent(fd: number, events: number): Promise<number> {
  return new Promise((resolve) => {
    const watch = native.watch(fd, events, (ready) => {
      native.unwatch(watch);
      resolve(ready);
    });
  });
}

/** Runs a program of its own, which has `native` and a `fail` that ends it. */
function inProcess(program: string): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { native, constant, Readable, Writable } from ${module};\n${program}`,
    ],
    { encoding: 'utf8', timeout: 20_000 },
  );
  return { status, out: stdout, err: stderr };
}

describe('watch', () => {
  it('calls back with what became possible', async (t) => {
    const [one, other] = pair(t);
    assert.equal(await firstEvent(one, Writable), Writable);
    native.send(other, Buffer.from('x'), []);
    assert.equal(await firstEvent(one, Readable), Readable);
    assert.equal((await firstEvent(one, Readable | Writable)) & (Readable | Writable), Readable | Writable);
  });

  it('tells of the end of the other side', async () => {
    const [one, other] = native.socketpair(constant('SOCK_SEQPACKET'));
    const event = firstEvent(one, Readable);
    closeSync(other);
    assert.notEqual((await event) & Readable, 0);
    closeSync(one);
  });

  it('goes on until it is told otherwise', async (t) => {
    const [one, other] = pair(t);
    native.send(other, Buffer.from('x'), []);
    let calls = 0;
    await new Promise<void>((resolve) => {
      watching(t, one, Readable, () => {
        if (++calls === 3) resolve();
      });
    });
  });

  it('waits for what rewatch says, and for nothing after 0', async (t) => {
    const [one, other] = pair(t);
    const seen: number[] = [];
    const watch = watching(t, one, Readable, (events) => seen.push(events));
    native.rewatch(watch, Writable);
    await firstEvent(other, Writable);
    assert.deepEqual(new Set(seen), new Set([Writable]));
    native.rewatch(watch, 0);
    const before = seen.length;
    await firstEvent(other, Writable);
    await firstEvent(other, Writable);
    assert.equal(seen.length, before);
    native.send(other, Buffer.from('x'), []);
    native.rewatch(watch, Readable);
    await firstEvent(other, Writable);
    assert.ok(seen.includes(Readable));
  });

  it('says nothing after unwatch, which may come twice, and from the callback', async (t) => {
    const [one, other] = pair(t);
    let calls = 0;
    const watch = native.watch(one, Writable, () => {
      calls++;
      native.unwatch(watch);
      native.unwatch(watch);
    });
    await firstEvent(other, Writable);
    await firstEvent(other, Writable);
    assert.equal(calls, 1);
    native.rewatch(watch, Writable);
    await firstEvent(other, Writable);
    assert.equal(calls, 1);
  });

  it('lets the descriptor be closed and its number be used again at once', async () => {
    for (let round = 0; round < 50; round++) {
      const [one, other] = native.socketpair(constant('SOCK_SEQPACKET'));
      native.send(other, Buffer.from('x'), []);
      const event = await firstEvent(one, Readable);
      assert.equal(event, Readable);
      closeSync(one);
      closeSync(other);
    }
  });

  it('refuses what cannot be watched, a second watch of one descriptor, and something that is no function', (t) => {
    const [one] = pair(t);
    watching(t, one, Readable, () => undefined);
    assert.equal(
      outcome(() => native.watch(one, Readable, () => undefined)),
      'EEXIST',
    );
    assert.equal(
      outcome(() => native.watch(9999, Readable, () => undefined)),
      'EBADF',
    );
    const [two] = pair(t);
    assert.throws(() => native.watch(two, Readable, {} as () => void), TypeError);
    assert.throws(() => native.watch(two, Readable, 7 as unknown as () => void), TypeError);
    assert.throws(() => {
      native.unwatch({} as Watch);
    }, TypeError);
  });

  it('does not need a descriptor of its own', (t) => {
    const [one] = pair(t);
    const before = openFds();
    watching(t, one, Readable, () => undefined);
    assert.deepEqual(openFds(), before);
  });

  it('keeps the process alive while it waits, and no longer', () => {
    const { status, out } = inProcess(`
      const [one, other] = native.socketpair(constant('SOCK_SEQPACKET'));
      const watch = native.watch(one, Readable, () => { native.unwatch(watch); console.log('called'); });
      setTimeout(() => native.send(other, Buffer.from('x'), []), 20).unref();
      setTimeout(() => console.log('too long'), 10_000).unref();`);
    assert.deepEqual({ status, out }, { status: 0, out: 'called\n' });
  });

  it('hands an exception in a callback to uncaughtException, and goes on', () => {
    const { status, out } = inProcess(`
      process.on('uncaughtException', (error) => console.log('caught', error.message));
      const [one] = native.socketpair(constant('SOCK_SEQPACKET'));
      let calls = 0;
      const watch = native.watch(one, Writable, () => {
        if (++calls === 2) native.unwatch(watch);
        throw new Error('call ' + calls);
      });`);
    assert.deepEqual({ status, out }, { status: 0, out: 'caught call 1\ncaught call 2\n' });
  });

  it('ends the process with the exception where nobody catches it', () => {
    const { status, err } = inProcess(`
      const [one] = native.socketpair(constant('SOCK_SEQPACKET'));
      native.watch(one, Writable, () => { throw new Error('nobody catches this'); });`);
    assert.notEqual(status, 0);
    assert.match(err, /nobody catches this/);
  });

  it('lets what a callback promised go on before the next event', () => {
    const { status, out } = inProcess(`
      const [one] = native.socketpair(constant('SOCK_SEQPACKET'));
      let calls = 0;
      const watch = native.watch(one, Writable, () => {
        calls++;
        console.log('call', calls);
        if (calls === 2) native.unwatch(watch);
        Promise.resolve().then(() => console.log('promise', calls));
        process.nextTick(() => console.log('tick', calls));
      });`);
    assert.deepEqual(
      { status, out },
      { status: 0, out: 'call 1\ntick 1\npromise 1\ncall 2\ntick 2\npromise 2\n' },
    );
  });

  it('is let go with the garbage, without harm', () => {
    const { status, err } = inProcess(`
      import v8 from 'node:v8';
      import vm from 'node:vm';
      v8.setFlagsFromString('--expose-gc');
      const gc = vm.runInNewContext('gc');
      for (let round = 0; round < 200; round++) {
        const [one] = native.socketpair(constant('SOCK_SEQPACKET'));
        const watch = native.watch(one, Readable, () => undefined);
        if (round % 2) native.unwatch(watch);
        if (round % 20 === 0) { gc(); await new Promise(setImmediate); gc(); }
      }
      gc();
      await new Promise(setImmediate);`);
    assert.deepEqual({ status, err }, { status: 0, err: '' });
  });
});

describe('worker threads', () => {
  it('may end with watches open, of their own accord or not', async () => {
    const before = openFds().size;
    for (const how of ['end', 'terminate', 'throw']) {
      const worker = new Worker(
        `const { parentPort, workerData } = require('node:worker_threads');
         import(${module}).then(({ native, constant, Readable, Writable }) => {
           const pairs = Array.from({ length: 20 }, () => native.socketpair(constant('SOCK_SEQPACKET')));
           const watches = pairs.map(([one]) => native.watch(one, Readable, () => undefined));
           native.unwatch(watches[0]);
           parentPort.postMessage(pairs.flat());
           if (workerData === 'end') process.exit(0);
           if (workerData === 'throw') native.watch(pairs[0][0], Writable, () => { throw new Error('on purpose'); });
         });`,
        { eval: true, workerData: how },
      );
      const failures: unknown[] = [];
      worker.on('error', (error) => failures.push(error));
      const exited = new Promise((resolve) => worker.once('exit', resolve));
      const fds = await new Promise<number[]>((resolve) => worker.once('message', resolve));
      if (how === 'terminate') await worker.terminate();
      await exited;
      assert.deepEqual(failures.map(String), how === 'throw' ? ['Error: on purpose'] : []);
      fds.forEach((fd) => {
        closeSync(fd);
      });
    }
    assert.equal(openFds().size, before);
  });
});
