import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { describeFailure, mustRun, runCommand, tail, type CommandOptions, type Outcome } from './process.js';
import { script } from './paths.js';

/** Where the tree lies in the lab's mount namespace, before it boots. */
export const treePath = '/run/berth-lab/tree';

/** The whole environment of what runs in a lab: nothing of the machine's own leaks in. */
const environment = [
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  'HOME=/root',
  'LANG=C.UTF-8',
];

const open = new Set<Machine>();
let created = 0;

/** The start time of a process in clock ticks, which with its pid names it for good: field 22 of proc(5)'s stat. */
function startTime(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

const reapCommand = ['unshare', '--mount', '--propagation', 'private', 'sh', script('reap.sh')];

/** Removes the cgroups that killed harnesses left; their processes and mounts died with them. */
export async function reapStale(): Promise<void> {
  mkdirSync('/run/berth-lab', { recursive: true });
  await mustRun(reapCommand);
}

// Also when a test calls process.exit() or throws past everything, no lab stays behind.
process.on('exit', () => {
  for (const machine of open) machine.destroy();
});
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => process.exit(status));
}

/**
 * One container, from its mounts to its end. Its first process, the holder, keeps the mount and the PID namespace in
 * which everything else lives, and dies with this process (PR_SET_PDEATHSIG): a killed harness leaves an empty cgroup,
 * nothing more.
 */
export class Machine {
  readonly cgroup = `berth-lab.${process.pid}.${startTime(process.pid)}.${++created}`;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<void>;
  #alive = true;
  #console = '';
  #holder = 0;
  #init = 0;

  private constructor(
    readonly name: string,
    root: string,
    layer: string,
  ) {
    mkdirSync('/run/berth-lab', { recursive: true });
    const own = [
      '--mount',
      '--propagation',
      'private',
      '--pid',
      '--fork',
      '--kill-child=KILL',
      '--mount-proc',
    ];
    const start = ['sh', script('start.sh'), root, layer, this.cgroup, name];
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...own, ...start], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child.stdin.on('error', () => undefined);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        this.#console = tail(this.#console + chunk.toString(), 64 * 1024);
      });
    }
    open.add(this);
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', () => {
        this.#alive = false;
        resolve();
      });
    });
  }

  /** Mounts the tree of a lab. Nothing runs in it yet; `run` works in it through chroot. */
  static async hold(name: string, root: string, layer = ''): Promise<Machine> {
    const machine = new Machine(name, root, layer);
    try {
      await machine.#waitForConsole(/^held$/m);
      machine.#holder = onlyChild(machine.#child.pid ?? 0);
      return machine;
    } catch (error) {
      await machine.close();
      throw error;
    }
  }

  /** Resolves when the machine is down, by its own doing or ours. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** What the boot printed, the last 64 KiB of it. */
  get console(): string {
    return this.#console;
  }

  /** The pid of the lab's PID 1 as seen from outside; 0 before the boot. */
  get init(): number {
    return this.#init;
  }

  /** Boots the tree and waits until systemd has settled. Answers its state as `is-system-running` calls it. */
  async boot(timeoutMs: number): Promise<string> {
    const deadline = Date.now() + timeoutMs;
    this.#child.stdin.write('boot\n');
    // Neither PID 1's arrival nor its private socket's can be waited for from out here: hence the retries.
    for (;;) {
      this.#init ||= this.#findInit();
      if (this.#init !== 0) {
        const seconds = Math.max(1, (deadline - Date.now()) / 1000);
        const { stdout } = await this.run([
          'timeout',
          `${seconds}`,
          'systemctl',
          'is-system-running',
          '--wait',
        ]);
        const state = stdout.trim();
        if (state !== '' && state !== 'offline' && state !== 'unknown') return state;
      }
      if (!this.#alive || Date.now() > deadline) {
        throw new Error(`lab '${this.name}' does not boot; its console:\n${tail(this.#console, 4000)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** What a command line becomes to run in the lab: in the tree before the boot, among its processes after it. */
  argv(command: readonly string[]): string[] {
    if (this.#init === 0) {
      return [
        'nsenter',
        '-t',
        `${this.#holder}`,
        '-m',
        'chroot',
        treePath,
        'env',
        '-i',
        ...environment,
        ...command,
      ];
    }
    // nsenter leaves the cgroup as it is; a process of the lab must be in one that the lab's systemd knows about.
    const cgroup = `/proc/${this.#holder}/root/run/berth-lab/cgroup/${this.cgroup}/payload/lab.scope`;
    const enter = 'mkdir -p "$0" && echo 0 >"$0/cgroup.procs" && exec "$@"';
    return [
      ...['sh', '-c', enter, cgroup, 'nsenter', '-t', `${this.#init}`, '-a'],
      ...['env', '-i', ...environment, ...command],
    ];
  }

  run(command: readonly string[], options: CommandOptions = {}): Promise<Outcome> {
    return runCommand(this.argv(command), options);
  }

  /** Runs a program of the machine that sees the tree at `treePath`, where a booted lab's own mounts are not. */
  async runBeside(command: readonly string[], options: CommandOptions = {}): Promise<string> {
    const cwd = options.cwd ?? '/';
    const outcome = await runCommand(
      ['nsenter', '-t', `${this.#holder}`, '-m', `--wd=${cwd}`, ...command],
      options,
    );
    if (outcome.status !== 0) throw new Error(describeFailure(command, outcome));
    return outcome.stdout;
  }

  /** Pulls the plug: every process of the lab is killed, its mounts go with them, then its cgroup. */
  async close(): Promise<void> {
    if (!open.has(this)) return;
    this.#killAll();
    await this.#ended;
    await mustRun([...reapCommand, this.cgroup]);
    open.delete(this);
  }

  /** close() for where nothing can be awaited any more. */
  destroy(): void {
    this.#killAll();
    spawnSync(reapCommand[0] ?? '', [...reapCommand.slice(1), this.cgroup], { stdio: 'inherit' });
    open.delete(this);
  }

  #killAll(): void {
    // The holder is the first process of its PID namespace: the kernel ends all others with it, before it is reaped.
    if (!this.#alive) return;
    if (this.#holder !== 0) process.kill(this.#holder, 'SIGKILL');
    else this.#child.kill('SIGKILL');
  }

  #findInit(): number {
    const path = `/proc/${this.#holder}/root/run/berth-lab/cgroup/${this.cgroup}/payload/init.scope/cgroup.procs`;
    try {
      const pids = readFileSync(path, 'utf8').split('\n').filter(Boolean).map(Number);
      return pids.find((pid) => /^NSpid:.*\t1$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) ?? 0;
    } catch {
      return 0;
    }
  }

  async #waitForConsole(pattern: RegExp): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.stdout.on('data', () => {
        if (pattern.test(this.#console)) resolve();
      });
      void this.#ended.then(() => {
        reject(new Error(`lab '${this.name}' cannot be set up:\n${this.#console}`));
      });
    });
  }
}

function onlyChild(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);
}
