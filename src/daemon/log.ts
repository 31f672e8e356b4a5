import { writeSync } from 'node:fs';

/** The priorities of syslog(3) that berthd uses, most urgent first. */
export const levels = { err: 3, warning: 4, notice: 5, info: 6, debug: 7 } as const;
export type Level = keyof typeof levels;

/** Writes one line for each message to stderr, with the `<N>` prefix of sd-daemon(3) when a journal reads it. */
export class Log {
  level: Level = 'info';

  constructor(private readonly prefixed = process.env['JOURNAL_STREAM'] !== undefined) {}

  err(message: string): void {
    this.#write('err', message);
  }

  warning(message: string): void {
    this.#write('warning', message);
  }

  notice(message: string): void {
    this.#write('notice', message);
  }

  info(message: string): void {
    this.#write('info', message);
  }

  debug(message: string): void {
    this.#write('debug', message);
  }

  /** Whether a message of this level is written at all. */
  tells(level: Level): boolean {
    return levels[level] <= levels[this.level];
  }

  #write(level: Level, message: string): void {
    if (!this.tells(level)) return;
    const line = message.replaceAll(/\s*\n\s*/g, '; ');
    try {
      writeSync(2, `${this.prefixed ? `<${levels[level]}>` : 'berthd: '}${line}\n`);
    } catch {
      // Nobody reads the log any more. The sockets matter more than that.
    }
  }
}
