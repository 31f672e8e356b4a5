import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { findRoot, packageLayer } from './cache.js';
import { Machine, reapStale, treePath } from './machine.js';
import { inTree, prepareTree, stageBerth, writeFileIn } from './prepare.js';
import { describeFailure, runCommand, tail, type Outcome } from './process.js';

export interface LabOptions {
  /** Becomes the host name, with a number behind it. */
  readonly name?: string;
  /** The tree to boot: the machine's own files (the default), or a debootstrapped Debian 13 with systemd 257. */
  readonly root?: 'host' | 'trixie';
  /** Debian packages that the tree must have; they are installed into a cached layer, never on the machine. */
  readonly packages?: readonly string[];
  /** Units that boot as the tree has them enabled. All other enabled ones are masked. */
  readonly keep?: readonly string[];
  /** Unit files and drop-ins, by their names below /etc/systemd/system: `thief.service`, `cups.service.d/x.conf`. */
  readonly units?: Readonly<Record<string, string>>;
  /** Which of them are enabled. */
  readonly enable?: readonly string[];
  /** Other files, by their paths: the text (mode 0644), or text and mode. */
  readonly files?: Readonly<Record<string, string | { readonly text: string; readonly mode: number }>>;
  /** Programs of this machine to copy in: path in the lab → path here. */
  readonly programs?: Readonly<Record<string, string>>;
  /** Whether the built berth is installed; it is unless this is false. */
  readonly berth?: boolean;
  /** Accept a boot with failed units. */
  readonly degraded?: boolean;
  readonly bootTimeoutMs?: number;
}

export interface RunOptions {
  /** The user to run as; root when absent. */
  readonly user?: string;
  /** Answer a failure as an outcome instead of throwing. */
  readonly allowFail?: boolean;
  readonly input?: string;
  /** Added to the lab's clean environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** Asked again and again, with this pause in between, where there is no event to wait for. */
const retryPause = 25;

/** A booted machine. Everything in it ends with `close()`, or with this process. */
export class Lab {
  constructor(
    private readonly machine: Machine,
    /** What `systemctl is-system-running` said at the end of the boot. */
    readonly state: string,
  ) {}

  /** What went to the console, the last 64 KiB of it. */
  get console(): string {
    return this.machine.console;
  }

  get name(): string {
    return this.machine.name;
  }

  /** The pid of the lab's PID 1, as this machine counts. */
  get init(): number {
    return this.machine.init;
  }

  /** The lab's cgroup, below the top of the v2 hierarchy. */
  get cgroup(): string {
    return this.machine.cgroup;
  }

  /** Resolves when the machine is down, be it by its own `systemctl poweroff`. */
  get ended(): Promise<void> {
    return this.machine.ended;
  }

  #argv(command: readonly string[], { user, env = {} }: RunOptions): string[] {
    // chroot(1) is what sets a user with all groups in one go and needs no PAM.
    const as = user === undefined ? [] : ['chroot', `--userspec=${user}:`, '/'];
    const settings = Object.entries(env).map(([key, value]) => `${key}=${value}`);
    return this.machine.argv([...as, 'env', ...settings, ...command]);
  }

  /** Runs a command (a string is for the shell) to its end; throws with what it said when it fails. */
  async run(command: readonly string[] | string, options: RunOptions = {}): Promise<Outcome> {
    const { allowFail = false, timeoutMs = 60_000, input } = options;
    const argv = shellWords(command);
    // The limit has to be inside: killing nsenter leaves what it started.
    const limited = ['timeout', '-k', '2', `${timeoutMs / 1000}`, ...argv];
    const deadline = Date.now() + timeoutMs;
    const outcome = await runCommand(this.#argv(limited, options), input === undefined ? {} : { input });
    if (outcome.status === 124 && Date.now() >= deadline)
      throw new Error(`${this.name}: '${argv.join(' ')}' took over ${timeoutMs} ms`);
    if (outcome.status !== 0 && !allowFail)
      throw new Error(`${this.name}: ${describeFailure(argv, outcome)}`);
    return outcome;
  }

  /** The standard output of a command that must succeed, without the white space around it. */
  async text(command: readonly string[] | string, options: RunOptions = {}): Promise<string> {
    return (await this.run(command, options)).stdout.trim();
  }

  /** The standard output of a command that must succeed, as JSON. The caller says what it is. */
  async json<T>(command: readonly string[] | string, options: RunOptions = {}): Promise<T> {
    return JSON.parse((await this.run(command, options)).stdout) as T;
  }

  /** Starts a command that goes on by itself, with pipes to its standard files. It ends with the lab at the latest. */
  spawn(
    command: readonly string[] | string,
    options: RunOptions = {},
  ): ChildProcessByStdio<Writable, Readable, Readable> {
    const [file = '', ...args] = this.#argv(shellWords(command), options);
    return spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  }

  /** `systemctl VERB…`, which must succeed; answers what it printed. */
  systemctl(...args: string[]): Promise<string> {
    return this.text(['systemctl', '--no-pager', ...args]);
  }

  /** Writes a file; a link in its place is replaced. */
  write(path: string, text: string, mode = 0o644): Promise<void> {
    return writeFileIn(this.machine, path, text, mode);
  }

  /** Lays the built berth out again, as an upgrade of its package would. What runs goes on with what it has. */
  upgradeBerth(): Promise<void> {
    return stageBerth(this.machine);
  }

  /** One property of a unit, as `systemctl show` has it. */
  property(unit: string, property: string): Promise<string> {
    return this.systemctl('show', '--property', property, '--value', unit);
  }

  /** The journal of this boot: all of it, or one unit's with what systemd says about the unit. */
  journal(unit?: string): Promise<string> {
    const of = unit === undefined ? [] : ['--unit', unit];
    return this.text(['journalctl', '--no-pager', '--boot', '--output=short-monotonic', ...of]);
  }

  /** Where the journal ends right now, for `waitForJournal`'s `after`. */
  async journalCursor(): Promise<string> {
    const last = await this.text(['journalctl', '--no-pager', '--lines=0', '--show-cursor']);
    return last.slice(last.indexOf('-- cursor: ') + '-- cursor: '.length);
  }

  /** Waits for a message in the journal of this boot, old ones included unless `after` is a cursor. Answers it. */
  async waitForJournal(
    pattern: RegExp,
    { unit, after, timeoutMs = 10_000 }: { unit?: string; after?: string; timeoutMs?: number } = {},
  ): Promise<string> {
    // Not `--unit`: journalctl skips the first match after a cursor whose own entry does not match.
    const from = after === undefined ? [] : ['--after-cursor', after];
    const journalctl = [
      'journalctl',
      '--no-pager',
      '--quiet',
      '--output=json',
      '--follow',
      '--lines=all',
      ...from,
    ];
    const follower = this.spawn(['timeout', `${timeoutMs / 1000}`, ...journalctl]);
    const lines = createInterface({ input: follower.stdout });
    try {
      for await (const line of lines) {
        const entry = JSON.parse(line) as Record<string, unknown>;
        const { MESSAGE: message, UNIT: about, _SYSTEMD_UNIT: from } = entry;
        if (unit !== undefined && unit !== about && unit !== from) continue;
        // A message that is not text comes as an array of bytes.
        if (typeof message === 'string' && pattern.test(message)) return message;
      }
    } finally {
      lines.close();
      // journalctl ends when it finds its pipe closed.
      follower.stdout.destroy();
    }
    throw new Error(`${this.name}: waited ${timeoutMs} ms in vain for ${pattern} in the journal`);
  }

  /** Waits until a unit's ActiveState is `state`. (Its messages come before the change, so they cannot be the event.) */
  async waitForUnit(
    unit: string,
    state: 'active' | 'inactive' | 'failed',
    timeoutMs = 10_000,
  ): Promise<void> {
    const reached = async () => (await this.property(unit, 'ActiveState')) === state || undefined;
    await this.until(`${unit} to be ${state}`, reached, timeoutMs);
  }

  /** Asks until `probe` answers something other than undefined: for what has no event. */
  async until<T>(what: string, probe: () => Promise<T | undefined>, timeoutMs = 10_000): Promise<T> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const answer = await probe();
      if (answer !== undefined) return answer;
      if (Date.now() > deadline) throw new Error(`${this.name}: waited ${timeoutMs} ms in vain for ${what}`);
      await new Promise((resolve) => setTimeout(resolve, retryPause));
    }
  }

  /** Why it went wrong, as far as the lab can tell: failed units with their status, and the end of the journal. */
  async report(): Promise<string> {
    const failed = await this.run(['systemctl', '--failed', '--no-legend', '--plain'], { allowFail: true });
    const units = failed.stdout.split('\n').flatMap((line) => /^\S+/.exec(line) ?? []);
    const status =
      units.length === 0
        ? { stdout: 'no failed units' }
        : await this.run(['systemctl', 'status', '--no-pager', '--full', '--lines=20', ...units], {
            allowFail: true,
          });
    const journal = await this.run(
      ['journalctl', '--no-pager', '--boot', '--lines=200', '--output=short-monotonic'],
      {
        allowFail: true,
      },
    );
    return `lab ${this.name}, ${this.state} after boot\n${tail(status.stdout, 8000)}\n${tail(journal.stdout, 24_000)}`;
  }

  close(): Promise<void> {
    return this.machine.close();
  }
}

function shellWords(command: readonly string[] | string): readonly string[] {
  return typeof command === 'string' ? ['sh', '-c', command] : command;
}

let booted = 0;

/**
 * Boots a lab. Close it, or better use `withLab`. A boot that leaves failed units is an error that tells about them,
 * unless `degraded` says that they are expected.
 */
export async function bootLab(options: LabOptions = {}): Promise<Lab> {
  const {
    name = 'lab',
    packages = [],
    keep = [],
    units = {},
    enable = [],
    files = {},
    programs = {},
  } = options;
  await reapStale();
  const root = await findRoot(options.root ?? 'host');
  const layer = await packageLayer(root, packages);
  const machine = await Machine.hold(`${name}-${++booted}`, root.path, layer);
  try {
    await prepareTree(machine, { keep, berth: options.berth !== false });
    for (const [unit, text] of Object.entries(units)) {
      await writeFileIn(machine, `/etc/systemd/system/${unit}`, text, 0o644);
    }
    for (const [path, file] of Object.entries(files)) {
      const { text, mode } = typeof file === 'string' ? { text: file, mode: 0o644 } : file;
      await writeFileIn(machine, path, text, mode);
    }
    for (const [path, program] of Object.entries(programs)) {
      await machine.runBeside(['install', '-D', '-m', '0755', program, `${treePath}${path}`]);
    }
    // Not with --root=, where systemd 252 fails over the drop-ins of what it enables (EBADF).
    if (enable.length > 0) await inTree(machine, ['systemctl', 'enable', ...enable]);
    const lab = new Lab(machine, await machine.boot(options.bootTimeoutMs ?? 60_000));
    if (lab.state !== 'running' && options.degraded !== true) throw new Error(await lab.report());
    return lab;
  } catch (error) {
    await machine.close();
    throw error;
  }
}

/** Boots a lab for a test and takes it down again whatever happens; a failure comes with the lab's report. */
export async function withLab<T>(
  t: Pick<TestContext, 'diagnostic'>,
  options: LabOptions,
  use: (lab: Lab) => Promise<T>,
): Promise<T> {
  const lab = await bootLab(options);
  try {
    return await use(lab);
  } catch (error) {
    t.diagnostic(await lab.report());
    throw error;
  } finally {
    await lab.close();
  }
}
