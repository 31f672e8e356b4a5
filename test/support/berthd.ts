import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { SpawnOptions } from 'node:child_process';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Methods, ReservationInfo, ReservationStatus } from '../../src/protocol/messages.js';
import { openFds, scratch } from './files.js';
import { Child, root, run, until, type Exit } from './processes.js';
import { exchange } from './talk.js';

export const programs = {
  berthd: `${root}build/lib/berthd.cjs`,
  berth: `${root}build/lib/berth.cjs`,
  claim: `${root}build/bin/berth-claim`,
} as const;

export interface BerthdOptions extends SpawnOptions {
  /** Limits the descriptor table, hard and soft. */
  readonly maxFds?: number;
  /** A command in front of berthd, which has to exec it: `['setpriv', …]`. */
  readonly launcher?: readonly string[];
  /** Further arguments of berthd. */
  readonly args?: readonly string[];
}

/** Reservation files by name, without `.conf`. */
export type Files = Readonly<Record<string, string>>;

/** The folder of one berth: where its files and its control socket are. Everybody may look into it. */
export class Place {
  readonly directory: string;
  readonly config: string;
  readonly control: string;

  constructor(t: TestContext, files: Files) {
    this.directory = scratch(t);
    chmodSync(this.directory, 0o755);
    this.config = join(this.directory, 'etc');
    this.control = join(this.directory, 'control');
    mkdirSync(this.config);
    this.write(files);
  }

  write(files: Files): void {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.config, `${name}.conf`), text);
  }

  remove(...names: string[]): void {
    for (const name of names) rmSync(join(this.config, `${name}.conf`));
  }
}

/** A real berthd, as a child process with files and a control socket of its own. */
export class Berthd extends Place {
  readonly #t: TestContext;
  readonly child: Child;

  constructor(t: TestContext, files: Files, options: BerthdOptions = {}, place?: Place) {
    super(t, place === undefined ? files : {});
    if (place !== undefined) Object.assign(this, { config: place.config, control: place.control });
    this.#t = t;
    const { maxFds, launcher = [], args = [], ...rest } = options;
    const limits = maxFds === undefined ? [] : ['prlimit', `--nofile=${maxFds}:${maxFds}`];
    const line = [
      ...launcher,
      ...limits,
      process.execPath,
      programs.berthd,
      '--config-dir',
      this.config,
      '--control',
      this.control,
      ...args,
    ];
    this.child = new Child(t, line[0] ?? '', line.slice(1), rest);
  }

  /** Starts one and waits until it holds what it can hold. */
  static async start(t: TestContext, files: Files, options: BerthdOptions = {}): Promise<Berthd> {
    const berthd = new Berthd(t, files, options);
    await berthd.logs(/Holding/);
    return berthd;
  }

  get pid(): number {
    return this.child.pid;
  }

  /** How much has been logged so far; logs() looks only at what comes after it. */
  get logged(): number {
    return this.child.err.length;
  }

  logs(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    return this.child.prints('err', pattern, from);
  }

  /** Its open descriptors, of which tests want the number. */
  fds(): Map<number, string> {
    return openFds(this.pid);
  }

  /** Runs `berth` against it. */
  berth(args: readonly string[], options: SpawnOptions = {}): Promise<Exit> {
    return run(this.#t, process.execPath, [programs.berth, '--control', this.control, ...args], options);
  }

  /** Runs `berth-claim NAME -- COMMAND` to its end. */
  claim(name: string, command: readonly string[], options: SpawnOptions = {}): Promise<Exit> {
    return run(this.#t, programs.claim, ['--control', this.control, name, '--', ...command], options);
  }

  /** Starts `berth-claim NAME -- COMMAND`, which stays. */
  serve(name: string, command: readonly string[], options: SpawnOptions = {}): Child {
    return new Child(this.#t, programs.claim, ['--control', this.control, name, '--', ...command], options);
  }

  /** Every reservation on the first page, asked without the cost of a process. */
  async list(): Promise<readonly ReservationInfo[]> {
    return (await this.#ask<Methods['List']['answer']>('List', {})).reservations;
  }

  status(name: string): Promise<ReservationStatus> {
    return this.#ask('Status', { name });
  }

  /** Resolves with the status once the reservation is in a state. */
  reaches(name: string, state: ReservationInfo['state']): Promise<ReservationStatus> {
    return until(
      () => this.status(name),
      (status) => status.state === state,
      `'${name}' is not ${state}`,
    );
  }

  async #ask<T>(method: string, parameters: object): Promise<T> {
    const [answer] = await exchange(this.control, JSON.stringify({ method, parameters }));
    const reply = JSON.parse(answer?.text ?? '{}') as { error?: string; parameters: T };
    if (reply.error !== undefined) throw new Error(answer?.text);
    return reply.parameters;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    this.child.kill(signal);
    return this.child.exit;
  }
}

/** Resident memory of a process, in KiB. */
export function residentKiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}
