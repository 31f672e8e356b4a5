import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constant, native, Readable } from '../../src/native/index.js';
import { mortal } from './cleanup.js';
import { cleanEnvironment, programs } from './programs.js';

/** A berthd with a configuration and a control socket of its own. */
export interface Daemon {
  readonly pid: number;
  readonly control: string;
  /** Its STATUS= when it said READY=1: how much it holds. */
  readonly status: string;
  /** From just before its exec to READY=1, in nanoseconds. */
  readonly startup: number;
  stop(): Promise<void>;
}

/** The text of each reservation's file, by its name. */
export type Reservations = Readonly<Record<string, string>>;

export function writeReservations(directory: string, reservations: Reservations): void {
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(reservations))
    writeFileSync(join(directory, `${name}.conf`), text);
}

/**
 * Starts a berthd in `directory`, on the reservations in its `conf`, and resolves when it is ready: it says so to a
 * socket of ours, as to systemd. Rejects with what it said when it ends instead.
 */
export async function startDaemon(directory: string): Promise<Daemon> {
  const control = join(directory, 'control');
  const notify = join(directory, 'notify');
  const ready = listenForReady(notify);
  const start = process.hrtime.bigint();
  const child = mortal(
    spawn(
      process.execPath,
      [programs.berthd, '--config-dir', join(directory, 'conf'), '--control', control],
      { env: { ...cleanEnvironment, NOTIFY_SOCKET: notify }, stdio: ['ignore', 'ignore', 'pipe'] },
    ),
  );
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
  });
  const exited = once(child, 'exit').then(() => {
    throw new Error(`berthd has ended: ${said.trim()}`);
  });
  exited.catch(() => undefined);
  try {
    const message = await Promise.race([ready.message, exited]);
    const startup = Number(process.hrtime.bigint() - start);
    const status = /^STATUS=(.*)$/m.exec(message)?.[1] ?? '';
    return { pid: child.pid ?? 0, control, status, startup, stop: () => end(child) };
  } catch (error) {
    await end(child);
    throw error;
  } finally {
    ready.close();
  }
}

function listenForReady(path: string): { message: Promise<string>; close: () => void } {
  rmSync(path, { force: true });
  const fd = native.socket(constant('AF_UNIX'), constant('SOCK_DGRAM'), 0);
  native.bind(fd, { family: 'unix', path });
  let tell: (message: string) => void = () => undefined;
  const message = new Promise<string>((resolve) => {
    tell = resolve;
  });
  const watch = native.watch(fd, Readable, () => {
    const text = native.receive(fd, 0, 0)?.data.toString('utf8') ?? '';
    if (/^READY=1$/m.test(text)) tell(text);
  });
  return {
    message,
    close: () => {
      native.unwatch(watch);
      closeSync(fd);
    },
  };
}

/** Ends a process and waits until it has ended. */
export async function end(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill(signal);
  await exit;
}
