import { randomInt } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeDirectory } from './cleanup.js';
import { startDaemon, writeReservations } from './daemon.js';
import type { Daemon, Reservations } from './daemon.js';

/** Runs `action` beside a berthd that holds these reservations, and clears both away. */
export async function withDaemon<T>(
  reservations: Reservations,
  action: (daemon: Daemon, directory: string) => Promise<T>,
): Promise<T> {
  const directory = makeDirectory();
  try {
    writeReservations(join(directory, 'conf'), reservations);
    const daemon = await startDaemon(directory);
    try {
      return await action(daemon, directory);
    } finally {
      await daemon.stop();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The first port of those that no ephemeral port is taken from (ip_local_port_range begins at 32768 by default). */
const firstPort = 20_000;

/**
 * TCP ports of a loopback address that is chosen by chance, a file each: the machine's other sockets are not in the way,
 * nor these in theirs. At most 12,000.
 */
export function tcpReservations(count: number): Reservations {
  const address = `127.${randomInt(64, 192)}.${randomInt(256)}.${randomInt(1, 255)}`;
  return Object.fromEntries(
    Array.from({ length: count }, (_, index) => [
      `bench-${index}`,
      `[Socket]\nListenStream=${address}:${firstPort + index}\n`,
    ]),
  );
}

export function oneReservation(): Reservations {
  const [text = ''] = Object.values(tcpReservations(1));
  return { bench: text };
}
