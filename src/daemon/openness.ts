import { isShortage, messageOf } from '../model/errors.js';
import { constant, Listening, native, ReuseAddr, ReusePort } from '../native/index.js';
import type { BoundAddress } from '../native/index.js';
import { isInet } from './hold-open.js';
import type { HoldRequest } from './hold-request.js';
import { applyBindOptions } from './options.js';

/** What of a held socket decides how open it is to clients, and to others who would bind there. */
export interface Opening {
  readonly fd: number;
  readonly guard: number | undefined;
  readonly request: HoldRequest;
  readonly address: BoundAddress;
}

export function isStream({ request }: Opening): boolean {
  return request.spec.type !== 'datagram';
}

/** Plain TCP is what shutdown(2) puts back to bound and silent. An AF_UNIX socket that was shut down stays so. */
export function isTcp({ fd, request }: Opening): boolean {
  if (!isInet(request.spec)) return false;
  return native.getOption(fd, constant('SOL_SOCKET'), constant('SO_PROTOCOL')) === constant('IPPROTO_TCP');
}

export function isListening({ fd }: Opening): boolean {
  return (native.sharing(fd) & Listening) !== 0;
}

/** Whether a service that sets SO_REUSEADDR could bind beside it at this moment. */
export function isLent({ fd, request }: Opening): boolean {
  return isInet(request.spec) && (native.sharing(fd) & (ReuseAddr | Listening)) === ReuseAddr;
}

/** True of a TCP socket at rest. Of another one it is not known. */
export function isResting({ fd, request }: Opening): boolean {
  const { spec, options, whileStopped } = request;
  if (spec.type !== 'stream' || whileStopped !== 'refuse' || !isInet(spec)) return false;
  return native.sharing(fd) === (options.reusePort ? ReusePort : 0);
}

/** Connections and datagrams come through. */
export function receive(socket: Opening): void {
  const { fd, guard, request } = socket;
  // listen(2) takes an int; systemd's default is the most that an unsigned one holds, and the kernel caps either.
  const backlog = Math.min(request.options.backlog, 0x7fffffff);
  if (isStream(socket)) native.listenHeld(fd, backlog, guard ?? -1);
  else native.detachDrop(fd);
}

/** Clients are refused, or wait, as WhileStopped= says. `replace` is for a socket that cannot be brought to that. */
export function refuse(socket: Opening, replace: () => void): void {
  const { fd, request } = socket;
  if (request.whileStopped === 'queue' && isStream(socket)) receive(socket);
  else if (isStream(socket)) unlisten(socket);
  else
    try {
      if (request.whileStopped === 'queue') native.detachDrop(fd);
      else native.attachDrop(fd);
    } catch (error) {
      if (isShortage(error)) throw error;
      replace(); // EPERM: the service has locked a filter of its own
    }
}

/** A service that got a duplicate may have made the address shareable for itself; it is shareable for nobody. */
export function closeSharing({ fd, request }: Opening): void {
  if (!isInet(request.spec)) return;
  setOption(fd, 'SO_REUSEADDR', false);
  setOption(fd, 'SO_REUSEPORT', request.options.reusePort);
}

export function lend({ fd }: Opening): void {
  setOption(fd, 'SO_REUSEADDR', true);
}

/**
 * A service can connect its duplicate, shut it down or filter it, and with it every other one. Undoes that, or has `replace`
 * bind another socket. Returns what had been done.
 */
export function undoMisuse({ fd, address, request }: Opening, replace: () => void): string[] {
  const done: string[] = [];
  try {
    // On a datagram socket at rest it is ours.
    if (native.detachDrop(fd) && request.spec.type !== 'datagram') done.push('had a filter of the service');
    if (native.disconnect(fd)) {
      applyBindOptions(fd, address, request.options);
      done.push('was connected or shut down by the service');
    }
  } catch (error) {
    if (isShortage(error)) throw error;
    // SO_LOCK_FILTER, or an AF_UNIX stream that was connected: there is no way back.
    replace();
    return [...done, `was left unusable by the service (${messageOf(error)}) and had to be replaced`];
  }
  if ((native.pollNow(fd) & constant('POLLRDHUP')) !== 0) {
    replace();
    done.push('was shut down by the service and had to be replaced');
  }
  return done;
}

/**
 * SO_REUSEADDR has gone off while the socket still listened, so that there is no moment in which it could be shared: not
 * even by a bind(2) that saw it on before and would look at the state only now.
 */
function unlisten(socket: Opening): void {
  if (!isTcp(socket) || !isListening(socket)) return;
  native.outwaitBinds(socket.fd);
  native.shutdownRead(socket.fd);
}

function setOption(fd: number, option: string, value: boolean): void {
  native.setOption(fd, constant('SOL_SOCKET'), constant(option), Number(value));
}
