import { createInterface } from 'node:readline';
import { programs } from '../bench/programs.js';
import { start, untilReady } from './children.js';
import type { Child } from './children.js';

/** What the thieves have counted. A theft is a bind(2) that succeeded. */
export interface Thefts {
  readonly attempts: number;
  readonly thefts: number;
}

/** Four processes that try to bind one port of one address in a tight loop: TCP and UDP, with and without SO_REUSEADDR. */
export class Thieves {
  static readonly count = 4;
  readonly #child: Child;
  #latest: Thefts = { attempts: 0, thefts: 0 };

  private constructor(child: Child) {
    this.#child = child;
    createInterface(child.process.stdout).on('line', (line) => {
      if (line.startsWith('{')) this.#latest = JSON.parse(line) as Thefts;
    });
  }

  /** Resolves once each of them has tried. */
  static async start(host: string, port: number): Promise<Thieves> {
    const kinds = [['--tcp'], ['--tcp', '--reuseaddr', '--listen'], ['--udp'], ['--udp', '--reuseaddr']];
    const child = start(programs.thief, [
      ...['--port', String(port), '--stdin'],
      ...kinds.flatMap((kind, index) => [...(index > 0 ? ['--and'] : []), ...kind, '--address', host]),
    ]);
    await untilReady(child);
    return new Thieves(child);
  }

  /** As of the last answer, and asks for the next one. */
  get soFar(): Thefts {
    this.#child.process.kill('SIGUSR1');
    return this.#latest;
  }

  async stop(): Promise<Thefts> {
    this.#child.process.kill('SIGTERM');
    await Promise.all([
      this.#child.exit,
      new Promise((resolve) => this.#child.process.stdout.once('close', resolve)),
    ]);
    return this.#latest;
  }
}
