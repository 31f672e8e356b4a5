import { usersOfSockets } from '../systemd/processes.js';

interface Search {
  readonly inodes: ReadonlySet<number>;
  readonly found: (pids: readonly number[]) => void;
}

/**
 * A look through /proc takes milliseconds, in which no claim is served. However many claimants come and go, berthd gives
 * one part in this many of its time to it: the first end is seen to at once, those that follow closely share a look.
 */
const share = 10;

const waiting = new Set<Search>();
let timer: NodeJS.Timeout | undefined;
let notBefore = 0;

/**
 * Tells, not before the next turn of the loop, which processes but berthd itself have one of these sockets open. No event
 * tells of that: a descriptor that was inherited or passed on is seen only where it is.
 */
export function searchHeirs(
  inodes: ReadonlySet<number>,
  found: (pids: readonly number[]) => void,
): { close(): void } {
  const search = { inodes, found };
  waiting.add(search);
  timer ??= setTimeout(look, notBefore - performance.now());
  return {
    close: () => {
      waiting.delete(search);
      if (waiting.size > 0) return;
      clearTimeout(timer);
      timer = undefined;
    },
  };
}

function look(): void {
  const searches = [...waiting];
  waiting.clear();
  timer = undefined;
  const start = performance.now();
  const holders = usersOfSockets(new Set(searches.flatMap(({ inodes }) => [...inodes])), process.pid);
  const end = performance.now();
  notBefore = end + (end - start) * (share - 1);
  for (const { inodes, found } of searches) {
    const pids = new Set([...inodes].flatMap((inode) => holders.get(inode) ?? []));
    found([...pids]);
  }
}
