import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { scratch } from '../../support/files.js';
import { Child, root, run, until } from '../../support/processes.js';
import { randomLoopback } from '../../support/sockets.js';
import type { Block } from '../../unit/docs/markdown.js';

/**
 * A directory and a shell in which the examples of a document are run: `file=NAME` blocks are written, and of `console
 * session` blocks each command is run and its output compared with what stands below it. They share an address of their
 * own in the place of 127.0.0.1.
 */
export class Session {
  readonly #t: TestContext;
  readonly #directory: string;
  readonly #host = randomLoopback();
  readonly #jobs: Child[] = [];
  readonly #env: NodeJS.ProcessEnv;

  constructor(t: TestContext) {
    this.#t = t;
    this.#directory = scratch(t);
    const bin = join(this.#directory, '.bin');
    mkdirSync(bin);
    for (const [name, command] of [
      ['berth', `${process.execPath} ${root}/build/lib/berth.cjs`],
      ['berthd', `${process.execPath} ${root}/build/lib/berthd.cjs`],
      ['berth-claim', `${root}/build/bin/berth-claim`],
    ] as const) {
      writeFileSync(join(bin, name), `#!/bin/sh\nexec ${command} "$@"\n`);
      chmodSync(join(bin, name), 0o755);
    }
    this.#env = {
      PATH: `${bin}:${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
      LC_ALL: 'C.UTF-8',
    };
  }

  write(block: Block): void {
    const path = join(this.#directory, block.info.slice('file='.length));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, this.#moved(block.text));
  }

  async play(block: Block): Promise<void> {
    const [, ...parts] = block.text.split(/^\$ /m);
    for (const part of parts) {
      const [command = '', ...output] = part.trimEnd().split('\n');
      await this.#step(
        this.#moved(command),
        output.map((line) => this.#moved(line)),
      );
    }
  }

  async #step(command: string, output: readonly string[]): Promise<void> {
    const job = /^kill %(\d+)$/.exec(command)?.[1];
    if (job !== undefined) await this.#kill(Number(job));
    else if (command.endsWith(' &')) await this.#start(command.slice(0, -2), output);
    else {
      const { out, err } = await run(this.#t, 'sh', ['-c', command], this.#options);
      assert.equal(settled(out + err), settled(output.join('\n')), command);
    }
  }

  async #start(command: string, output: readonly string[]): Promise<void> {
    const child = new Child(this.#t, 'sh', ['-c', `exec ${command}`], this.#options);
    this.#jobs.push(child);
    for (const line of output) await child.prints('err', new RegExp(`^${escaped(line)}$`, 'm'));
    if (command.startsWith('berth-claim')) await this.#untilList(/ active /);
  }

  async #kill(job: number): Promise<void> {
    const child = this.#jobs[job - 1];
    assert.ok(child, `job ${job}`);
    child.kill('SIGTERM');
    await child.exit;
    // The first is berthd; what others have claimed is held again.
    if (job > 1) await this.#untilList(/ held /);
  }

  async #untilList(pattern: RegExp): Promise<void> {
    const list = async () =>
      (await run(this.#t, 'sh', ['-c', 'berth --control ./control --no-legend'], this.#options)).out;
    await until(list, (text) => pattern.test(text), String(pattern));
  }

  get #options() {
    return { cwd: this.#directory, env: this.#env };
  }

  #moved(text: string): string {
    return text.replaceAll('127.0.0.1', this.#host);
  }
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** Without what differs from run to run: the widths of columns, and times. */
function settled(text: string): string {
  return text
    .trimEnd()
    .replaceAll(/ +/g, ' ')
    .replaceAll(/ (?:now|\d+\w+ ago)$/gm, ' AGO')
    .replaceAll(/ since \w+ [\d-]+ [\d:]+ [+-]\d+/g, ' since WHEN')
    .replaceAll(/\b(inode|pid) \d+/g, '$1 N')
    .replaceAll(/after \d+ ms/g, 'after N ms');
}
