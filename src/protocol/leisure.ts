/**
 * Work that others do not have to wait for: one piece in each turn of the loop, after all that came with that turn. So
 * who asks for much, and often, delays a claim by one piece.
 */
export class Leisure {
  readonly #pieces: (() => boolean)[] = [];

  /** `piece` answers whether there was anything to be done. */
  add(piece: () => boolean): void {
    this.#pieces.push(piece);
    if (this.#pieces.length === 1) this.#plan();
  }

  #plan(): void {
    setImmediate(() => {
      // It stays the first meanwhile, so that what it adds plans nothing.
      while (this.#pieces[0]?.() === false) this.#pieces.shift();
      this.#pieces.shift();
      if (this.#pieces.length > 0) this.#plan();
    });
  }
}
