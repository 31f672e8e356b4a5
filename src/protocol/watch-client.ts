import { closeSync } from 'node:fs';
import { BerthError, isSystemError } from '../model/errors.js';
import { constant, native, Readable } from '../native/index.js';
import { isAnswer } from './client-answers.js';
import { foreign, parameters } from './client.js';
import { checkPath, failed, refusal, unreachable } from './client-socket.js';
import { maxPacket, type WatchEvent } from './messages.js';

/** As in client-socket.ts: while berthd's queue of connections is full, connect(2) says EAGAIN at once. */
const retryEvery = 50;
const retries = 200;

/**
 * The events of the berthd at `path`, until it closes or `signal` is aborted. Throws BerthError when it cannot be reached
 * or refuses.
 *
 * Not by node-unix-socket: a stream has to be closed from where its data is read, which aborts the process there, and
 * has no pause there either. Here a packet is read when it is asked for, and the kernel's queue is the bound.
 */
export async function* watchEvents(path: string, signal?: AbortSignal): AsyncGenerator<WatchEvent, void> {
  const fd = await connect(path);
  try {
    native.send(fd, Buffer.from(JSON.stringify({ method: 'Watch', parameters: {} })), []);
    for (;;) {
      const packet = receive(fd);
      if (packet === undefined) {
        await readable(fd, signal);
        if (signal?.aborted === true) return;
      } else if (packet.length === 0) return;
      else if (packet.length > maxPacket) throw failed(path, `answered more than ${maxPacket} bytes`);
      else {
        const event = parameters(path, 'Watch', packet);
        if (!isAnswer('Watch', event)) throw foreign(path, 'Watch');
        yield event;
      }
    }
  } finally {
    closeSync(fd);
  }
}

async function connect(path: string): Promise<number> {
  checkPath(path);
  for (let attempt = 0; ; attempt++) {
    const fd = native.socket(constant('AF_UNIX'), constant('SOCK_SEQPACKET'), 0);
    try {
      // Else connect(2) would wait for as long as berthd has no time.
      native.adopt(fd);
      native.connect(fd, { family: 'unix', path });
      return fd;
    } catch (error) {
      closeSync(fd);
      if (!isSystemError(error)) throw error;
      if (error.code !== 'EAGAIN')
        throw refusal(path, error.code === 'EPROTOTYPE' ? 'connected' : error.code);
      if (attempt === retries) throw unreachable(path, 'it accepts no connection');
      await new Promise((resolve) => setTimeout(resolve, retryEvery));
    }
  }
}

/** The next packet; empty at the end, be it orderly or a reset; undefined when there is none yet. */
function receive(fd: number): Buffer | undefined {
  try {
    return native.receive(fd, 0, 0)?.data;
  } catch (error) {
    if (isSystemError(error) && error.code === 'ECONNRESET') return Buffer.alloc(0);
    throw new BerthError('Failed', `cannot receive: ${String(error)}`, { cause: error });
  }
}

function readable(fd: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      native.unwatch(watch);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const watch = native.watch(fd, Readable, done);
    signal?.addEventListener('abort', done);
    if (signal?.aborted === true) done();
  });
}
