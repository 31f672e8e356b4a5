import type { Result } from './run.js';

const barWidth = 24;

/** What a person sees of a run while it lasts: one line, rewritten on a terminal, a line a quarter elsewhere. */
export class Progress {
  readonly #label: string;
  readonly #total: number;
  #written = 0;

  constructor(label: string, total: number) {
    this.#label = label;
    this.#total = total;
  }

  show(soFar: Pick<Result, 'starts' | 'failedStarts' | 'attempts' | 'thefts' | 'served'>): void {
    const { starts, attempts, thefts, served } = soFar;
    const last = starts === this.#total;
    const now = performance.now();
    if (process.stdout.isTTY) {
      if (now - this.#written < 80 && !last) return;
      const filled = Math.round((starts / this.#total) * barWidth);
      const bar = '█'.repeat(filled) + '░'.repeat(barWidth - filled);
      process.stdout.write(
        `\r\x1b[K  ${bar} ${starts}/${this.#total} restarts, ${grouped(attempts)} attempts, ` +
          `\x1b[${thefts > 0 ? 31 : 32}m${grouped(thefts)} thefts\x1b[0m, ${grouped(served)} served${last ? '\n' : ''}`,
      );
    } else if (last || starts % Math.ceil(this.#total / 4) === 0) {
      console.log(
        `  ${this.#label}: ${starts}/${this.#total} restarts, ${grouped(attempts)} attempts, ` +
          `${grouped(thefts)} thefts, ${grouped(served)} served`,
      );
    }
    this.#written = now;
  }
}

export function grouped(value: number): string {
  return value.toLocaleString('en');
}
