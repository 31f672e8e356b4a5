import type { SupervisedCall } from '../native/calls.js';
import type { SocketFacts } from '../native/index.js';
import { constant } from '../native/index.js';
import type { HeldPath } from './held-path.js';
import type { HeldSocket } from './held-socket.js';

/** sizeof(struct sockaddr_un), and where its path begins. */
const maxLength = 110;
const start = 2;

/** The path that bind(2) is given (unix(7)); undefined where it is another address, or a path that no file can ask for. */
export function parsePath(bytes: Buffer): string | undefined {
  if (bytes.length <= start || bytes.length > maxLength) return undefined;
  if (bytes.readUInt16LE(0) !== constant('AF_UNIX')) return undefined;
  const end = bytes.indexOf(0, start);
  const name = bytes.subarray(start, end < 0 ? bytes.length : end);
  const text = name.toString('utf8');
  return name.length > 0 && Buffer.from(text).equals(name) ? text : undefined;
}

/**
 * Binds a program's socket to a path in the place of the held one. 0 or an errno; undefined, with nothing done, when it asks
 * for another path, or for one that it may not have: then the kernel has an error for it. `slow` when that cannot be told.
 */
export function servePath(
  call: SupervisedCall,
  { fd, facts, path }: { readonly fd: number; readonly facts: SocketFacts; readonly path: string },
  held: readonly HeldSocket[],
  program: object,
): number | 'slow' | undefined {
  if (facts.domain !== constant('AF_UNIX')) return undefined;
  const place = findPlace(call.pid, path, facts.type, held);
  if (place === undefined || place === 'slow') return place;
  if (facts.name.length <= start) return place.admit(fd, path, program, call.slot) ? 0 : undefined;
  if (call.begun && parsePath(facts.name) === path && place.finish(fd, program)) return 0;
  // It is bound already. The kernel would look at the path first, where the held socket is.
  return place.isTaken(program) ? undefined : constant('EINVAL');
}

function findPlace(
  pid: number,
  path: string,
  type: number,
  held: readonly HeldSocket[],
): HeldPath | 'slow' | undefined {
  for (const { path: place } of held) {
    const meant = place?.isMeant(pid, path, type);
    if (meant === true) return place;
    if (meant === undefined && place !== undefined) return 'slow';
  }
  return undefined;
}
