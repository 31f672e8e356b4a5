import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { native } from '../../../src/native/index.js';
import {
  commandOf,
  describeProcess,
  nameProcess,
  processesWithSockets,
} from '../../../src/systemd/processes.js';
import { openFds, scratch } from '../../support/files.js';
import { inet } from '../../support/holds.js';
import { Child } from '../../support/processes.js';
import { requiresRoot } from '../../support/requirements.js';
import { freePort, randomLoopback, serve } from '../../support/sockets.js';

describe('commandOf', () => {
  it('names a process, without what could break a line of a log', async (t) => {
    const child = new Child(t, process.execPath, [
      '-e',
      'process.title = "a\\nb\\x1b[31m"; console.log(1); setInterval(() => 0, 1e6)',
    ]);
    await child.prints('out', /1/);
    assert.equal(commandOf(child.pid), 'a?b?[31m');
    assert.equal(
      describeProcess({ ...nameProcess(child.pid), unit: 'x.service' }),
      `pid ${child.pid} a?b?[31m (x.service)`,
    );
  });

  it('is a question mark when there is no such process', () => {
    assert.equal(commandOf(2 ** 30), '?');
    assert.equal(describeProcess(nameProcess(2 ** 30)), `pid ${2 ** 30} ?`);
  });
});

describe('usersOfSockets', () => {
  it('leaves systemd out, and its children before they are another program', async (t) => {
    if (!requiresRoot(t)) return;
    const systemd = `${scratch(t)}/systemd`;
    copyFileSync('/bin/sh', systemd);
    const fd = serve(t, 'datagram', inet(randomLoopback(), freePort()));
    const inode = native.inode(fd);
    const module = new URL('../../../src/systemd/processes.js', import.meta.url).href;
    const print = `
      import { commandOf, usersOfSockets } from '${module}';
      const users = usersOfSockets([${inode}], process.pid).get(${inode}) ?? [];
      console.log('users:', ...users.map(commandOf));`;
    // All that it starts has the socket. The last command is not to take its place.
    const script = `sleep 60 & "$0" -c 'echo child; kill -STOP $$' & read -r _; "$NODE" --input-type=module -e "$PRINT"; read -r _`;
    const child = new Child(
      t,
      'unshare',
      ['--pid', '--fork', '--mount-proc', '--kill-child', systemd, '-c', script],
      { stdio: ['pipe', 'pipe', 'pipe', fd], env: { NODE: process.execPath, PRINT: print } },
    );
    await child.prints('out', /child/);
    child.write('look\n');
    await child.prints('out', /users: .*\n/);
    assert.equal(child.out, 'child\nusers: sleep\n');
    child.closeInput();
    const { err } = await child.exit;
    assert.equal(err, '');
  });
});

describe('processesWithSockets', () => {
  it('looks at no more descriptors than it may', (t) => {
    const fd = serve(t, 'datagram', inet(randomLoopback(), freePort()));
    const inode = Number(/\d+/.exec(openFds().get(fd) ?? '')?.[0]);
    assert.equal(processesWithSockets([inode], 0, 10_000_000).size, 1);
    // The first one is of the first process in /proc, or of standard input of this one.
    assert.equal(processesWithSockets([inode], 0, 1).size, 0);
  });

  it('finds who has a socket open, each once', async (t) => {
    const fd = serve(t, 'datagram', inet(randomLoopback(), freePort()));
    const inode = Number(/\d+/.exec(openFds().get(fd) ?? '')?.[0]);
    assert.deepEqual(processesWithSockets(new Set([inode])), new Map([[inode, [process.pid]]]));
    const child = new Child(t, 'sh', ['-c', 'echo up; read x'], { stdio: ['pipe', 'pipe', 'pipe', fd, fd] });
    await child.prints('out', /up/);
    assert.deepEqual(
      processesWithSockets(new Set([inode, inode + 1e9])),
      new Map([[inode, [process.pid, child.pid].sort((a, b) => a - b)]]),
    );
    child.closeInput();
    await child.exit;
    assert.deepEqual(processesWithSockets(new Set([inode])), new Map([[inode, [process.pid]]]));
    assert.deepEqual(processesWithSockets(new Set()), new Map());
  });
});
