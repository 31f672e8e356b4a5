import { availableParallelism } from 'node:os';

/** Connections that come no further apart, in milliseconds, may be of a peer that asks one thing after the other. */
const closeMs = 0.2;

/** How long one look may last, and all of one turn of the loop together, in microseconds. */
const lookUs = 30;
const turnUs = 300;

/** The most connections that pass before the next look, however many were in vain. */
const maxPause = 64;

/**
 * How long berthd, which has nothing to do, looks on for the next connection before it goes to sleep. To be woken on a
 * processor that sleeps takes longer than to answer, so a peer that asks again at once is better awaited. For whatever else
 * comes it would be a waste. So there is no look without two connections that came close together, none where the peer has
 * no processor to run on meanwhile, and after each one in vain, or while others wait for the processor, twice as many
 * connections pass before the next.
 */
export class Patience {
  readonly #alone: boolean;
  #last = -Infinity;
  #close = false;
  #left = turnUs;
  /** Connections that have to pass before the next look. */
  #pause = 0;
  #passed = 0;

  constructor(processors = availableParallelism()) {
    this.#alone = processors < 2;
  }

  /** The loop has seen to everything else. */
  turn(): void {
    this.#left = turnUs;
  }

  /** A connection has come; the time is in milliseconds. */
  came(at: number): void {
    this.#close = at - this.#last < closeMs;
    this.#last = at;
    this.#passed++;
  }

  /** Microseconds to look on for now; 0 mostly. */
  get look(): number {
    if (this.#alone || !this.#close || this.#passed <= this.#pause) return 0;
    return Math.min(lookUs, this.#left);
  }

  /** A look has ended, after so many microseconds: after many more than it had, others want the processor, too. */
  looked(found: boolean, took: number): void {
    this.#left = Math.max(0, Math.floor(this.#left - took));
    this.#passed = 0;
    this.#pause = found && took < 2 * lookUs ? 0 : Math.min(maxPause, Math.max(1, this.#pause * 2));
  }
}
