import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { HeldSocket } from '../../../src/daemon/held-socket.js';
import { native } from '../../../src/native/index.js';
import { scratch } from '../../support/files.js';
import { request, spec } from '../../support/holds.js';
import { requiresRoot } from '../../support/requirements.js';
import { closing, connect, openSocket, outcome } from '../../support/sockets.js';

const at = (path: string) => ({ family: 'unix', path }) as const;

/** A hold for programs that bind by themselves, as it is taken over by a berthd after another that was killed. */
function orphan(t: TestContext, path: string): () => HeldSocket {
  const wanted = request(spec('stream', at(path)), {}, 'refuse', false, true);
  const before = HeldSocket.bind(wanted);
  return () => {
    const held = HeldSocket.adopt(wanted, before.fd);
    t.after(() => {
      held.close();
    });
    return held;
  };
}

describe('a berthd after one that was killed while it bound a program to a path', () => {
  it('brings to its end what was staged', (t) => {
    if (!requiresRoot(t)) return;
    const directory = scratch(t);
    const path = join(directory, 'socket');
    const adopt = orphan(t, path);
    const program = closing(t, openSocket('stream', 'unix'));
    const staging = join(directory, '.socket.berth-new', 'tmp');
    mkdirSync(staging, { recursive: true, mode: 0o700 });
    native.bind(program, at(join(staging, 'socket')));
    native.listen(program, 1);
    const held = adopt();
    assert.equal(held.path?.finish(program, {}), true);
    connect(t, 'stream', at(path));
    held.rest();
    assert.equal(
      outcome(() => connect(t, 'stream', at(path))),
      'ECONNREFUSED',
    );
    assert.deepEqual(readdirSync(directory), ['socket']);
  });

  it('knows what was done already, and puts the hold back at the end', (t) => {
    if (!requiresRoot(t)) return;
    const directory = scratch(t);
    const path = join(directory, 'socket');
    const adopt = orphan(t, path);
    const { ino } = statSync(path);
    renameSync(path, join(directory, '.socket.berth'));
    const program = closing(t, openSocket('stream', 'unix'));
    native.bind(program, at(path));
    const held = adopt();
    assert.equal(held.path?.isTaken({}), true, 'its owner lives');
    assert.equal(held.path.finish(program, held), true);
    assert.equal(held.path.isTaken(held), true);
    assert.equal(held.path.isTaken({}), false);
    assert.equal(held.leave(held), false);
    assert.equal(statSync(path).ino, ino);
    assert.deepEqual(readdirSync(directory), ['socket']);
  });

  it('finds nothing to end of a socket that is elsewhere', (t) => {
    if (!requiresRoot(t)) return;
    const path = join(scratch(t), 'socket');
    const adopt = orphan(t, path);
    const program = closing(t, openSocket('stream', 'unix'));
    native.bind(program, at(`${path}2`));
    assert.equal(adopt().path?.finish(program, {}), false);
  });
});
