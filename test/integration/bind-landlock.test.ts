import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Berthd, programs } from '../support/berthd.js';
import { scratch } from '../support/files.js';
import { Child, root, run, type Exit } from '../support/processes.js';
import { requires } from '../support/requirements.js';
import { freePort } from '../support/sockets.js';

const restricted = `${root}build/bin/restricted`;
const binder = `${root}build/bin/binder`;
const pathBinder = `${root}build/bin/path-binder`;

/** Landlock knows ports from version 4 on, and scopes from 6 on. */
async function requiresLandlock(t: TestContext, version: number): Promise<boolean> {
  const { out } = await run(t, restricted, ['abi']);
  return requires(
    t,
    Number(out) >= version,
    `Landlock of this kernel has version ${out.trim()}, not ${version}`,
  );
}

function berthd(t: TestContext, port: number, more = ''): Promise<Berthd> {
  const sockets = `ListenStream=${port}\nListenDatagram=${port}\n${more}`;
  return Berthd.start(t, { app: `[Socket]\n${sockets}[Reservation]\nHandoff=bind\n` });
}

function line(daemon: Berthd, command: readonly string[]): string[] {
  return ['--control', daemon.control, '--bind', 'app', '--', ...command];
}

function claim(t: TestContext, daemon: Berthd, command: readonly string[]): Promise<Exit> {
  return run(t, programs.claim, line(daemon, command));
}

describe('a supervised program that restricts itself by Landlock', () => {
  it('gets the error of the kernel for a port that it has denied itself', async (t) => {
    if (!(await requiresLandlock(t, 4))) return;
    const [port, other] = [freePort(), freePort()];
    const tries = [binder, 'try', String(port), String(other)];
    const plain = await run(t, restricted, ['tcp', ...tries]);
    assert.equal(plain.out, 'EACCES\nEACCES\n');
    const daemon = await berthd(t, port);
    const { out } = await claim(t, daemon, [restricted, 'tcp', ...tries]);
    assert.equal(out, plain.out);
    await daemon.logs(/app: pid \d+ restricted restricts itself \(Landlock\): nothing more is bound for it/);
    // The next one is another program.
    assert.equal((await claim(t, daemon, [binder, 'try', String(port)])).out, 'ok\n');
  });

  it('gets nothing more from berthd, whatever the sandbox is about, and other addresses as ever', async (t) => {
    if (!(await requiresLandlock(t, 6))) return;
    const [port, other] = [freePort(), freePort()];
    const path = join(scratch(t), 'socket');
    const daemon = await berthd(t, port, `ListenStream=${path}\n`);
    const { ino } = statSync(path);
    for (const what of [`tcp=${port}`, 'scope', 'sockets']) {
      const free = what.startsWith('tcp') ? 'EACCES' : 'ok';
      const tcp = await claim(t, daemon, [restricted, what, binder, 'try', String(port), String(other)]);
      assert.equal(tcp.out, `EADDRINUSE\n${free}\n`, what);
      const unix = await claim(t, daemon, [restricted, what, pathBinder, 'try', 'stream', path, `${path}2`]);
      assert.equal(unix.out.split('\n')[0], 'EADDRINUSE', what);
      assert.equal(statSync(path).ino, ino);
    }
  });

  it('keeps what it has bound before', async (t) => {
    if (!(await requiresLandlock(t, 4))) return;
    const port = freePort();
    const daemon = await berthd(t, port);
    const script = `${binder} serve ${port} & echo $!; read go; exec ${restricted} tcp ${binder} stdin`;
    const child = new Child(t, programs.claim, line(daemon, ['sh', '-c', script]));
    await child.prints('out', /listening/);
    child.write(`go\n${port}\n`);
    try {
      // A command in the background has another input, so it is the restricted one that reads.
      await child.prints('out', /EACCES/);
      const { out } = await run(t, 'ss', ['-Hltn', `sport = :${port}`]);
      assert.match(out, /LISTEN/);
    } finally {
      // Not of this process, and it would keep the pipe open.
      process.kill(Number(/^(\d+)$/m.exec(child.out)?.[1]), 'SIGKILL');
    }
  });
});

describe('a berth-claim that is restricted by Landlock already', () => {
  it('refuses to have anything bound where TCP ports may not be', async (t) => {
    if (!(await requiresLandlock(t, 4))) return;
    const port = freePort();
    const daemon = await berthd(t, port);
    const within = [programs.claim, ...line(daemon, ['echo', 'ran'])];
    for (const what of ['tcp', `tcp=${port}`]) {
      const { out, err, status } = await run(t, restricted, [what, ...within]);
      assert.deepEqual({ out, status }, { out: '', status: 125 });
      assert.match(
        err,
        /this process may not bind TCP ports \(Landlock\), so berthd must not bind any for it/,
      );
    }
  });

  it('goes on in a sandbox that does not forbid it', async (t) => {
    if (!(await requiresLandlock(t, 6))) return;
    const port = freePort();
    const daemon = await berthd(t, port);
    const within = [programs.claim, ...line(daemon, [binder, 'try', String(port)])];
    for (const what of ['scope', 'sockets'])
      assert.equal((await run(t, restricted, [what, ...within])).out, 'ok\n', what);
  });
});
