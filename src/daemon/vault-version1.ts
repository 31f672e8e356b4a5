import type { SocketOptions } from '../model/reservation.js';
import type { VaultEntry, VaultPacket } from './vault-packets.js';

/**
 * The vault as berthd wrote it before entries had lines of their own: a packet was one text of JSON, and an entry without
 * options had those of the one before. An upgrade begins with reading one.
 */
export function parseVersion1(packet: object): VaultPacket {
  let options: SocketOptions | undefined;
  const { entries, ...rest } = packet as Omit<VaultPacket, 'entries'> & {
    readonly entries: readonly (VaultEntry & { readonly options?: SocketOptions })[];
  };
  return {
    ...rest,
    entries: entries.map(({ options: own, ...entry }) => {
      options = own ?? options;
      const { name, sockets, guarded = [], yielding = [] } = entry;
      return {
        name,
        sockets: sockets.length,
        fds: sockets.length + guarded.length + 2 * yielding.length,
        plain: false,
        text: JSON.stringify(entry),
        options: JSON.stringify(options),
      };
    }),
  };
}
