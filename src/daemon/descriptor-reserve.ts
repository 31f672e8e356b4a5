import { closeSync, openSync } from 'node:fs';

/** A claim takes a connection, a pidfd, a supervision, and a file of /proc. */
const reserved = 8;

/**
 * Runs `hold` with some descriptors set aside, so that holding sockets never fills the descriptor table to the last one:
 * what is held then could be handed to nobody.
 */
export function withReserve(hold: () => void): void {
  const spares: number[] = [];
  try {
    while (spares.length < reserved) spares.push(openSync('/dev/null', 'r'));
  } catch {
    // The table is full already: what is held stays, and no more will be.
  }
  try {
    hold();
  } finally {
    spares.forEach(closeSync);
  }
}
