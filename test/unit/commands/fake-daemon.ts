import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { SeqpacketServer, type SeqpacketSocket } from 'node-unix-socket';
import type { ReservationInfo, ReservationStatus, Request } from '../../../src/protocol/messages.js';

/** One connection as the fake berthd sees it: it may send packets, close in order, or drop. */
export class Connection {
  private ended = false;
  private closed = false;
  readonly whenClosed: Promise<unknown>;

  constructor(private readonly socket: SeqpacketSocket) {
    this.whenClosed = once(socket, 'close');
    socket.on('close', () => (this.closed = true));
    socket.on('error', () => undefined);
    socket.on('end', () => {
      this.end();
    });
  }

  send(reply: unknown): void {
    this.sendPacket(Buffer.from(JSON.stringify(reply)));
  }

  sendPacket(packet: Buffer): void {
    this.socket.write(packet);
  }

  end(): void {
    if (!this.ended && !this.closed) {
      this.ended = true;
      this.socket.end();
    }
  }

  /** Closes from outside the library's own callbacks, where destroy() aborts the process. */
  drop(): void {
    setImmediate(() => {
      if (!this.closed) {
        this.socket.destroy();
      }
    });
  }
}

/** A directory that goes with the test. */
export function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'berth-test-'));
  t.after(() => {
    rmSync(directory, { recursive: true });
  });
  return directory;
}

/** Listens on a packet socket of the test's own and hands every packet to `onPacket`. Returns the socket's path. */
export function listen(
  t: TestContext,
  onPacket: (packet: Buffer, connection: Connection) => void,
  backlog?: number,
): string {
  const path = join(scratch(t), 'control');
  const connections = new Set<Connection>();
  const server = new SeqpacketServer();
  server.on('connection', (socket: SeqpacketSocket) => {
    const connection = new Connection(socket);
    connections.add(connection);
    socket.on('data', (packet: Buffer) => {
      onPacket(packet, connection);
    });
  });
  server.listen(path, backlog);
  t.after(() => {
    server.close();
    for (const connection of connections) {
      connection.drop();
    }
  });
  return path;
}

/** A berthd that answers each request with what `reply` returns for it. */
export function fakeDaemon(t: TestContext, reply: (request: Request) => unknown): string {
  return listen(t, (packet, connection) => {
    connection.send(reply(JSON.parse(packet.toString()) as Request));
    connection.end();
  });
}

export function reservation(name: string, changes: Partial<ReservationInfo> = {}): ReservationInfo {
  return {
    name,
    sockets: ['tcp *:631'],
    unit: `${name}.service`,
    handoff: 'exec',
    state: 'held',
    since: 0,
    ...changes,
  };
}

export function reservationStatus(name: string, changes: Partial<ReservationStatus> = {}): ReservationStatus {
  return {
    ...reservation(name),
    sockets: [{ socket: 'tcp *:631', listen: '631', state: 'held', inode: 4711 }],
    whileStopped: 'refuse',
    fdName: name,
    claimants: [],
    definedAt: `/etc/berth/${name}.conf:1`,
    ...changes,
  };
}
