import type { SocketOptions } from '../model/reservation.js';
import type { EntryColumns, VaultEntry, VaultHeader, VaultPacket } from './vault-packets.js';

/** What has not changed since the first version. */
type Common = Pick<VaultHeader, 'index' | 'total' | 'memory' | 'programs'>;

interface Version1 extends Common {
  readonly entries: readonly (VaultEntry & { readonly options?: SocketOptions })[];
}

type Version2 = Common & EntryColumns & { readonly plain: boolean };

/**
 * The vault as berthd wrote it before entries had lines of their own: a packet was one text of JSON, and an entry without
 * options had those of the one before. An upgrade begins with reading what the version before has left.
 */
export function parseVersion1(packet: object): VaultPacket {
  const { entries, ...rest } = packet as Version1;
  const options: string[] = [];
  const optionsOf: number[] = [];
  const lines: string[] = [];
  for (const { options: own, ...entry } of entries) {
    if (own !== undefined) options.push(JSON.stringify(own));
    optionsOf.push(options.length - 1);
    lines.push(JSON.stringify(entry));
  }
  const names = entries.map(({ name }) => name);
  const sockets = entries.map((entry) => entry.sockets.length);
  const fds = entries.map(
    ({ sockets, guarded = [], yielding = [] }) => sockets.length + guarded.length + 2 * yielding.length,
  );
  return modern(rest, { names, sockets, fds, options, optionsOf }, Buffer.from(lines.join('\n')));
}

/** The columns were part of the header. */
export function parseVersion2(header: object, lines: Buffer): VaultPacket {
  const { names, sockets, fds, options, optionsOf, ...rest } = header as Version2;
  return modern(rest, { names, sockets, fds, options, optionsOf }, lines);
}

function modern(common: Common, columns: EntryColumns, lines: Buffer): VaultPacket {
  return {
    ...common,
    entries: columns.names.length,
    sockets: columns.sockets.reduce((sum, count) => sum + count, 0),
    plain: false,
    lines: Buffer.concat([Buffer.from(`${JSON.stringify(columns)}\n`), lines]),
  };
}
