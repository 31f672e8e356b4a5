import { closeSync, lstatSync } from 'node:fs';
import { defaultOptions } from '../config/reservation.js';
import { BerthError, isSystemError } from '../model/errors.js';
import { constant, native } from '../native/index.js';
import type { PassedFd } from '../systemd/listen-fds.js';
import { bindPath, cannotServe } from './unix-path.js';

/** Connections that wait while berthd is busy or being restarted. */
const backlog = 4096;

/** A listening control socket. `activated` says that it is berth.socket's and outlives berthd. */
export interface ControlSocket {
  readonly fd: number;
  readonly activated: boolean;
}

/**
 * The control socket: the one that systemd passed, else a new one at `path`, for everybody to connect to (berthd itself
 * judges who may do what). Throws `Busy` when another berthd serves that path.
 */
export function openControlSocket(path: string, passed: readonly PassedFd[]): ControlSocket {
  const activated = passed.find(({ name }) => name === 'control');
  if (activated !== undefined) return { fd: activated.fd, activated: true };
  const type = constant('SOCK_SEQPACKET');
  const fd = native.socket(constant('AF_UNIX'), type, 0);
  try {
    bindPath(fd, path, type, defaultOptions);
    native.listen(fd, backlog);
    native.adopt(fd);
    return { fd, activated: false };
  } catch (error) {
    closeSync(fd);
    const isServed =
      isSystemError(error) &&
      error.code === 'EADDRINUSE' &&
      lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true;
    if (!isServed) throw cannotServe(path, error);
    throw new BerthError('Busy', `another berthd serves ${path}`, { cause: error });
  }
}
