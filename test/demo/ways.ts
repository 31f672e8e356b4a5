import { connect } from 'node:net';
import { closeSync } from 'node:fs';
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { constant, native } from '../../src/native/index.js';
import { startDaemon, writeReservations } from '../bench/daemon.js';
import { programs } from '../bench/programs.js';
import { start, untilReady } from './children.js';
import type { Child } from './children.js';

export const host = '127.0.0.1';

/** A way to keep a port for a server: who has it while the server is stopped, and how the server comes by it. */
export interface Way {
  readonly name: string;
  readonly port: number;
  startServer(): Child;
  /** Called when a server has ended. */
  afterStop(): Promise<void>;
  close(): Promise<void>;
}

/** berthd holds the port throughout; the server gets the same sockets each time, through berth-claim. */
export async function withBerth(directory: string): Promise<Way> {
  const port = freePort();
  writeReservations(join(directory, 'conf'), {
    demo: `[Socket]\nListenStream=${host}:${port}\nListenDatagram=${host}:${port}\n`,
  });
  const berthd = await startDaemon(directory);
  if (!berthd.status.startsWith('Holding 2 sockets')) {
    await berthd.stop();
    throw new Error(`berthd does not hold port ${port}: ${berthd.status}`);
  }
  return {
    name: 'with berth',
    port,
    startServer: () =>
      start(programs.claim, ['--control', berthd.control, 'demo', '--', programs.demoServer]),
    afterStop: () => Promise.resolve(),
    close: () => berthd.stop(),
  };
}

/**
 * What portreserve does: somebody holds the port, lets go when the server asks, and the server binds it. Kinder than
 * portreserve: the server asks at the last moment, waits for the answer, and the port is taken back when it stops.
 */
export async function closeThenBind(directory: string): Promise<Way> {
  const port = freePort();
  const socket = join(directory, 'holder');
  const place = [socket, host, String(port)];
  const holder = start(programs.portHolder, place);
  await untilReady(holder);
  return {
    name: 'close, then bind',
    port,
    startServer: () => start(programs.demoServer, place),
    afterStop: () => takeBack(socket),
    close: async () => {
      holder.process.kill();
      await holder.exit;
    },
  };
}

function takeBack(socket: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const connection = connect({ path: socket }, () => connection.write('take\n'));
    connection.on('data', () => connection.end());
    connection.on('close', () => {
      resolve();
    });
    connection.on('error', reject);
  });
}

/** A port below those that outgoing connections take, free for TCP and UDP. */
function freePort(): number {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = randomInt(20_000, 32_000);
    if (isFree('SOCK_STREAM', port) && isFree('SOCK_DGRAM', port)) return port;
  }
  throw new Error('there is no free port between 20000 and 32000');
}

function isFree(type: string, port: number): boolean {
  const fd = native.socket(constant('AF_INET'), constant(type), 0);
  try {
    native.bind(fd, { family: 'inet', host, port });
    return true;
  } catch {
    return false;
  } finally {
    closeSync(fd);
  }
}
