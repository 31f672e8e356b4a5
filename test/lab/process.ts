import { spawn } from 'node:child_process';
import { constants } from 'node:os';

export interface Outcome {
  /** The exit status; 128 + N for a process that signal N ended, as shells have it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly input?: string;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs a command to its end and collects what it says. Rejects only when it cannot be started. */
export async function runCommand(argv: readonly string[], options: CommandOptions = {}): Promise<Outcome> {
  const [file, ...args] = argv;
  if (file === undefined) throw new Error('no command');
  const child = spawn(file, args, { cwd: options.cwd, env: options.env ?? process.env });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  // A command that ends without reading its input is no error of ours.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const status = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
  return { status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
}

/** Like runCommand, and throws with what the command said when it fails. Answers its standard output. */
export async function mustRun(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const outcome = await runCommand(argv, options);
  if (outcome.status !== 0) throw new Error(describeFailure(argv, outcome));
  return outcome.stdout;
}

export function describeFailure(argv: readonly string[], { status, stdout, stderr }: Outcome): string {
  return `'${argv.join(' ')}' failed with status ${status}\n${tail(stdout, 4000)}${tail(stderr, 4000)}`;
}

/** The end of a text, at most `length` characters, from the beginning of a line. */
export function tail(text: string, length: number): string {
  if (text.length <= length) return text;
  const cut = text.slice(-length);
  return `[…]\n${cut.slice(cut.indexOf('\n') + 1)}`;
}
