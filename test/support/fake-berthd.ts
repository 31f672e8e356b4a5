import { closeSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { isSystemError } from '../../src/model/errors.js';
import { native, Readable } from '../../src/native/index.js';
import { scratch } from './files.js';
import { serve } from './sockets.js';

/** What the other end of a connection does with a request; the connection is closed behind it. */
export type Behaviour = (connection: number, request: string) => void;

/** A control socket of the test's own, served by `behaviour`. Returns its path. */
export function fakeBerthd(t: TestContext, behaviour: Behaviour): string {
  const path = join(scratch(t), 'control');
  const listener = serve(t, 'seqpacket', { family: 'unix', path });
  native.adopt(listener);
  const watch = native.watch(listener, Readable, () => {
    const connection = native.accept(listener);
    if (connection === undefined) return;
    const arrival = native.watch(connection, Readable, () => {
      native.unwatch(arrival);
      const packet = native.receive(connection, 0, 0);
      try {
        behaviour(connection, packet?.data.toString() ?? '');
      } catch (error) {
        // A client that has read enough closes.
        if (!isSystemError(error) || !['EPIPE', 'ECONNRESET'].includes(error.code)) throw error;
      } finally {
        closeSync(connection);
      }
    });
  });
  t.after(() => {
    native.unwatch(watch);
  });
  return path;
}
