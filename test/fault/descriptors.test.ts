import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Berthd } from '../support/berthd.js';
import { inet } from '../support/holds.js';
import { until } from '../support/processes.js';
import { connect, freePort, guardOf, outcome, randomLoopback, steal } from '../support/sockets.js';
import { Talk } from '../support/talk.js';

const stream = (address: string) => `[Socket]\nListenStream=${address}\n[Reservation]\nHandoff=exec\n`;

describe('a full descriptor table', () => {
  it('of reservations: as many are held as fit, the others say why, and claims are granted', async (t) => {
    const host = randomLoopback();
    const files = Object.fromEntries(
      Array.from({ length: 80 }, (_, index) => [
        `r${String(index).padStart(2, '0')}`,
        stream(`${host}:${40_000 + index}`),
      ]),
    );
    const daemon = await Berthd.start(t, files, { maxFds: 64 });
    const list = await daemon.list();
    const held = list.filter(({ state }) => state === 'held').map(({ name }) => name);
    const failed = list.filter(({ state }) => state === 'failed').map(({ name }) => name);
    assert.equal(held.length + failed.length, 80);
    assert.ok(held.length > 10, `${held.length} are held`);
    assert.match(
      daemon.child.err,
      new RegExp(`Holding ${held.length} sockets of 80 reservations; ${failed.length} cannot be held`),
    );
    const [good = '', bad = ''] = [held.at(-1), failed[0]];
    assert.match(
      (await daemon.status(bad)).sockets[0]?.error ?? '',
      /^cannot (socket|bind) 'tcp .*EMFILE\); raise LimitNOFILE= of berth\.service$/,
    );
    for (let round = 0; round < 3; round++) {
      const { status, err } = await daemon.claim(good, ['true']);
      assert.deepEqual([status, err], [0, '']);
    }
    const refused = await daemon.claim(bad, ['echo', 'ran']);
    assert.deepEqual([refused.status, refused.out], [125, '']);
    assert.match(refused.err, /EMFILE/);
    await daemon.reaches(good, 'held');
    const { status, err } = await daemon.berth(['reload']);
    assert.deepEqual([status, err.includes('EMFILE')], [1, true], err);
    assert.deepEqual(
      (await daemon.list()).filter(({ state }) => state === 'held').map(({ name }) => name),
      held,
    );
    // With fewer reservations all fit.
    daemon.remove(...failed);
    assert.equal((await daemon.berth(['reload'])).status, 0);
    for (const name of held)
      assert.deepEqual(steal('stream', inet(host, 40_000 + Number(name.slice(1)))), []);
  });

  it('of what guards a socket beside a program: it is held without, and that is said once', async (t) => {
    const ports = Array.from({ length: 40 }, () => freePort());
    const text = (port: number) => `[Socket]\nListenDatagram=[::1]:${port}\n[Reservation]\nHandoff=bind\n`;
    const files = Object.fromEntries(ports.map((port, index) => [`r${index}`, text(port)]));
    const told: string[][] = [];
    // A socket and its two take turns with the last of the table.
    for (const maxFds of [64, 65, 66]) {
      const daemon = await Berthd.start(t, files, { maxFds });
      const warned = /udp \S+(?=: there are no descriptors to spare for what guards it)/g;
      told.push(daemon.child.err.match(warned) ?? []);
      await daemon.berth(['reload']);
      assert.equal((daemon.child.err.match(warned) ?? []).length, told.at(-1)?.length);
      await daemon.stop();
    }
    assert.ok(told.flat().length >= 2, JSON.stringify(told));
    for (const each of told) assert.equal(new Set(each).size, each.length);
  });

  it('of connections: they are told so, nothing held is lost, and all is well again after them', async (t) => {
    const address = inet(randomLoopback(), freePort());
    const daemon = await Berthd.start(
      t,
      { app: stream(`${address.host}:${address.port}`), berthd: 'PeerTimeoutSec=1\n' },
      { maxFds: 64 },
    );
    const fds = daemon.fds().size;
    const before = await daemon.status('app');
    const server = daemon.serve('app', ['sh', '-c', 'echo up; read line']);
    await server.prints('out', /up/);
    const hanging = Array.from({ length: 100 }, () => new Talk(daemon.control));
    await daemon.logs(/cannot accept a connection: .*EMFILE/);
    assert.equal(
      outcome(() => connect(t, 'stream', address)),
      'ok',
      'the service is served all the while',
    );
    // Whoever asks now is refused with a reason, or served, but never left without a word.
    const { status, err } = await daemon.claim('app', ['true']);
    if (status !== 0) {
      assert.equal(status, 125);
      assert.match(err, /^berth-claim: cannot claim 'app': (berthd is out of descriptors|.*EMFILE.*)\n$/);
    }
    const lines = daemon.child.err.split('\n').length;
    assert.ok(lines < 200, `${lines} lines in the log`);
    await until(
      () => daemon.fds().size,
      (now) => now < 40,
      'the silent ones are closed',
    );
    for (const { fd } of hanging) closeSync(fd);
    assert.equal((await daemon.claim('app', ['true'])).status, 0);
    server.closeInput();
    const after = await daemon.reaches('app', 'held');
    assert.equal(after.sockets[0]?.inode, before.sockets[0]?.inode);
    assert.equal(daemon.fds().size, fds + guardOf);
    assert.deepEqual(steal('stream', address), []);
  });
});
