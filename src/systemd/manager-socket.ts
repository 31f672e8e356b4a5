import { closeSync } from 'node:fs';
import type { BoundAddress } from '../native/index.js';
import { constant, native } from '../native/index.js';

/** Sends assignments, a line each, and descriptors, which stay the caller's. Throws SystemError. */
export type SendToManager = (lines: readonly string[], fds?: readonly number[]) => void;

/** The way to the service manager behind $NOTIFY_SOCKET (sd_notify(3)); undefined outside systemd. */
export function openManagerSocket(environment: NodeJS.ProcessEnv): SendToManager | undefined {
  const path = environment['NOTIFY_SOCKET'];
  if (path === undefined) return undefined;
  const address: BoundAddress = path.startsWith('@')
    ? { family: 'abstract', name: path.slice(1) }
    : { family: 'unix', path };
  return (lines, fds = []) => {
    const socket = native.socket(constant('AF_UNIX'), constant('SOCK_DGRAM'), 0);
    try {
      native.connect(socket, address);
      native.sendWaiting(socket, Buffer.from(lines.join('\n')), fds);
    } finally {
      closeSync(socket);
    }
  };
}
