import { spawn, type ChildProcessByStdio, type SpawnOptions } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

/** The project's folder: this file lies in build/js/test/support. */
export const root = fileURLToPath(new URL('../../../../', import.meta.url));

/** Where each thing that a test waits for must have happened. It is reached only when something is broken. */
export const patience = 15_000;

export interface Exit {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

type Running = ChildProcessByStdio<Writable, Readable, Readable>;

/** A child process that tells what it prints, and is killed with the test. */
export class Child {
  readonly #process: Running;
  /** Resolves when it has ended and nobody writes to its streams any more. */
  readonly exit: Promise<Exit>;
  /** Resolves when it has ended; its children may live on. */
  readonly gone: Promise<void>;
  out = '';
  err = '';
  ended = false;
  readonly #waiting = new Set<() => void>();

  constructor(t: TestContext, command: string, args: readonly string[], options: SpawnOptions = {}) {
    const child = spawn(command, args, {
      ...options,
      env: { ...cleanEnvironment(), ...options.env },
      stdio: options.stdio ?? ['pipe', 'pipe', 'pipe'],
    }) as Running;
    this.#process = child;
    const tell = () => {
      for (const check of this.#waiting) check();
    };
    // With other stdio than pipes there are no streams here.
    (child.stdout as Readable | null)?.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
      tell();
    });
    (child.stderr as Readable | null)?.setEncoding('utf8').on('data', (text: string) => {
      this.err += text;
      tell();
    });
    this.gone = new Promise((resolve) => {
      child.once('exit', () => {
        resolve();
      });
    });
    this.exit = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status, signal) => {
        this.ended = true;
        resolve({ status, signal, out: this.out, err: this.err });
        tell();
      });
    });
    (child.stdin as Writable | null)?.on('error', () => undefined);
    t.after(() => {
      if (!this.ended) child.kill('SIGKILL');
      return this.exit.catch(() => undefined);
    });
  }

  get pid(): number {
    const { pid } = this.#process;
    if (pid === undefined) throw new Error('the process did not start');
    return pid;
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  closeInput(): void {
    this.#process.stdin.end();
  }

  write(text: string): void {
    this.#process.stdin.write(text);
  }

  /** Resolves once something matching was printed after `from` characters of that stream. */
  async prints(stream: 'out' | 'err', pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const settle = (action: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(check);
        action();
      };
      const fail = (why: string) => {
        settle(() => {
          reject(new Error(`${why} before ${String(pattern)}; it printed:\n${this.out}${this.err}`));
        });
      };
      const check = () => {
        const match = pattern.exec(this[stream].slice(from));
        if (match !== null)
          settle(() => {
            resolve(match);
          });
        else if (this.ended) fail('the process ended');
      };
      const timer = setTimeout(() => {
        fail(`${patience / 1000} s passed`);
      }, patience);
      this.#waiting.add(check);
      check();
    });
  }
}

/** What tests inherit and their children must not: a manager's variables, and a certificate file that Node reads. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  const environment = { ...process.env };
  for (const name of [
    'NODE_EXTRA_CA_CERTS',
    'NODE_OPTIONS',
    'NODE_TEST_CONTEXT',
    'NOTIFY_SOCKET',
    'WATCHDOG_USEC',
    'WATCHDOG_PID',
    'JOURNAL_STREAM',
    'LISTEN_PID',
    'LISTEN_FDS',
    'LISTEN_FDNAMES',
  ]) {
    Reflect.deleteProperty(environment, name);
  }
  return environment;
}

/** Runs a command to its end. */
export function run(
  t: TestContext,
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): Promise<Exit> {
  const child = new Child(t, command, args, options);
  if (options.stdio === undefined) child.closeInput();
  return child.exit;
}

/** Asks again until the answer satisfies; for what the kernel tells to nobody. */
export async function until<T>(
  ask: () => T | Promise<T>,
  satisfies: (answer: T) => boolean,
  what: string,
): Promise<T> {
  const deadline = Date.now() + patience;
  for (;;) {
    const answer = await ask();
    if (satisfies(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`${what}: still ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
