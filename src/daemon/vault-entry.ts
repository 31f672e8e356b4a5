import type { Reservation, SocketOptions, SocketSpec } from '../model/reservation.js';
import type { RearKeep } from './rears.js';
import type { Packed, Stored } from './stored.js';
import type { EntryColumns, PageHeader, VaultEntry } from './vault-packets.js';

/** What an entry of one packet tells, to be gone on with by that of the next. */
export interface Whole extends Stored {
  readonly reservation: Reservation & { readonly sockets: SocketSpec[] };
  readonly fds: number[];
  readonly guards: (number | undefined)[];
  readonly rears: (RearKeep | undefined)[];
  /** Which of the stand-ins it is. */
  readonly standIn?: number;
}

/** `fds` are the descriptors that came for the entry. */
export function unpack(entry: VaultEntry, options: SocketOptions, fds: readonly number[]): Whole {
  const { standIn, guarded, yielding, formerNames, ...configured } = entry;
  const whole: Whole = {
    reservation: { ...configured, options, sockets: [...entry.sockets] },
    fds: [],
    guards: [],
    rears: [],
    ...(standIn === undefined ? {} : { standIn, standsIn: true }),
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

/** The entries of one packet, to be read one by one. */
export class EntryPage {
  readonly header: PageHeader;
  /** All descriptors of its entries, one entry after the other. */
  readonly fds: readonly number[];
  readonly #text: Buffer;
  readonly #parseOptions: (text: string) => SocketOptions;
  #columns: EntryColumns | undefined;
  #lines: readonly string[] | undefined;
  #starts: readonly number[] | undefined;

  /** `text` has a line with the columns and one for each entry; `fds` are all that came with the packet. */
  constructor(
    header: PageHeader,
    text: Buffer,
    fds: readonly number[],
    parseOptions: (text: string) => SocketOptions,
  ) {
    this.header = header;
    this.#text = text;
    this.fds = fds;
    this.#parseOptions = parseOptions;
  }

  get columns(): EntryColumns {
    return (this.#columns ??= JSON.parse(
      this.#text.toString('utf8', 0, this.#text.indexOf('\n')),
    ) as EntryColumns);
  }

  /** Where an entry is; undefined when it is not in this packet, which has only plain ones. */
  find(name: string): number | undefined {
    const { first = '', last = '' } = this.header;
    const index = name < first || name > last ? -1 : this.columns.names.indexOf(name);
    return index < 0 ? undefined : index;
  }

  /** Whose the descriptor is that came with the packet in that place. */
  nameOfFd(place: number): string {
    const index = this.#firstFds.findLastIndex((start) => start <= place);
    return this.columns.names[index] ?? '';
  }

  get #firstFds(): readonly number[] {
    let next = 0;
    return (this.#starts ??= this.columns.fds.map((count) => (next += count) - count));
  }

  fdsOf(index: number): readonly number[] {
    const start = this.#firstFds[index] ?? 0;
    return this.fds.slice(start, start + (this.columns.fds[index] ?? 0));
  }

  textOf(index: number): string {
    return (this.#lines ??= this.#text.toString('utf8').split('\n'))[index + 1] ?? '';
  }

  optionsOf(index: number): string {
    return this.columns.options[this.columns.optionsOf[index] ?? -1] ?? '';
  }

  read(index: number): Whole {
    const entry = JSON.parse(this.textOf(index)) as VaultEntry;
    return unpack(entry, this.#parseOptions(this.optionsOf(index)), this.fdsOf(index));
  }
}

/** A reservation of which only what Packed tells is known until more is asked for. */
export class PackedReservation implements Stored, Packed {
  readonly #page: EntryPage;
  readonly #index: number;
  #read: Whole | undefined;

  constructor(page: EntryPage, index: number) {
    this.#page = page;
    this.#index = index;
  }

  get packed(): Packed {
    return this;
  }

  get name(): string {
    return this.#page.columns.names[this.#index] ?? '';
  }

  get sockets(): number {
    return this.#page.columns.sockets[this.#index] ?? 0;
  }

  get descriptors(): readonly number[] {
    return this.#page.fdsOf(this.#index);
  }

  get text(): string {
    return this.#page.textOf(this.#index);
  }

  get options(): string {
    return this.#page.optionsOf(this.#index);
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
    return (this.#read ??= this.#page.read(this.#index));
  }
}
