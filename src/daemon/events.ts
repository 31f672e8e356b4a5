import { BerthError } from '../model/errors.js';
import type { WatchEvent } from '../protocol/messages.js';
import type { Stream } from '../protocol/stream.js';
import type { Level, Log } from './log.js';

/** What happened; the time is added when it is told. */
export type Happening = Omit<WatchEvent, 'time'>;

/** `berth watch` at a time: of one user, and of all but root. */
const maxOfUser = 16;
const maxWatchers = 64;

/** A packet is small, and so is a line in the log. */
const maxMessage = 900;

/** The lines of the log. What is not here is for watchers alone: a stranger can be refused as often as he likes. */
const lines: Readonly<Partial<Record<WatchEvent['event'], [Level, (happening: Happening) => string]>>> = {
  claimed: [
    'debug',
    ({ reservation = '', pid, mode = '' }) => `${reservation}: claimed by pid ${pid} (${mode})`,
  ],
  stopped: [
    'debug',
    ({ reservation = '', unit, pid }) => `${reservation}: ${unit ?? `pid ${pid}`} has ended`,
  ],
  repaired: [
    'warning',
    ({ reservation = '', socket = '', message = '' }) => `${reservation}: ${socket} ${message}; repaired`,
  ],
  released: [
    'warning',
    ({ reservation = '', socket = '', unit = '' }) =>
      `${reservation}: released ${socket}, free for anybody until ${unit} has bound it`,
  ],
  failed: ['err', ({ reservation = '', message = '' }) => `${reservation}: ${message}`],
  taken: ['err', ({ reservation = '', message = '' }) => `${reservation}: ${message}`],
  reloaded: ['info', ({ message = '' }) => `Reloaded. ${message}`],
};

/** The one place through which berthd tells what happens: to its log, and to whoever watches. */
export class Events {
  readonly #log: Log;
  readonly #watchers = new Map<(packet: Buffer) => void, number>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Whether it is worth finding out what only watchers want to know. */
  get watched(): boolean {
    return this.#watchers.size > 0;
  }

  emit(happening: Happening): void {
    const line = lines[happening.event];
    if (line !== undefined && this.#log.tells(line[0])) this.#log[line[0]](line[1](happening));
    if (!this.watched) return;
    const packet = packetOf(happening);
    for (const send of this.#watchers.keys()) send(packet);
  }

  /** The events from now on, for a user. Throws Busy when there are too many watchers. */
  stream(uid: number, greeting: string): Stream {
    const users = [...this.#watchers.values()];
    const full = uid !== 0 && users.filter((user) => user !== 0).length >= maxWatchers;
    if (full || users.filter((user) => user === uid).length >= maxOfUser)
      throw new BerthError('Busy', 'too many are watching already');
    return {
      start: (send) => {
        send(packetOf({ event: 'watching', message: greeting }));
        this.#watchers.set(send, uid);
        return () => {
          this.#watchers.delete(send);
        };
      },
      lost: (count) => packetOf({ event: 'lost', count }),
    };
  }
}

function packetOf(happening: Happening): Buffer {
  const { message } = happening;
  const parameters: WatchEvent = {
    ...happening,
    time: Date.now(),
    ...(message === undefined ? {} : { message: message.slice(0, maxMessage) }),
  };
  return Buffer.from(JSON.stringify({ parameters }));
}
