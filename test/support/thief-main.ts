import { closeSync } from 'node:fs';
import { isSystemError } from '../../src/model/errors.js';
import { native } from '../../src/native/index.js';
import { openSocket, set, type Kind } from './sockets.js';

/**
 * A thief as a process of its own: tries without a pause to bind (and listen on) the port of its arguments. Standard
 * input's end stops it; then it prints what it did. A thing that it got it keeps for a moment only.
 */
interface Attempt {
  readonly kind: Kind;
  readonly host: string;
  readonly options: readonly string[];
}

const [portText = '', attemptsText = ''] = process.argv.slice(2);
const port = Number(portText);
const attempts = JSON.parse(attemptsText) as Attempt[];
const counts = { attempts: 0, binds: 0, listens: 0, errors: {} as Record<string, number> };

function attempt({ kind, host, options }: Attempt): void {
  const family = host.includes(':') ? 'inet6' : 'inet';
  const fd = openSocket(kind, family);
  counts.attempts++;
  try {
    for (const option of options) set(fd, option, true);
    native.bind(fd, { family, host, port });
    counts.binds++;
    if (kind === 'datagram') return;
    native.listen(fd, 1);
    counts.listens++;
    // Long enough for the other side to meet it.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    counts.errors[error.code] = (counts.errors[error.code] ?? 0) + 1;
  } finally {
    closeSync(fd);
  }
}

function batch(): void {
  for (let i = 0; i < 200; i++) for (const one of attempts) attempt(one);
  setImmediate(batch);
}

process.stdin.on('end', () => {
  process.stdout.write(`${JSON.stringify(counts)}\n`, () => process.exit(0));
});
process.stdin.resume();
attempts.forEach(attempt);
process.stdout.write('ready\n');
batch();
