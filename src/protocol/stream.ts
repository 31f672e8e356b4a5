/** An answer that goes on: packets as they come, until the peer goes or is too slow. */
export interface Stream {
  /** Begins. `send` never waits. What is returned ends it, and is called once. */
  start(send: (packet: Buffer) => void): () => void;
  /** The last packet, for a peer that was too slow for `count` others. */
  lost(count: number): Buffer;
}
