import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { Claims } from '../../../src/daemon/claims.js';
import { HeldSocket } from '../../../src/daemon/held-socket.js';
import { Log } from '../../../src/daemon/log.js';
import { Table } from '../../../src/daemon/table.js';
import { recover, Vault } from '../../../src/daemon/vault.js';
import { native } from '../../../src/native/index.js';
import { request, reservation, spec } from '../../support/holds.js';
import { freePort, get, randomLoopback } from '../../support/sockets.js';

const count = 300;

/**
 * What a berthd has before it that comes after one that was killed: so many sockets, of which one in a hundred was handed to a
 * service that has ended meanwhile. Gives the descriptors of those.
 */
function afterCrash(t: TestContext): { table: Table; claims: Claims; left: number[] } {
  const port = freePort();
  const host = randomLoopback();
  const held = Array.from({ length: count }, (_, index) => {
    const address = { family: 'inet', host: host.replace(/\d+$/, `${(index % 250) + 1}`), port } as const;
    return HeldSocket.bind(request(spec('stream', { ...address, port: port + Math.trunc(index / 250) })));
  });
  for (const [index, socket] of held.entries()) if (index % 100 === 50) socket.handOver();
  const stored = held.map(({ fd, request: { spec: one } }, index) => ({
    reservation: reservation(`r${String(index).padStart(3, '0')}`, [one]),
    fds: [fd],
  }));
  let vault = -1;
  const store = {
    store: (_: string, fd: number) => (vault = native.duplicate(fd)),
    remove: () => undefined,
    settled: () => Promise.resolve(),
  };
  new Vault(store, []).save(stored, undefined, undefined);
  for (const socket of held) socket.close();
  const table = new Table();
  const recovered = recover([{ name: 'vault-1', fd: vault }]);
  table.restore(recovered);
  const nothing = (): undefined => undefined;
  const effects = { changed: nothing, guarded: nothing, settled: () => Promise.resolve() };
  const claims = new Claims(table, new Log(), effects);
  t.after(() => {
    claims.close();
    table.apply([], new Set(), () => false);
  });
  const fds = recovered.pages.flatMap((page) => page.fds);
  return { table, claims, left: fds.filter((fd) => get(fd, 'SO_ACCEPTCONN') === 1) };
}

const listening = (fds: readonly number[]) => fds.filter((fd) => get(fd, 'SO_ACCEPTCONN') === 1).length;

describe('what an earlier berthd left', () => {
  it('is put to rest in later turns of the loop, where its service has ended', async (t) => {
    const { table, claims, left } = afterCrash(t);
    assert.deepEqual([left.length, table.size], [3, count]);
    claims.recover();
    assert.equal(listening(left), 3);
    for (let turn = 0; turn < 20 && listening(left) > 0; turn++)
      await new Promise((resolve) => setImmediate(resolve));
    assert.equal(listening(left), 0);
    // Of the others nothing has been made for that.
    assert.equal([...table.opened()].length, 3);
  });

  it('is put to rest at once when somebody asks who has a reservation', (t) => {
    const { claims, left } = afterCrash(t);
    claims.recover();
    assert.equal(claims.inUse('r000'), false);
    assert.equal(listening(left), 0);
  });

  it('stays as it is when berthd ends before', async (t) => {
    const { claims, left } = afterCrash(t);
    claims.recover();
    claims.close();
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(listening(left), 3);
  });
});

describe('a table out of the vault', () => {
  it('has every reservation once, in the order of their names, whichever was asked for before', (t) => {
    const { table } = afterCrash(t);
    assert.equal(table.get('r299')?.reservation.name, 'r299');
    assert.equal(table.get('r001')?.slots.length, 1);
    assert.equal(table.get('r001'), table.get('r001'));
    assert.equal(table.get('r300'), undefined);
    assert.deepEqual([table.size, table.count()], [count, { wanted: count, held: count, released: 0 }]);
    const names = [...table.entries()].map((entry) => entry.reservation.name);
    assert.deepEqual(
      names,
      Array.from({ length: count }, (_, index) => `r${String(index).padStart(3, '0')}`),
    );
    assert.equal(table.size, count);
  });
});

describe('stamps', () => {
  it('are compared on a thread, and what it finds is told once', (t) => {
    const file = native.keepStamps(Buffer.from('M /nonexistent\n'));
    const other = native.keepStamps(Buffer.from('M /etc/passwd\n'));
    t.after(() => {
      [file, other].forEach(closeSync);
    });
    for (let run = 0; run < 3; run++) {
      native.beginStamps(file);
      assert.deepEqual([native.stampsHold(other), native.stampsHold(file)], [false, true]);
      native.beginStamps(other);
      assert.deepEqual([native.stampsHold(file), native.stampsHold(other)], [true, false]);
    }
  });
});
