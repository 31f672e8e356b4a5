import { disk, readServicesText } from '../config/disk.js';
import { defaultDirectories } from '../config/search.js';
import { parseServices } from '../config/services.js';
import { loadReservations } from '../generator/reservations.js';
import { BerthError } from '../model/errors.js';
import { describeSocket, type Handoff } from '../model/reservation.js';
import { call, listAll } from '../protocol/client.js';
import { defaultControlPath, type ClaimantInfo, type ReservationState } from '../protocol/messages.js';
import { UnitSearch } from '../systemd/unit-search.js';
import { overlaps, type Wanted } from './why-port.js';

/** A reservation of the port. Without berthd's word on it there is no state: then it only stands in a file. */
export interface PortReservation {
  readonly name: string;
  readonly unit: string;
  readonly handoff: Handoff;
  readonly definedAt: string;
  readonly sockets: readonly { readonly socket: string; readonly state?: string; readonly error?: string }[];
  readonly state?: ReservationState;
  readonly since?: number;
  readonly claimants: readonly ClaimantInfo[];
}

export interface Reservations {
  readonly ofPort: readonly PortReservation[];
  /** Which reservation a kernel socket is held for, by its inode. */
  readonly byInode: ReadonlyMap<number, string>;
  /** Why berthd could not be asked; undefined when it answered. */
  readonly silence?: string;
}

/** Asks berthd, and without one the files. */
export async function reservationsOf(wanted: readonly Wanted[], control: string): Promise<Reservations> {
  const concerns = (socket: string): boolean => wanted.some((each) => isOn(socket, each));
  try {
    const names = (await listAll(control)).filter(({ sockets }) => sockets.some(concerns));
    const byInode = new Map<number, string>();
    const ofPort: PortReservation[] = [];
    for (const { name } of names) {
      const status = await call(control, 'Status', { name });
      for (const { inode } of status.sockets) if (inode !== undefined) byInode.set(inode, name);
      ofPort.push({
        ...status,
        sockets: status.sockets.filter(({ socket }) => concerns(socket)),
      });
    }
    return { ofPort, byInode };
  } catch (error) {
    if (!(error instanceof BerthError)) throw error;
    return {
      ofPort: control === defaultControlPath ? inFiles(concerns) : [],
      byInode: new Map(),
      silence: error.message,
    };
  }
}

function inFiles(concerns: (socket: string) => boolean): PortReservation[] {
  const { reservations } = loadReservations(
    new UnitSearch(disk),
    defaultDirectories,
    parseServices(readServicesText()),
  );
  return reservations
    .filter(({ sockets }) => sockets.some((spec) => concerns(describeSocket(spec))))
    .map(({ name, unit, handoff, at, sockets }) => ({
      name,
      unit,
      handoff,
      definedAt: `${at.file}:${at.line}`,
      sockets: sockets
        .map((spec) => ({ socket: describeSocket(spec) }))
        .filter(({ socket }) => concerns(socket)),
      claimants: [],
    }));
}

/** Whether a socket as describeSocket() calls it, `tcp 127.0.0.1:631`, is on a port that was asked about. */
export function isOn(socket: string, { protocol, port, host }: Wanted): boolean {
  const [, kind = '', bound = '', number] = /^(\S+) (.*):(\d+)$/.exec(socket) ?? [];
  const same = kind === protocol || (kind === 'mptcp' && protocol === 'tcp');
  if (!same || Number(number) !== port) return false;
  const plain = bound.replace(/^\[(.*?)(%.*)?\]$/, '$1');
  return overlaps(host, plain === '*' ? '::' : plain, false);
}
