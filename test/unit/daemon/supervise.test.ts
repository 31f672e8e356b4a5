import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { superviseProcess } from '../../../src/daemon/supervise.js';
import type { ProcessSupervision } from '../../../src/daemon/supervise.js';
import { native } from '../../../src/native/index.js';
import { openFds } from '../../support/files.js';
import { Child } from '../../support/processes.js';

/** A process that lives until it is killed, followed for two sockets that nobody has. */
function follow(t: TestContext): { child: Child; followed: ProcessSupervision; ended: Promise<void> } {
  const child = new Child(t, 'cat', []);
  const pidfd = native.pidfdOpen(child.pid);
  assert.ok(pidfd !== undefined);
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { child, followed: superviseProcess(pidfd, new Set([1, 2]), end), ended };
}

describe('superviseProcess', () => {
  it('follows a process while it lives, for the sockets that it was told', async (t) => {
    const { child, followed, ended } = follow(t);
    assert.equal(followed.follows([2, 1]), true);
    for (const others of [[], [1], [1, 3], [1, 2, 3]]) assert.equal(followed.follows(others), false);
    child.kill('SIGKILL');
    await ended;
    assert.equal(followed.follows([1, 2]), false);
  });

  it('knows of an end before the loop does', (t) => {
    const { child, followed } = follow(t);
    child.kill('SIGKILL');
    // No event can come to be told in this turn of the loop.
    const deadline = performance.now() + 10_000;
    while (followed.follows([1, 2])) assert.ok(performance.now() < deadline);
    followed.close();
  });

  it('follows nobody once it is closed, and leaves nothing open', (t) => {
    const child = new Child(t, 'cat', []);
    const before = openFds().size;
    const pidfd = native.pidfdOpen(child.pid);
    assert.ok(pidfd !== undefined);
    const followed = superviseProcess(pidfd, new Set(), () => undefined);
    assert.equal(followed.follows([]), true);
    followed.close();
    assert.equal(followed.follows([]), false);
    assert.equal(openFds().size, before);
  });
});
