import { closeSync } from 'node:fs';
import { constant, native, Readable } from '../native/index.js';
import { openManagerSocket } from './manager-socket.js';

/** The fd store of berthd's own unit: PID 1 keeps what is put there while berthd is gone (sd_notify(3), FDSTORE=1). */
export interface FdStore {
  /** Stores a descriptor, which stays the caller's. */
  store(name: string, fd: number): void;
  remove(name: string): void;
  /** Resolves when PID 1 has done all that was asked of it before: what it no longer stores is closed then. */
  settled(): Promise<void>;
}

/**
 * The store behind $NOTIFY_SOCKET; undefined outside systemd. Messages are datagrams on one queue, which PID 1 works
 * through in order: a removal sent after a store cannot overtake it, so nobody has to wait for either.
 */
export function openFdStore(environment: NodeJS.ProcessEnv): FdStore | undefined {
  const send = openManagerSocket(environment);
  if (send === undefined) return undefined;
  return {
    store: (name, fd) => {
      // FDPOLL=0: PID 1 would drop a descriptor that polls EPOLLHUP, as one end of a pair without the other does.
      send(['FDSTORE=1', 'FDPOLL=0', `FDNAME=${name}`], [fd]);
    },
    remove: (name) => {
      send(['FDSTOREREMOVE=1', `FDNAME=${name}`]);
    },
    settled: () =>
      new Promise((resolve) => {
        // BARRIER=1: PID 1 closes the descriptor that comes along when its turn has come (sd_notify(3)).
        const [ours, theirs] = native.socketpair(constant('SOCK_STREAM'));
        try {
          send(['BARRIER=1'], [theirs]);
        } catch (error) {
          closeSync(ours);
          throw error;
        } finally {
          closeSync(theirs);
        }
        const watch = native.watch(ours, Readable, () => {
          native.unwatch(watch);
          closeSync(ours);
          resolve();
        });
      }),
  };
}
