import type { Reservation, SocketOptions, SocketSpec } from '../model/reservation.js';
import type { RearKeep } from './rears.js';
import type { Packed, Stored } from './stored.js';
import type { VaultEntry } from './vault-packets.js';

/** What an entry of one packet tells, to be gone on with by that of the next. */
export interface Whole extends Stored {
  readonly reservation: Reservation & { readonly sockets: SocketSpec[] };
  readonly fds: number[];
  readonly guards: (number | undefined)[];
  readonly rears: (RearKeep | undefined)[];
}

/** `fds` are the descriptors that came for the entry. */
export function unpack(entry: VaultEntry, options: SocketOptions, fds: readonly number[]): Whole {
  const { standIn, guarded, yielding, formerNames, ...configured } = entry;
  const whole: Whole = {
    reservation: { ...configured, options, sockets: [...entry.sockets] },
    fds: [],
    guards: [],
    rears: [],
    ...(standIn === undefined ? {} : { standsIn: true }),
    ...(formerNames === undefined ? {} : { formerNames }),
  };
  let next = 0;
  const take = (): number => {
    const fd = fds[next++];
    if (fd === undefined) throw new Error('every stored socket has a descriptor');
    return fd;
  };
  for (const index of entry.sockets.keys()) {
    whole.fds.push(take());
    whole.guards.push(guarded?.includes(index) === true ? take() : undefined);
    whole.rears.push(yielding?.includes(index) === true ? [take(), take()] : undefined);
  }
  return whole;
}

/** A reservation of which only what Packed tells is known until more is asked for. */
export class PackedReservation implements Stored {
  readonly packed: Packed;
  readonly #options: () => SocketOptions;
  #read: Whole | undefined;

  constructor(packed: Packed, options: () => SocketOptions) {
    this.packed = packed;
    this.#options = options;
  }

  get reservation(): Reservation {
    return this.#whole.reservation;
  }

  get fds(): readonly number[] {
    return this.#whole.fds;
  }

  get guards(): readonly (number | undefined)[] {
    return this.#whole.guards;
  }

  get formerNames(): readonly string[] | undefined {
    return this.#whole.formerNames;
  }

  get #whole(): Whole {
    const { text, fds } = this.packed;
    return (this.#read ??= unpack(JSON.parse(text) as VaultEntry, this.#options(), fds));
  }
}
