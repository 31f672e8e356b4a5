import { processesWithSockets } from '../systemd/processes.js';

interface Search {
  readonly inodes: ReadonlySet<number>;
  readonly found: (pids: readonly number[]) => void;
}

/** A look through /proc takes milliseconds, in which no claim is served: those that are due at once share one. */
const delayMs = 20;
/** The share of its time that berthd gives to it, however many claimants come and go: one part in this many. */
const share = 10;

const waiting = new Set<Search>();
let timer: NodeJS.Timeout | undefined;
let notBefore = 0;

/**
 * Tells, a moment later, which processes but berthd itself have one of these sockets open. Nothing tells of that by
 * itself: a descriptor that was inherited or passed on is seen only where it is.
 */
export function searchHeirs(
  inodes: ReadonlySet<number>,
  found: (pids: readonly number[]) => void,
): { close(): void } {
  const search = { inodes, found };
  waiting.add(search);
  timer ??= setTimeout(look, Math.max(delayMs, notBefore - performance.now()));
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
  const holders = processesWithSockets(new Set(searches.flatMap(({ inodes }) => [...inodes])));
  const end = performance.now();
  notBefore = end + (end - start) * (share - 1);
  for (const { inodes, found } of searches) {
    const pids = new Set([...inodes].flatMap((inode) => holders.get(inode) ?? []));
    pids.delete(process.pid);
    found([...pids]);
  }
}
