import { createRequire } from 'node:module';
import type { SeqpacketSocket } from 'node-unix-socket';
import { BerthError, messageOf } from '../model/errors.js';
import { maxPacket } from './messages.js';

// sun_path holds 108 bytes with the NUL; connect(2) of a longer path would be to another one, cut short.
const maxPathBytes = 107;

// While berthd's queue of connections is full, connect(2) on a non-blocking socket says EAGAIN at once.
const retryEvery = 20;

// A berthd that ends takes along the connections that it has accepted. More often than that it does not die by chance.
const maxAttempts = 5;

/**
 * Sends one packet to the socket at `path` and returns the one packet that answers it; the connection is closed either
 * way. Throws BerthError NoDaemon when nobody listens there, Denied when the socket may not be written to, and Failed
 * when berthd closes without an answer, answers too long a packet, or says nothing for `deadline` milliseconds. With
 * `again` a request that was not answered is sent to the next berthd.
 *
 * This is the only use of node-unix-socket; what it relies on is held by its contract tests.
 */
export async function exchange(
  path: string,
  request: Buffer,
  deadline: number,
  again = false,
): Promise<Buffer> {
  checkPath(path);
  const end = performance.now() + deadline;
  for (let attempts = 1; ;) {
    const attempt = new Exchange(path, request);
    if (attempt.connected) {
      const packet = await attempt.answer(end - performance.now(), deadline);
      if (packet !== undefined) return packet;
      if (!again || attempts++ === maxAttempts) throw failed(path, 'closed the connection without an answer');
      await new Promise((resolve) => setTimeout(resolve, retryEvery));
      continue;
    }
    // EPROTOTYPE from a probe of the wrong type: a packet socket is there, so its queue was full.
    const reason = await whyUnreachable(path);
    if (reason !== 'EPROTOTYPE') {
      throw refusal(path, reason);
    }
    if (performance.now() >= end) {
      throw unreachable(path, `it accepted no connection within ${deadline / 1000} s`);
    }
    await new Promise((resolve) => setTimeout(resolve, retryEvery));
  }
}

export function checkPath(path: string): void {
  if (Buffer.byteLength(path) > maxPathBytes) {
    throw unreachable(path, `the path is longer than ${maxPathBytes} bytes`);
  }
}

class Exchange {
  private readonly socket: SeqpacketSocket;
  private ended = false;
  private closed = false;
  readonly connected: boolean;

  constructor(
    private readonly path: string,
    private readonly request: Buffer,
  ) {
    this.socket = open();
    // One byte more than an answer may have, so that one that is too long shows.
    this.socket.setInternalReadBufferSize(maxPacket + 1);
    this.connected = this.connect();
  }

  private connect(): boolean {
    try {
      this.socket.connect(this.path);
      return true;
    } catch {
      // The error's text names the errno of an unrelated call, and the socket has closed itself.
      this.closed = true;
      return false;
    }
  }

  /** Undefined when the connection was closed without one. */
  answer(timeLeft: number, deadline: number): Promise<Buffer | undefined> {
    const { socket, path } = this;
    return new Promise<Buffer | undefined>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(failed(path, `did not answer within ${deadline / 1000} s`));
        this.close();
      }, timeLeft);
      socket.on('close', () => {
        this.closed = true;
        clearTimeout(timer);
        resolve(undefined);
      });
      // It follows an error with 'close' itself, and reports a reset as EPERM: the text would mislead.
      socket.on('error', () => undefined);
      socket.on('end', () => {
        this.end();
      });
      socket.once('data', (packet: Buffer) => {
        clearTimeout(timer);
        if (packet.length > maxPacket) {
          reject(failed(path, `answered more than ${maxPacket} bytes`));
        } else {
          resolve(packet);
        }
        // Never from inside a data handler: the addon reads on from the closed descriptor and aborts.
        setImmediate(() => {
          this.close();
        });
      });
      // Not before: a write ahead of 'connect' replaces the poll that would report the connection.
      socket.on('connect', () => {
        socket.write(this.request);
      });
    });
  }

  // Without it the socket stays half open and keeps the process alive.
  private end(): void {
    if (!this.ended && !this.closed) {
      this.ended = true;
      this.socket.end();
    }
  }

  private close(): void {
    if (!this.closed) {
      this.closed = true;
      this.socket.destroy();
    }
  }
}

/** Loaded at the first use: `berth check` and `berth --help` must not pay for it, nor fail without it. */
function open(): SeqpacketSocket {
  const require = createRequire(import.meta.url);
  try {
    const library = require('node-unix-socket') as typeof import('node-unix-socket');
    return new library.SeqpacketSocket();
  } catch (error) {
    throw new BerthError('Failed', `cannot open a packet socket: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * The errno that connect(2) gives for `path`, asked with a stream socket because Node's own errors carry it. The
 * kernel looks at permission and at who is bound there before it looks at the type (unix_find_other).
 */
async function whyUnreachable(path: string): Promise<string> {
  const { connect } = await import('node:net');
  return new Promise((resolve) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve('connected');
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code ?? error.message);
    });
  });
}

/** What to say for an errno of connect(2); `connected` stands for a socket of another type. */
export function refusal(path: string, reason: string): BerthError {
  switch (reason) {
    case 'ENOENT':
      return unreachable(path, 'no such file');
    case 'ENOTDIR':
      return unreachable(path, 'a part of the path is not a directory');
    case 'ECONNREFUSED':
      return unreachable(path, 'nobody listens there');
    case 'EACCES':
    case 'EPERM':
      return new BerthError(
        'Denied',
        `cannot reach berthd at ${path}: permission denied; the socket and its directories must be open to you`,
      );
    case 'connected':
      return unreachable(path, 'a stream socket listens there, which is not berthd');
    default:
      return unreachable(path, reason);
  }
}

export function unreachable(path: string, reason: string): BerthError {
  return new BerthError(
    'NoDaemon',
    `cannot reach berthd at ${path}: ${reason}; is berth.service running? (systemctl status berth.service)`,
  );
}

export function failed(path: string, what: string): BerthError {
  return new BerthError('Failed', `berthd at ${path} ${what}`);
}
