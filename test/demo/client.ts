import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

const paceMs = 1;
const patienceMs = 1000;
/** A new server has taken over when it has answered so many requests, and a datagram. */
const enough = 10;

/** What became of the requests and datagrams of a client. */
export interface Traffic {
  readonly served: number;
  /** The connection was refused: nobody listened. */
  readonly refused: number;
  /** It was made, and ended without an answer. */
  readonly cutOff: number;
  readonly datagrams: number;
  readonly echoed: number;
}

/** A client that never pauses: one HTTP request after the other, each on a connection of its own, and a flow of datagrams. */
export class Client {
  readonly #host: string;
  readonly #port: number;
  readonly #udp = createSocket('udp4');
  readonly #counts = { served: 0, refused: 0, cutOff: 0, datagrams: 0, echoed: 0 };
  #awaited: { pid: number; answers: number; echoes: number; done: () => void } | undefined;
  #open = true;

  constructor(host: string, port: number) {
    this.#host = host;
    this.#port = port;
    this.#udp.on('message', (packet) => {
      this.#counts.echoed++;
      this.#heard(parseInt(packet.toString('latin1'), 10), 'echoes');
    });
    this.#udp.on('error', () => undefined);
    this.#request();
    this.#send();
  }

  get traffic(): Traffic {
    return { ...this.#counts };
  }

  /** Resolves once the server of this process number serves both the TCP and the UDP port. */
  servedBy(pid: number): Promise<void> {
    return new Promise((done) => {
      this.#awaited = { pid, answers: 0, echoes: 0, done };
    });
  }

  close(): void {
    this.#open = false;
    this.#udp.close();
  }

  #request(): void {
    if (!this.#open) return;
    let answer = '';
    let refused = false;
    const socket = connect({ host: this.#host, port: this.#port, timeout: patienceMs });
    socket.setEncoding('latin1');
    socket.on('connect', () => socket.write('GET / HTTP/1.0\r\n\r\n'));
    socket.on('data', (text: string) => {
      answer += text;
    });
    socket.on('timeout', () => socket.destroy());
    socket.on('error', (error: NodeJS.ErrnoException) => {
      refused = error.code === 'ECONNREFUSED';
    });
    socket.on('close', () => {
      const pid = /\r\n\r\n(\d+) serves\n$/.exec(answer)?.[1];
      if (pid !== undefined) {
        this.#counts.served++;
        this.#heard(Number(pid), 'answers');
      } else if (refused) this.#counts.refused++;
      else this.#counts.cutOff++;
      setTimeout(() => {
        this.#request();
      }, paceMs);
    });
  }

  #send(): void {
    if (!this.#open) return;
    this.#counts.datagrams++;
    this.#udp.send('hello', this.#port, this.#host, () => {
      setTimeout(() => {
        this.#send();
      }, paceMs);
    });
  }

  #heard(pid: number, what: 'answers' | 'echoes'): void {
    const awaited = this.#awaited;
    if (awaited?.pid !== pid) return;
    awaited[what]++;
    if (awaited.answers < enough || awaited.echoes === 0) return;
    this.#awaited = undefined;
    awaited.done();
  }
}
