/**
 * Every way in which berth refuses or fails, as it stands on the wire (`{"error": CODE, …}`) and in scripts, with the
 * exit status that `berth` gives it.
 */
export const exitStatuses = {
  Failed: 1,
  BadMessage: 1,
  Usage: 2,
  NotFound: 3,
  Busy: 4,
  NotHeld: 4,
  Denied: 5,
  NoDaemon: 6,
  Configuration: 78,
} as const;

export type ErrorCode = keyof typeof exitStatuses;

/** An error whose message is written for the person who reads it. */
export class BerthError extends Error {
  override readonly name = 'BerthError';

  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  get exitStatus(): number {
    return exitStatuses[this.code];
  }
}

/** A failed system call, as the addon and Node throw it. `reason` is strerror's text; Node's own errors have none. */
export interface SystemError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;
  readonly reason?: string;
}

export function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && 'errno' in error && 'syscall' in error && 'code' in error;
}

/** An error of the machine's state at this moment, which says nothing about what was asked for. */
export function isShortage(error: unknown): boolean {
  return isSystemError(error) && ['ENOMEM', 'ENOBUFS', 'EMFILE', 'ENFILE'].includes(error.code);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
