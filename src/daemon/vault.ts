import { closeSync } from 'node:fs';
import type { FdStore } from '../systemd/fd-store.js';
import type { PassedFd } from '../systemd/listen-fds.js';
import type { Recovered, Stored, StoredPrograms } from './stored.js';
import { descriptorsIn, VaultReading } from './vault-reader.js';
import { fillVault } from './vault-writer.js';

export type { Stored, StoredPrograms } from './stored.js';

/**
 * All held sockets as undelivered messages in the queue of one AF_UNIX socket, which PID 1 keeps: they outlive berthd,
 * and PID 1, whose fd store grows quadratically, keeps one descriptor for any number of them (docs/design.md).
 * vault-packets.ts tells what is in them.
 */
const namePrefix = 'vault-';

/** Writes the vaults, one generation after the other. */
export class Vault {
  readonly #store: FdStore;
  #generation: number;
  #stored: string[];

  /** `passed` are the vaults that the manager passed at the start; the next save replaces them. */
  constructor(store: FdStore, passed: readonly PassedFd[]) {
    this.#store = store;
    this.#stored = passed.map(({ name }) => name);
    this.#generation = Math.max(0, ...passed.map(generationOf));
  }

  /**
   * Stores what is held now and then removes what was stored before. A crash in between leaves both, of which the newest
   * complete one counts.
   */
  save(
    reservations: readonly Stored[],
    memory: string | undefined,
    programs: StoredPrograms | undefined,
    stamps?: number,
  ): void {
    const vault = fillVault(reservations, memory, programs, stamps);
    const name = `${namePrefix}${++this.#generation}`;
    try {
      this.#store.store(name, vault);
      for (const old of this.#stored) this.#store.remove(old);
      this.#stored = [name];
    } finally {
      closeSync(vault);
    }
  }
}

export function isVault({ name }: PassedFd): boolean {
  return name.startsWith(namePrefix) && Number.isSafeInteger(generationOf({ name }));
}

function generationOf({ name }: { readonly name: string }): number {
  return Number(name.slice(namePrefix.length));
}

/**
 * Reads the newest complete vault of those that the manager passed, and closes all of them. The descriptors are the
 * caller's. Reading takes nothing out: what PID 1 keeps stays whole until the next save, so a crash meanwhile loses
 * nothing.
 */
export function recover(passed: readonly PassedFd[]): Recovered {
  return beginRecovery(passed)();
}

/** The same in two parts: what can be done on threads is begun with, and the rest is for the function that is returned. */
export function beginRecovery(passed: readonly PassedFd[]): () => Recovered {
  const newestFirst = [...passed]
    .sort((a, b) => generationOf(b) - generationOf(a))
    .map(({ fd }) => ({ fd, reading: new VaultReading(fd) }));
  try {
    newestFirst[0]?.reading.begin();
  } catch {
    // The rest comes upon it again.
  }
  return () => {
    try {
      for (const { reading } of newestFirst) {
        const found = reading.finish();
        if (found !== undefined) return found;
      }
      const nothing = { stored: [], pages: [], memory: undefined, stamps: undefined, programs: undefined };
      if (newestFirst.length === 0) return nothing;
      return { ...nothing, unread: newestFirst.flatMap(({ fd }) => descriptorsIn(fd)) };
    } finally {
      // Nothing is kept of it, also where the function is.
      for (const { fd } of newestFirst.splice(0)) closeSync(fd);
    }
  };
}
