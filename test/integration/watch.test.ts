import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { WatchEvent } from '../../src/protocol/messages.js';
import { Berthd, programs } from '../support/berthd.js';
import { Child, until } from '../support/processes.js';
import { freePort, randomLoopback } from '../support/sockets.js';
import { exchange, Talk } from '../support/talk.js';

function file(host: string, ...ports: number[]): string {
  const listen = ports.map((port) => `ListenStream=${host}:${port}\n`).join('');
  return `[Socket]\n${listen}[Reservation]\nHandoff=exec\n`;
}

/** `berth watch --json`, which has connected. */
async function watch(t: TestContext, { control }: Berthd, ...args: string[]): Promise<Child> {
  const line = [programs.berth, '--control', control, 'watch', '--json', ...args];
  const child = new Child(t, process.execPath, line);
  await child.prints('out', /"watching"/);
  return child;
}

const eventsOf = ({ out }: Child): WatchEvent[] =>
  out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as WatchEvent);

function assertHas(event: WatchEvent, expected: Partial<WatchEvent>): void {
  assert.deepEqual({ ...event, ...expected }, event);
}

async function sees(child: Child, event: string): Promise<WatchEvent> {
  await child.prints('out', new RegExp(`"event":"${event}".*\n`));
  const found = eventsOf(child).find((each) => each.event === event);
  assert.ok(found);
  return found;
}

describe('berth watch', () => {
  it('tells of claims and their end, of reloads, and of what is held and dropped', async (t) => {
    const host = randomLoopback();
    const [one, two] = [freePort(), freePort()];
    const berthd = await Berthd.start(t, { a: file(host, one) });
    const child = await watch(t, berthd);
    const { status } = await berthd.claim('a', ['true']);
    assert.equal(status, 0);
    assertHas(await sees(child, 'claimed'), { reservation: 'a', mode: 'exec' });
    assert.equal((await sees(child, 'stopped')).reservation, 'a');
    berthd.write({ a: file(host, two) });
    await berthd.berth(['reload']);
    assertHas(await sees(child, 'held'), {
      reservation: 'a',
      socket: `tcp ${host}:${two}`,
    });
    assertHas(await sees(child, 'dropped'), {
      reservation: 'a',
      socket: `tcp ${host}:${one}`,
    });
    assert.equal((await sees(child, 'reloaded')).count, 0);
  });

  it('tells of a release, and that what was released is held again', async (t) => {
    const [host, port] = [randomLoopback(), freePort()];
    const berthd = await Berthd.start(t, {
      a: `[Socket]\nListenStream=${host}:${port}\n[Reservation]\nHandoff=release\n`,
    });
    const child = await watch(t, berthd);
    const expected = { reservation: 'a', socket: `tcp ${host}:${port}`, unit: 'a.service' };
    assert.equal((await berthd.berth(['release', 'a'])).status, 0);
    assertHas(await sees(child, 'released'), expected);
    // Its unit does not run here, so it is taken back with the next look at the files.
    assert.equal((await berthd.berth(['reload'])).status, 0);
    assertHas(await sees(child, 'held'), expected);
  });

  it('tells who has an address that is reserved, and when it is held in the end', async (t) => {
    const host = randomLoopback();
    const port = freePort();
    const thief = new Child(t, process.execPath, [
      '-e',
      `require('net').createServer().listen(${port}, '${host}', () => console.log('ready'))`,
    ]);
    await thief.prints('out', /ready/);
    const berthd = await Berthd.start(t, { a: file(host, freePort()) });
    const child = await watch(t, berthd);
    berthd.write({ a: file(host, port) });
    await berthd.berth(['reload']);
    assertHas(await sees(child, 'taken'), {
      reservation: 'a',
      socket: `tcp ${host}:${port}`,
      pid: thief.pid,
    });
    thief.kill('SIGKILL');
    assert.equal((await sees(child, 'held')).reservation, 'a');
    assert.equal((await sees(child, 'retried')).count, 0);
  });

  it('tells of a claim that was refused', async (t) => {
    const berthd = await Berthd.start(t, {
      a: `[Socket]\nListenStream=${randomLoopback()}:${freePort()}\n[Reservation]\nHandoff=none\n`,
    });
    const child = await watch(t, berthd, '--count', '1');
    assert.equal((await berthd.claim('a', ['true'])).status, 125);
    assertHas(await sees(child, 'refused'), { reservation: 'a', command: 'berth-claim' });
    assert.equal((await child.exit).status, 0);
  });

  it('outlives berthd, and says so', async (t) => {
    const berthd = await Berthd.start(t, { a: file(randomLoopback(), freePort()) });
    const child = await watch(t, berthd);
    await berthd.stop('SIGKILL');
    await sees(child, 'disconnected');
    const next = new Berthd(t, {}, {}, berthd);
    await next.logs(/Holding/);
    await child.prints('out', /"disconnected".*\n.*"watching"/);
    await next.claim('a', ['true']);
    await sees(child, 'claimed');
  });

  it('ends when nobody reads it any more', async (t) => {
    const berthd = await Berthd.start(t, { a: file(randomLoopback(), freePort()) });
    const line = `'${process.execPath}' '${programs.berth}' --control '${berthd.control}' watch --json | head -n 1`;
    const child = new Child(t, 'bash', ['-c', `${line}; echo "ended: \${PIPESTATUS[0]}"`]);
    await child.prints('out', /watching/);
    // What it prints next finds the pipe closed.
    await berthd.claim('a', ['true']);
    await child.prints('out', /ended: 0/);
  });

  it('ends at once without a berthd, with what to do', async (t) => {
    const berthd = await Berthd.start(t, {});
    await berthd.stop();
    const { status, err } = await berthd.berth(['watch']);
    assert.equal(status, 6);
    assert.match(err, /is berth\.service running\?/);
  });

  it('lets a watcher go that does not read, delays nobody for it, and says how much it missed', async (t) => {
    const berthd = await Berthd.start(t, { a: file(randomLoopback(), freePort()) });
    const deaf = new Talk(berthd.control);
    t.after(() => {
      deaf.close();
    });
    deaf.ask('Watch');
    await until(
      () => deaf.receive(),
      (answer) => answer?.text.includes('watching') === true,
      'no greeting',
    );
    const child = await watch(t, berthd);
    // Two events each; the queue takes some two hundred.
    for (let round = 0; round < 500; round++) {
      const talk = new Talk(berthd.control);
      talk.ask('Claim', { name: 'a', form: 'unit' });
      await talk.receiveAll();
      talk.close();
    }
    await until(
      () => eventsOf(child).length,
      (length) => length > 500,
      'the other watcher',
    );
    const seen = (await deaf.receiveAll()).map(({ text }) => JSON.parse(text) as { parameters: WatchEvent });
    const { event, count = 0 } = seen.at(-1)?.parameters ?? {};
    assert.equal(event, 'lost');
    assert.ok(count > 0);
    assert.equal(seen.length - 1 + count, 500);
  });

  it('closes the connection of a watcher that never reads after PeerTimeoutSec=', async (t) => {
    const berthd = await Berthd.start(t, {
      a: file(randomLoopback(), freePort()),
      berthd: 'PeerTimeoutSec=1\n',
    });
    await berthd.list();
    const before = berthd.fds().size;
    const deaf = new Talk(berthd.control);
    t.after(() => {
      deaf.close();
    });
    deaf.ask('Watch');
    for (let round = 0; round < 300; round++)
      await exchange(
        berthd.control,
        JSON.stringify({ method: 'Claim', parameters: { name: 'a', form: 'unit' } }),
      );
    await until(
      () => berthd.fds().size,
      (size) => size === before,
      'the connection is open',
    );
  });

  it('closes the connection of a watcher that goes, or says more', async (t) => {
    const berthd = await Berthd.start(t, {});
    await berthd.list();
    const before = berthd.fds().size;
    for (let round = 0; round < 20; round++) {
      const talk = new Talk(berthd.control);
      talk.ask('Watch');
      assert.match((await talk.receive())?.text ?? '', /watching/);
      if (round % 2 === 0) {
        talk.ask('List');
        assert.equal(await talk.receive(), undefined);
      }
      talk.close();
    }
    await until(
      () => berthd.fds().size,
      (size) => size === before,
      'descriptors are left',
    );
  });

  it('takes 16 watchers of one user', async (t) => {
    const berthd = await Berthd.start(t, {});
    const talks = Array.from({ length: 17 }, () => new Talk(berthd.control));
    t.after(() => {
      for (const talk of talks) talk.close();
    });
    const answers: string[] = [];
    for (const talk of talks) {
      talk.ask('Watch');
      answers.push((await talk.receive())?.text ?? '');
    }
    assert.ok(answers.slice(0, 16).every((text) => text.includes('watching')));
    assert.match(answers[16] ?? '', /"error":"Busy"/);
  });
});
