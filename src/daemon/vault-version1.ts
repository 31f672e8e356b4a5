import type { SocketOptions } from '../model/reservation.js';
import type { ProgramState } from './program.js';
import type { VaultEntry, VaultPacket } from './vault-packets.js';

interface Version1 {
  readonly index: number;
  readonly total: number;
  readonly entries: readonly (VaultEntry & { readonly options?: SocketOptions })[];
  readonly memory?: string;
  readonly programs?: readonly ProgramState[];
}

/**
 * The vault as berthd wrote it before entries had lines of their own: a packet was one text of JSON, and an entry without
 * options had those of the one before. An upgrade begins with reading one.
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
  return {
    ...rest,
    names: entries.map(({ name }) => name),
    sockets: entries.map(({ sockets }) => sockets.length),
    fds: entries.map(
      ({ sockets, guarded = [], yielding = [] }) => sockets.length + guarded.length + 2 * yielding.length,
    ),
    plain: false,
    options,
    optionsOf,
    lines: Buffer.from(lines.join('\n')),
  };
}
