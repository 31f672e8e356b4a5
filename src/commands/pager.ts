import { spawn } from 'node:child_process';
import type { WriteStream } from 'node:tty';

/**
 * Shows a text through a pager as systemd's programs do it: $SYSTEMD_PAGER, else $PAGER, else less, more or pager, and
 * with LESS=FRSXMK unless $SYSTEMD_LESS says otherwise. Straight to the terminal where it fits, where the pager is `cat`
 * or empty, and where none can be started.
 */
export async function page(text: string, terminal: WriteStream, env: NodeJS.ProcessEnv): Promise<void> {
  const lines = text.split('\n').length;
  if (lines > terminal.rows) {
    for (const command of pagers(env)) if (await showIn(command, text, env)) return;
  }
  terminal.write(text);
}

/** The commands to try, in order; none when the user wants none. */
export function pagers(env: NodeJS.ProcessEnv, user = process.geteuid?.()): string[] {
  const wanted = env['SYSTEMD_PAGER'] ?? env['PAGER'];
  if (env['TERM'] === 'dumb' || wanted === '' || wanted === 'cat') return [];
  // A pager that somebody else chose, or that runs commands (less: !), must not do so as root (SYSTEMD_PAGERSECURE).
  if (isRaised(env, user)) return ['less'];
  return [...(wanted === undefined ? [] : [wanted]), 'less', 'more', 'pager'];
}

/** Whether sudo or the like made us another user. */
function isRaised(env: NodeJS.ProcessEnv, user = process.geteuid?.()): boolean {
  return user === 0 && ['SUDO_UID', 'PKEXEC_UID'].some((name) => env[name] !== undefined);
}

/** False when the shell finds no such command (sh(1): 127) or may not run it (126). */
function showIn(command: string, text: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  return new Promise((resolve) => {
    const pager = spawn('/bin/sh', ['-c', `exec ${command}`], {
      stdio: ['pipe', 'inherit', 'inherit'],
      env: {
        ...env,
        LESS: env['SYSTEMD_LESS'] ?? 'FRSXMK',
        LESSCHARSET: env['SYSTEMD_LESSCHARSET'] ?? 'utf-8',
        ...(isRaised(env) ? { LESSSECURE: '1' } : {}),
      },
    });
    // ^C belongs to the pager.
    const ignore = (): void => undefined;
    process.on('SIGINT', ignore);
    const done = (shown: boolean): void => {
      process.off('SIGINT', ignore);
      resolve(shown);
    };
    pager.once('error', () => {
      done(false);
    });
    pager.once('close', (status) => {
      done(status !== 126 && status !== 127);
    });
    // EPIPE: who has read enough leaves.
    pager.stdin.on('error', () => undefined);
    pager.stdin.end(text);
  });
}
