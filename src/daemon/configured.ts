import { statSync } from 'node:fs';
import { disk } from '../config/disk.js';
import { loadConfiguration, type Configuration } from '../config/load.js';
import { portreserveDirectory } from '../config/portreserve.js';
import { defaultDirectories } from '../config/search.js';
import { parseServices } from '../config/services.js';
import type { Settings } from '../config/settings.js';
import { ReadError } from '../config/source.js';
import { recording, type Inputs } from '../generator/inputs.js';
import { loadReservations, type AllReservations } from '../generator/reservations.js';
import { stamps } from '../generator/stamps.js';
import { native } from '../native/index.js';
import { generatorDirectory, UnitSearch, unitDirectories } from '../systemd/unit-search.js';

/** What one berthd leaves to the next one, so that it need not read again what has not changed since. */
export interface Memory {
  /** What was read. */
  readonly known: string;
  /** What all files were like (native.keepStamps). It is open for as long as berthd runs. */
  readonly stamps: number;
}

interface Known {
  /** The program and the directories: another one may read the same files in another way. */
  readonly reader: readonly string[];
  readonly settings: Settings;
}

/** Where berthd's configuration comes from. */
export class ConfigurationFiles {
  /** The directories of which one changes when the configuration may have changed. */
  readonly #directories: readonly string[];
  readonly #own: readonly string[] | undefined;
  readonly #portreserve: string | undefined;
  readonly #program: string;
  #last: { readonly inputs: Inputs; readonly since: number; readonly settings: Settings } | undefined;

  /**
   * `own` are directories to read instead of the machine's own, without its unit files; `program` is berthd's file.
   * portreserve's files are read in the directory that is named, else only beside the machine's own.
   */
  constructor(own: readonly string[] | undefined, program: string, portreserve?: string) {
    this.#portreserve = portreserve ?? (own === undefined ? portreserveDirectory : undefined);
    this.#directories = [
      ...(own ?? [...defaultDirectories, ...unitDirectories, generatorDirectory]),
      ...(this.#portreserve === undefined ? [] : [this.#portreserve]),
    ];
    this.#own = own;
    this.#program = program;
  }

  /** Tells whether anything may have come since it was read last: a file changes the directory that it is in. */
  stamp(): string {
    return this.#directories
      .map((directory) => String(statSync(directory, { bigint: true, throwIfNoEntry: false })?.mtimeNs))
      .join();
  }

  load(): Configuration & Partial<Pick<AllReservations, 'notes'>> {
    const since = Date.now();
    const { source, inputs } = recording(disk);
    const services = parseServices(textOf(() => source.read('/etc/services')));
    const loaded =
      this.#own === undefined
        ? loadReservations(new UnitSearch(source), defaultDirectories, services, this.#portreserve)
        : loadConfiguration(source, this.#own, services, this.#portreserve);
    this.#last = { inputs, since, settings: loaded.settings };
    return loaded;
  }

  /** What recall() wants to know of the last load(); undefined when it would prove nothing (see stamps.ts). */
  remember(): Memory | undefined {
    // The stamps know portreserve's files, which have no ending, by their directory.
    const elsewhere = ![undefined, portreserveDirectory].includes(this.#portreserve);
    if (this.#last === undefined || elsewhere) return undefined;
    const { inputs, since, settings } = this.#last;
    const { directories, files } = inputs;
    const text = stamps({ directories, files: new Set([...files, this.#program]) }, '', since);
    if (text === undefined) return undefined;
    const known: Known = { reader: this.#reader, settings };
    return { known: JSON.stringify(known), stamps: native.keepStamps(Buffer.from(text)) };
  }

  /** The settings, when load() would now give what it gave at that remember(), and undefined when it might not. */
  recall({ known, stamps }: Memory): Settings | undefined {
    if (!native.stampsHold(stamps) || known === '') return undefined;
    const { reader, settings } = JSON.parse(known) as Known;
    return JSON.stringify(reader) === JSON.stringify(this.#reader) ? settings : undefined;
  }

  get #reader(): string[] {
    return [this.#program, ...this.#directories];
  }
}

/** Empty when it cannot be read: a machine may be without /etc/services. */
function textOf(read: () => Uint8Array | undefined): string {
  try {
    return Buffer.from(read() ?? []).toString('utf8');
  } catch (error) {
    if (error instanceof ReadError) return '';
    throw error;
  }
}
