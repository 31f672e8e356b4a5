import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { ProgramState } from '../../../src/daemon/program.js';
import { recover, Vault } from '../../../src/daemon/vault.js';
import { native } from '../../../src/native/index.js';
import type { PassedFd } from '../../../src/systemd/listen-fds.js';
import { openFds } from '../../support/files.js';
import { reservation, spec } from '../../support/holds.js';
import { openSocket, randomLoopback } from '../../support/sockets.js';

/** PID 1, of which only the last vault is asked for. */
class Manager {
  #kept: PassedFd | undefined;

  store(name: string, fd: number): void {
    this.close();
    this.#kept = { name, fd: native.duplicate(fd) };
  }

  settled(): Promise<void> {
    return Promise.resolve();
  }

  remove(): void {
    // The next store() has taken its place.
  }

  pass(): PassedFd[] {
    return this.#kept === undefined ? [] : [{ ...this.#kept, fd: native.duplicate(this.#kept.fd) }];
  }

  close(): void {
    if (this.#kept !== undefined) closeSync(this.#kept.fd);
    this.#kept = undefined;
  }
}

function state(index: number, more: Partial<ProgramState> = {}): ProgramState {
  return {
    names: [`app-${index}`],
    pid: 1000 + index,
    since: 1_700_000_000_000 + index,
    restricted: false,
    ...more,
  };
}

/** Sockets stand for what the kernel's own descriptors would be: the vault does not look at them. */
function programs(states: readonly ProgramState[]) {
  return {
    journal: openSocket('datagram', 'inet'),
    programs: states.map((each) => ({ listener: openSocket('stream', 'inet'), state: each })),
  };
}

type Programs = ReturnType<typeof programs>;

function inodes({ journal, programs: all }: Programs): number[] {
  return [journal, ...all.map(({ listener }) => listener)].map((fd) => native.inode(fd));
}

function close({ journal, programs: all }: Programs): void {
  [journal, ...all.map(({ listener }) => listener)].forEach(closeSync);
}

describe('the programs in the vault', () => {
  it('come back with what is known of each, their listeners and the one journal, however many there are', () => {
    for (const count of [1, 8, 9, 300]) {
      const before = openFds().size;
      const store = new Manager();
      const states = Array.from({ length: count }, (_, index) =>
        state(index, {
          restricted: index % 3 === 0,
          ...(index % 2 === 0 ? { unit: `app-${index}.service` } : { names: ['app', `other-${index}`] }),
        }),
      );
      const saved = programs(states);
      new Vault(store, []).save([], undefined, saved);
      const { programs: found } = recover(store.pass());
      assert.ok(found !== undefined);
      assert.deepEqual(
        found.programs.map((each) => each.state),
        states,
      );
      assert.deepEqual(inodes({ ...found, programs: [...found.programs] }), inodes(saved));
      close({ ...found, programs: [...found.programs] });
      close(saved);
      store.close();
      assert.equal(openFds().size, before, 'the journal came with each packet, and one is kept');
    }
  });

  it('are none when there were none', () => {
    const store = new Manager();
    new Vault(store, []).save([], 'memory', undefined);
    assert.equal(recover(store.pass()).programs, undefined);
    store.close();
  });

  it('keep clear of the reservations, whose sockets come in the same messages or in others', () => {
    const store = new Manager();
    const host = randomLoopback();
    const specs = Array.from({ length: 260 }, (_, index) =>
      spec('stream', { family: 'inet', host, port: index + 1 }),
    );
    const held = {
      reservation: reservation('app', specs),
      fds: specs.map(() => openSocket('stream', 'inet')),
    };
    const saved = programs([state(1), state(2)]);
    new Vault(store, []).save([held], 'memory', saved);
    const { stored, memory, programs: found } = recover(store.pass());
    assert.ok(found !== undefined);
    assert.equal(memory, 'memory');
    assert.deepEqual(
      stored.map(({ fds }) => fds.map((fd) => native.inode(fd))),
      [held.fds.map((fd) => native.inode(fd))],
    );
    assert.deepEqual(inodes({ ...found, programs: [...found.programs] }), inodes(saved));
    for (const { fds } of [...stored, held]) fds.forEach(closeSync);
    close({ ...found, programs: [...found.programs] });
    close(saved);
    store.close();
  });

  it('are those of the last save', () => {
    const store = new Manager();
    const vault = new Vault(store, []);
    const [first, second] = [programs([state(1)]), programs([state(2, { restricted: true }), state(3)])];
    vault.save([], undefined, first);
    vault.save([], undefined, second);
    const { programs: found } = recover(store.pass());
    assert.deepEqual(
      found?.programs.map((each) => each.state.pid),
      [1002, 1003],
    );
    assert.equal(found.programs[0]?.state.restricted, true);
    for (const each of [{ ...found, programs: [...found.programs] }, first, second]) close(each);
    store.close();
  });
});
