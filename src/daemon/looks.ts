import { readSync } from 'node:fs';
import { lookAt, lookEnded } from '../native/calls.js';
import type { Findings } from '../native/calls.js';
import { native, Readable } from '../native/index.js';
import type { Watch } from '../native/index.js';

/** How long berthd waits for a look before it goes on with others, in microseconds: a hundred times what one takes. */
const patience = 1000;

/** The looks at programs' calls that have not ended when berthd went on: a program can make them last. */
export class Looks {
  readonly #waiting = new Map<number, (found: Findings) => void>();
  readonly #signal: number;
  readonly #watch: Watch;

  constructor() {
    this.#signal = native.lookSignal();
    this.#watch = native.watch(this.#signal, Readable, () => {
      this.#collect();
    });
  }

  /**
   * Looks at the call in that slot. Undefined when that lasts: `found` is called once it has ended. A program that has
   * made one last is not `trusted` to be waited for again.
   */
  at(slot: number, trusted: boolean, found: (found: Findings) => void): Findings | undefined {
    const now = lookAt(slot, trusted ? patience : 0);
    if (now === undefined) this.#waiting.set(slot, found);
    return now;
  }

  close(): void {
    native.unwatch(this.#watch);
  }

  #collect(): void {
    readSync(this.#signal, Buffer.alloc(8));
    for (const [slot, tell] of this.#waiting) {
      const found = lookEnded(slot);
      if (found === undefined) continue;
      this.#waiting.delete(slot);
      tell(found);
    }
  }
}
