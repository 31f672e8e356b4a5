import type { Lab } from './lab.js';

/** One line of the lab's socket tables. A TCP socket that is bound and does not listen is in no table. */
export interface TableEntry {
  readonly protocol: 'tcp' | 'udp';
  /** `127.0.0.1:631`, `[::1]:631`, `*:631` for [::] of a dual-stack socket. */
  readonly local: string;
  readonly inode: number;
}

/** Who listens (TCP) or is bound and unconnected (UDP) on a port of a lab. */
export async function listenersOn(lab: Lab, port: number): Promise<TableEntry[]> {
  const table = await lab.text(['ss', '-Hlntue', 'sport', '=', `${port}`]);
  return table
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [protocol, , , , local = ''] = line.split(/\s+/);
      const inode = Number(/ ino:(\d+)/.exec(line)?.[1]);
      return { protocol: protocol === 'udp' ? 'udp' : 'tcp', local, inode };
    });
}

/** The inodes of the sockets that a process of the lab has open; `pid` is the lab's number for it. */
export async function socketInodesOf(lab: Lab, pid: number | string): Promise<number[]> {
  const links = await lab.text(['find', `/proc/${pid}/fd`, '-lname', 'socket:*', '-printf', '%l\\n']);
  return [...links.matchAll(/socket:\[(\d+)\]/g)].map(([, inode]) => Number(inode));
}
