import { closeSync } from 'node:fs';
import { maxFdsPerMessage, constant, native, Readable } from '../../src/native/index.js';
import { patience } from './processes.js';

/** What berthd said: its text and how many descriptors came with it, which are closed at once. */
export interface Answer {
  readonly text: string;
  readonly fds: number;
}

/** Resolves when something can be read. */
export function untilReadable(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      native.unwatch(watch);
      reject(new Error(`nothing to read in ${patience / 1000} s`));
    }, patience);
    const watch = native.watch(fd, Readable, () => {
      clearTimeout(timer);
      native.unwatch(watch);
      resolve();
    });
  });
}

/** A connection to a control socket, as raw as a stranger's. */
export class Talk {
  readonly fd: number;

  constructor(path: string) {
    this.fd = native.socket(constant('AF_UNIX'), constant('SOCK_SEQPACKET'), 0);
    try {
      native.connect(this.fd, { family: 'unix', path });
      native.adopt(this.fd);
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
  }

  send(data: string | Buffer, fds: readonly number[] = []): boolean {
    return native.send(this.fd, Buffer.from(data), fds);
  }

  ask(method: string, parameters: object = {}): boolean {
    return this.send(JSON.stringify({ method, parameters }));
  }

  /** The next packet; undefined at the end, be it orderly or a reset. */
  async receive(): Promise<Answer | undefined> {
    for (;;) {
      let packet;
      try {
        packet = native.receive(this.fd, maxFdsPerMessage, 0);
      } catch {
        return undefined;
      }
      if (packet !== undefined) {
        packet.fds.forEach(closeSync);
        return packet.data.length === 0
          ? undefined
          : { text: packet.data.toString(), fds: packet.fds.length };
      }
      await untilReadable(this.fd);
    }
  }

  /** Everything until the other side closes. */
  async receiveAll(): Promise<Answer[]> {
    const answers: Answer[] = [];
    for (let next = await this.receive(); next !== undefined; next = await this.receive()) answers.push(next);
    return answers;
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** One request on a connection of its own; all the answers to it. */
export async function exchange(
  path: string,
  data: string | Buffer,
  fds: readonly number[] = [],
): Promise<Answer[]> {
  const talk = new Talk(path);
  try {
    talk.send(data, fds);
    return await talk.receiveAll();
  } finally {
    talk.close();
  }
}

/** The error code and message of the only answer. */
export async function refusal(
  path: string,
  data: string | Buffer,
  fds: readonly number[] = [],
): Promise<string> {
  const [answer, ...more] = await exchange(path, data, fds);
  if (answer === undefined || more.length > 0 || answer.fds > 0) throw new Error('one answer was expected');
  const { error, parameters } = JSON.parse(answer.text) as { error: string; parameters: { message: string } };
  return `${error}: ${parameters.message}`;
}
