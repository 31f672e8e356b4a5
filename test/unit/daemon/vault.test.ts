import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { crc32 } from 'node:zlib';
import type { SocketSpec } from '../../../src/model/reservation.js';
import { Rears } from '../../../src/daemon/rears.js';
import { Table } from '../../../src/daemon/table.js';
import { Unread } from '../../../src/daemon/unread.js';
import { isVault, recover, Vault, type Stored } from '../../../src/daemon/vault.js';
import { constant, native } from '../../../src/native/index.js';
import type { FdStore } from '../../../src/systemd/fd-store.js';
import type { PassedFd } from '../../../src/systemd/listen-fds.js';
import { openFds } from '../../support/files.js';
import { defaultOptions, reservation, spec } from '../../support/holds.js';
import { openSocket, randomLoopback } from '../../support/sockets.js';

/** What PID 1 does: keeps duplicates by name, and passes them to the next berthd. */
class Manager implements FdStore {
  readonly kept = new Map<string, number>();
  readonly log: string[] = [];

  store(name: string, fd: number): void {
    this.log.push(`store ${name}`);
    this.kept.set(name, native.duplicate(fd));
  }

  settled(): Promise<void> {
    return Promise.resolve();
  }

  remove(name: string): void {
    this.log.push(`remove ${name}`);
    const fd = this.kept.get(name);
    this.kept.delete(name);
    if (fd !== undefined) closeSync(fd);
  }

  pass(): PassedFd[] {
    return [...this.kept].map(([name, fd]) => ({ name, fd: native.duplicate(fd) }));
  }
}

function manager(t: TestContext): Manager {
  const made = new Manager();
  t.after(() => {
    for (const fd of made.kept.values()) closeSync(fd);
  });
  return made;
}

/** A reservation with so many sockets, which are not bound: the vault does not look at them. */
function stored(name: string, sockets: number): Stored {
  const host = randomLoopback();
  const specs = Array.from({ length: sockets }, (_, index): SocketSpec =>
    spec('stream', { family: 'inet', host, port: index + 1 }),
  );
  return {
    reservation: reservation(name, specs),
    fds: specs.map(() => openSocket('stream', 'inet')),
  };
}

function closeAll(all: readonly Stored[]): void {
  for (const { fds, guards = [], rears = [] } of all)
    for (const fd of [...fds, ...guards, ...rears.flatMap((ends) => ends ?? [])])
      if (fd !== undefined) closeSync(fd);
}

function inodes(all: readonly Stored[]): number[][] {
  return all.map(({ fds }) => fds.map((fd) => native.inode(fd)));
}

/** Everything in it, in the order of the names, also what nobody has to read yet; what stands in comes last. */
function recoverAll(passed: readonly PassedFd[]): { stored: Stored[]; memory: string | undefined } {
  const { stored, pages, memory } = recover(passed);
  const rank = ({ reservation, standsIn = false }: Stored) => `${String(standsIn)} ${reservation.name}`;
  const read = [...stored, ...new Unread(pages).takeAll()];
  return { stored: read.sort((a, b) => (rank(a) < rank(b) ? -1 : 1)), memory };
}

describe('the vault', () => {
  it('gives back every reservation with the same kernel sockets, in as many packets as it takes', (t) => {
    const before = openFds().size;
    const store = manager(t);
    const saved = [stored('few', 1), stored('many', 600), stored('more', 252), stored('none', 0)];
    new Vault(store, []).save(saved, 'memory', undefined);
    const { stored: found, memory } = recoverAll(store.pass());
    assert.equal(memory, 'memory');
    const held = saved.filter(({ fds }) => fds.length > 0);
    assert.deepEqual(
      found.map((each) => each.reservation),
      held.map((each) => each.reservation),
    );
    assert.deepEqual(inodes(found), inodes(held));
    closeAll(found);
    closeAll(saved);
    assert.equal(openFds().size, before + 1, 'the one that the manager keeps');
  });

  it('keeps what stands in apart from what is configured, under whatever name', (t) => {
    const store = manager(t);
    const standIn = (name: string, sockets: number): Stored => ({ ...stored(name, sockets), standsIn: true });
    const saved = [stored('a', 2), standIn('a', 1), standIn('a', 300), standIn('b', 1)];
    new Vault(store, []).save(saved, undefined, undefined);
    const { stored: found } = recoverAll(store.pass());
    assert.deepEqual(
      found.map(({ reservation: { name }, fds, standsIn }) => [name, fds.length, standsIn ?? false]),
      [
        ['a', 2, false],
        ['a', 1, true],
        ['a', 300, true],
        ['b', 1, true],
      ],
    );
    assert.deepEqual(inodes(found), inodes(saved));
    closeAll(found);
    closeAll(saved);
  });

  it('keeps former names', (t) => {
    const store = manager(t);
    const saved = [{ ...stored('a', 300), formerNames: ['x', 'y'] }, stored('b', 1)];
    new Vault(store, []).save(saved, undefined, undefined);
    const { stored: found } = recoverAll(store.pass());
    assert.deepEqual(
      found.map(({ formerNames }) => formerNames),
      [['x', 'y'], undefined],
    );
    closeAll(found);
    closeAll(saved);
  });

  it('keeps the guards with the sockets that they are for', (t) => {
    const store = manager(t);
    const saved = [stored('few', 3), stored('many', 600)].map((each, which) => ({
      ...each,
      guards: each.fds.map((_, index) =>
        (index + which) % 2 === 1 ? openSocket('stream', 'inet') : undefined,
      ),
    }));
    new Vault(store, []).save(saved, undefined, undefined);
    const { stored: found } = recoverAll(store.pass());
    const guardsOf = ({ guards = [] }: Stored) =>
      guards.map((fd) => (fd === undefined ? undefined : native.inode(fd)));
    assert.deepEqual(inodes(found), inodes(saved));
    assert.deepEqual(found.map(guardsOf), saved.map(guardsOf));
    closeAll(found);
    closeAll(saved);
  });

  it('keeps the ends of the queues behind a socket with it, and what is in them at any time', (t) => {
    const before = openFds().size;
    const store = manager(t);
    const saved = [stored('few', 3), stored('many', 600)].map((each, which) => ({
      ...each,
      guards: each.fds.map((_, index) => (index % 3 === 1 ? openSocket('stream', 'inet') : undefined)),
      rears: each.fds.map((_, index) =>
        (index + which) % 2 === 1 ? native.socketpair(constant('SOCK_SEQPACKET')) : undefined,
      ),
    }));
    new Vault(store, []).save(saved, undefined, undefined);
    const rears = new Rears(saved[0]?.rears[1]);
    const added = openSocket('datagram', 'inet');
    const inode = native.inode(added);
    rears.add(added);
    rears.close();
    closeAll(saved.map((each, which) => (which === 0 ? { ...each, rears: [] } : each)));
    const { stored: found } = recoverAll(store.pass());
    const places = ({ rears: all = [] }: Stored) => all.map((ends) => ends !== undefined);
    assert.deepEqual(found.map(places), saved.map(places));
    const again = new Rears(found[0]?.rears?.[1]);
    assert.deepEqual(
      again.fds.map((fd) => native.inode(fd)),
      [inode],
    );
    again.close();
    closeAll(found.map((each, which) => (which === 0 ? { ...each, rears: [] } : each)));
    assert.equal(openFds().size, before + 1, 'the one that the manager keeps');
  });

  it('can be read again: reading takes nothing out', (t) => {
    const store = manager(t);
    const saved = [stored('a', 3)];
    new Vault(store, []).save(saved, undefined, undefined);
    for (let reading = 0; reading < 3; reading++) {
      const { stored: found } = recoverAll(store.pass());
      assert.deepEqual(inodes(found), inodes(saved));
      closeAll(found);
    }
    closeAll(saved);
  });

  it('stores the new one before it removes the old one', (t) => {
    const store = manager(t);
    const saved = [stored('a', 1)];
    const vault = new Vault(store, []);
    vault.save(saved, undefined, undefined);
    vault.save(saved, undefined, undefined);
    new Vault(store, store.pass()).save(saved, undefined, undefined);
    assert.deepEqual(store.log, [
      'store vault-1',
      'store vault-2',
      'remove vault-1',
      'store vault-3',
      'remove vault-2',
    ]);
    closeAll(saved);
  });

  it('counts the newest complete one, whatever a crash has left beside it', (t) => {
    const store = manager(t);
    const [old, young] = [[stored('old', 1)], [stored('young', 2)]];
    new Vault(store, []).save(old, undefined, undefined);
    const first = store.pass();
    const vault = new Vault(store, first);
    const remove = store.remove.bind(store);
    store.remove = () => undefined; // the crash
    vault.save(young, undefined, undefined);
    store.remove = remove;
    const { stored: found } = recoverAll(store.pass());
    assert.deepEqual(inodes(found), inodes(young));
    closeAll(found);

    const [half, writer] = native.socketpair(constant('SOCK_SEQPACKET'));
    const packet = { berthVault: 1, index: 0, total: 2, entries: [] };
    native.send(writer, Buffer.from(JSON.stringify(packet)), []);
    closeSync(writer);
    const withHalf = recoverAll([...store.pass(), { name: 'vault-3', fd: half }]).stored;
    assert.deepEqual(inodes(withHalf), inodes(young));
    closeAll([...withHalf, ...old, ...young]);
    first.forEach(({ fd }) => {
      closeSync(fd);
    });
  });

  it('gives the sockets of all when none can be read, of damaged ones as of those of a later version', (t) => {
    const before = openFds().size;
    const [half, writer] = native.socketpair(constant('SOCK_SEQPACKET'));
    const [one, other] = [openSocket('stream', 'inet'), openSocket('datagram', 'inet')];
    native.send(writer, Buffer.from('what is this?'), [one]);
    native.send(writer, Buffer.from(JSON.stringify({ berthVault: 99, index: 0, total: 1 })), [other]);
    const { unread, stored: none } = recover([{ name: 'vault-1', fd: half }]);
    assert.deepEqual(none, []);
    assert.deepEqual(
      unread?.map((fd) => native.inode(fd)),
      [one, other].map((fd) => native.inode(fd)),
    );
    for (const fd of [one, other, writer, ...unread]) closeSync(fd);
    assert.equal(openFds().size, before);
    assert.equal(recover(manager(t).pass()).unread, undefined, 'where there is none');
  });

  it('is told by its name from other descriptors of the unit', () => {
    const names = ['vault-1', 'vault-x', 'control', 'vault'];
    assert.deepEqual(
      names.filter((name) => isVault({ name, fd: -1 })),
      ['vault-1'],
    );
  });

  it('is read when it is of the version before, guards, stand-ins and what goes on in the next packet', (t) => {
    const store = manager(t);
    const all = [stored('many', 3), stored('other', 1), { ...stored('other', 1), standsIn: true }];
    const guard = openSocket('stream', 'inet');
    const [many, other, standIn] = all.map(({ reservation: { options, ...rest } }) => ({ options, rest }));
    assert.ok(many !== undefined && other !== undefined && standIn !== undefined);
    const part = (from: number, to: number) => ({ ...many.rest, sockets: many.rest.sockets.slice(from, to) });
    const packets = [
      { entries: [{ ...part(0, 2), options: many.options, guarded: [1] }] },
      { entries: [{ ...part(2, 3), options: many.options }, other.rest, { ...standIn.rest, standIn: 1 }] },
      { entries: [], memory: 'memory' },
    ].map((packet, index) => JSON.stringify({ berthVault: 1, index, total: 3, ...packet }));
    const [[a, b, c] = [], [d] = [], [e] = []] = all.map(({ fds }) => fds);
    const [vault, writer] = native.socketpair(constant('SOCK_SEQPACKET'));
    for (const [index, fds] of [[a, b, guard], [c, d, e], []].entries()) {
      const text = packets[index] ?? '';
      const sum = crc32(text).toString(16).padStart(8, '0');
      native.send(
        writer,
        Buffer.from(sum + text),
        fds.flatMap((fd) => fd ?? []),
      );
    }
    store.store('vault-1', vault);
    [vault, writer].forEach(closeSync);
    const { stored: found, memory } = recoverAll(store.pass());
    assert.equal(memory, 'memory');
    assert.deepEqual(
      found.map(({ reservation, standsIn = false }) => ({ reservation, standsIn })),
      all.map(({ reservation, standsIn = false }) => ({ reservation, standsIn })),
    );
    assert.deepEqual(inodes(found), inodes(all));
    const [, guarded] = found[0]?.guards ?? [];
    assert.equal(guarded === undefined ? undefined : native.inode(guarded), native.inode(guard));
    closeAll(found);
    closeAll(all);
    closeSync(guard);
  });

  it('is read when its columns are in the header, as version 2 has them', (t) => {
    const store = manager(t);
    const all = [stored('a', 1), stored('b', 2)];
    const columns = {
      names: ['a', 'b'],
      sockets: [1, 2],
      fds: [1, 2],
      plain: true,
      options: [JSON.stringify(defaultOptions)],
      optionsOf: [0, 0],
    };
    const lines = all.map((each) => JSON.stringify({ ...each.reservation, options: undefined }));
    const none = { names: [], sockets: [], fds: [], plain: false, options: [], optionsOf: [] };
    const packets = [
      { header: columns, lines },
      { header: { ...none, memory: 'memory' }, lines: [] },
    ];
    const [vault, writer] = native.socketpair(constant('SOCK_SEQPACKET'));
    for (const [index, { header, lines: rest }] of packets.entries()) {
      const text = [JSON.stringify({ berthVault: 2, index, total: 2, ...header }), ...rest].join('\n');
      const sum = crc32(text).toString(16).padStart(8, '0');
      native.send(writer, Buffer.from(sum + text), index === 0 ? all.flatMap(({ fds }) => fds) : []);
    }
    store.store('vault-1', vault);
    [vault, writer].forEach(closeSync);
    const { stored: found, memory } = recoverAll(store.pass());
    assert.equal(memory, 'memory');
    assert.deepEqual(
      found.map((each) => each.reservation),
      all.map((each) => each.reservation),
    );
    assert.deepEqual(inodes(found), inodes(all));
    closeAll([...found, ...all]);
  });

  it('is stored again as it was read, whether or not somebody has looked at it', (t) => {
    const store = manager(t);
    const names = Array.from({ length: 600 }, (_, index) => `r${String(index).padStart(3, '0')}`);
    const saved = names.map((name) => ({ ...stored(name, 1), formerNames: [`before-${name}`] }));
    new Vault(store, []).save(saved, undefined, undefined);
    closeAll(saved);
    const table = new Table();
    t.after(() => {
      table.apply([], new Set(), () => false);
    });
    const packed = () => [...table.entries()].filter((entry) => entry.packed !== undefined).length;
    table.restore(recover(store.pass()));
    assert.deepEqual([packed(), table.count()], [600, { wanted: 600, held: 600, released: 0 }]);
    const looked = table.get('r300');
    assert.deepEqual(
      looked?.slots.map(({ socket }) => socket?.fd !== undefined),
      [true],
    );
    assert.deepEqual([packed(), table.count()], [599, { wanted: 600, held: 600, released: 0 }]);
    new Vault(store, store.pass()).save(table.stored(), undefined, undefined);
    const { stored: found } = recoverAll(store.pass());
    assert.deepEqual(
      found.map(({ reservation, formerNames }) => ({ reservation, formerNames })),
      saved.map(({ reservation, formerNames }) => ({ reservation, formerNames })),
    );
    assert.deepEqual(
      inodes(found),
      [...table.entries()].map(({ slots }) => slots.map(({ socket }) => socket?.inode)),
    );
    closeAll(found);
  });

  it('lets a restored table let go of what is not wanted any more', () => {
    const before = openFds().size;
    const table = new Table();
    table.restore({ stored: [stored('gone', 2)], pages: [] });
    table.apply([], new Set(), () => false);
    assert.deepEqual([...table.entries()], []);
    assert.equal(openFds().size, before);
  });
});
