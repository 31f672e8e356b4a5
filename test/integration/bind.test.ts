import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { Berthd, programs } from '../support/berthd.js';
import { inet, inet6 } from '../support/holds.js';
import { root, run, Child, until, type Exit } from '../support/processes.js';
import { requiresRoot } from '../support/requirements.js';
import { freePort, steal } from '../support/sockets.js';

const cases = `${root}build/bin/bind-cases`;
const binder = `${root}build/bin/binder`;

/** A reservation of ports, TCP and UDP on all addresses, in the mode bind. */
function file(ports: readonly number[], more = ''): string {
  const sockets = ports.map((port) => `ListenStream=${port}\nListenDatagram=${port}\n`);
  return `[Socket]\n${sockets.join('')}${more}[Reservation]\nHandoff=bind\n`;
}

async function berthd(t: TestContext, ports = [freePort()]): Promise<{ daemon: Berthd; port: number }> {
  return { daemon: await Berthd.start(t, { app: file(ports) }), port: ports[0] ?? 0 };
}

function claim(t: TestContext, daemon: Berthd, command: readonly string[], names = ['app']): Promise<Exit> {
  return run(t, programs.claim, ['--control', daemon.control, '--bind', ...names, '--', ...command]);
}

function serve(t: TestContext, daemon: Berthd, command: readonly string[]): Child {
  return new Child(t, programs.claim, ['--control', daemon.control, '--bind', 'app', '--', ...command]);
}

describe('berth-claim --bind NAME... -- COMMAND', () => {
  it('leaves bind(2) and listen(2) what they are, in every case', async (t) => {
    const { out: count } = await run(t, cases, ['--count']);
    const free = new Set<number>();
    while (free.size < 2 * Number(count)) free.add(freePort());
    const [plain, reserved] = [[...free].slice(Number(count)), [...free].slice(0, Number(count))];
    const { daemon } = await berthd(t, reserved);
    const expected = await run(t, cases, plain.map(String));
    const before = daemon.fds().size;
    const { out, err, status } = await claim(t, daemon, [cases, ...reserved.map(String)]);
    assert.deepEqual({ err, status }, { err: '', status: 0 });
    assert.deepEqual(out.split('\n'), expected.out.split('\n'));
    assert.ok(Number(count) >= 40);
    await daemon.reaches('app', 'held');
    // The journal is kept, and what tells of the end of a look.
    assert.equal(daemon.fds().size, before + 2);
  });

  it('is followed until its last process has ended, and then the port is held as before', async (t) => {
    const { daemon, port } = await berthd(t);
    // What binds and listens is a grandchild, whose parent is gone.
    const child = serve(t, daemon, ['sh', '-c', `${binder} serve ${port} 2>&1 & echo $!`]);
    await child.prints('out', /listening/);
    const { claimants } = await daemon.reaches('app', 'active');
    assert.deepEqual(
      claimants.map(({ pid }) => pid),
      [child.pid],
    );
    assert.deepEqual(steal('stream', inet('0.0.0.0', port)), []);
    assert.deepEqual(steal('datagram', inet6('::', port)), []);
    process.kill(Number(/^(\d+)$/m.exec(child.out)?.[1]), 'SIGKILL');
    await daemon.reaches('app', 'held');
    for (const kind of ['stream', 'datagram'] as const)
      for (const address of [inet('0.0.0.0', port), inet('127.0.0.1', port), inet6('::', port)])
        assert.deepEqual(steal(kind, address), []);
  });

  it('serves several reservations at once, and each claim by itself', async (t) => {
    const [one, two] = [freePort(), freePort()];
    const daemon = await Berthd.start(t, { one: file([one]), two: file([two]) });
    const both = await claim(t, daemon, [binder, 'try', String(one), String(two)], ['one', 'two']);
    assert.equal(both.out, 'ok\nok\n');
    const single = await claim(t, daemon, [binder, 'try', String(one), String(two)], ['two']);
    assert.equal(single.out, 'EADDRINUSE\nok\n');
  });

  it('says what to reserve when a program asks for more than it may have', async (t) => {
    const port = freePort();
    const daemon = await Berthd.start(t, {
      app: `[Socket]\nListenStream=127.0.0.1:${port}\n[Reservation]\nHandoff=bind\n`,
    });
    const { out } = await claim(t, daemon, [binder, 'try', String(port)]);
    assert.equal(out, 'EADDRINUSE\n');
    await daemon.logs(
      new RegExp(
        `app: pid \\d+ binder cannot bind beside tcp 127.0.0.1:${port}: it asks for all addresses: reserve 0.0.0.0 and the port`,
      ),
    );
  });

  it('lets an ordinary user have a privileged port', async (t) => {
    if (!requiresRoot(t)) return;
    const daemon = await Berthd.start(t, { app: file([979]) });
    const { out, err } = await run(t, programs.claim, [
      '--control',
      daemon.control,
      '--bind',
      'app',
      '--',
      'setpriv',
      '--reuid=65534',
      '--clear-groups',
      binder,
      'try',
      '979',
      '978',
    ]);
    assert.deepEqual({ out, err }, { out: 'ok\nEACCES\n', err: '' });
  });

  it('runs the command as the mode exec does, without descriptors', async (t) => {
    const { daemon } = await berthd(t);
    const list = ['ls', '/proc/self/fd'] as const;
    assert.equal((await claim(t, daemon, list)).out, (await run(t, list[0], list.slice(1))).out);
    const script = 'echo $0 "${LISTEN_FDS-none}"; grep -E "^Sig(Blk|Ign)" /proc/self/status';
    const line = ['--control', daemon.control, '--argv0', 'zero', '--bind', 'app', '--', 'sh', '-c', script];
    const { out } = await run(t, 'env', [
      '--ignore-signal=PIPE',
      '--block-signal=USR1',
      programs.claim,
      ...line,
    ]);
    assert.match(out, /^zero none\nSigBlk:\t0{16}\nSigIgn:\t0{16}$/m);
    assert.equal((await claim(t, daemon, ['/nonexistent'])).status, 127);
    assert.equal((await claim(t, daemon, ['/etc/passwd'])).status, 126);
  });

  it('sets no_new_privs where it has no CAP_SYS_ADMIN, and only there', async (t) => {
    if (!requiresRoot(t)) return;
    const { daemon } = await berthd(t);
    const look = ['grep', '^NoNewPrivs:', '/proc/self/status'];
    assert.equal((await claim(t, daemon, look)).out, 'NoNewPrivs:\t0\n');
    const line = [programs.claim, '--control', daemon.control, '--bind', 'app', '--', ...look];
    const { out } = await run(t, 'setpriv', ['--bounding-set=-sys_admin', '--inh-caps=-all', ...line]);
    assert.equal(out, 'NoNewPrivs:\t1\n');
  });

  it('never runs the command when it is refused', async (t) => {
    const daemon = await Berthd.start(t, {
      app: file([freePort()]),
      other: `[Socket]\nListenStream=${freePort()}\n[Reservation]\nHandoff=exec\n`,
    });
    const refused = async (names: string[], pattern: RegExp) => {
      const { out, err, status } = await claim(t, daemon, ['echo', 'ran'], names);
      assert.deepEqual({ out, status }, { out: '', status: 125 });
      assert.match(err, pattern);
    };
    await refused(['nobody'], /cannot claim 'nobody': there is no reservation 'nobody'/);
    await refused(
      ['app', 'other'],
      /cannot claim 'app','other': 'other' has Handoff=exec: other.service needs ExecStart=berth-claim other -- /,
    );
    await refused(['a b'], /no name of a reservation/);
    const { err } = await daemon.claim('app', ['echo', 'ran']);
    assert.match(
      err,
      /'app' has Handoff=bind: app.service needs ExecStart=berth-claim --bind app -- COMMAND/,
    );
    const nested = [programs.claim, '--control', daemon.control, '--bind', 'app', '--', 'echo', 'ran'];
    assert.match((await claim(t, daemon, nested)).err, /supervised already/);
  });

  it('refuses another network namespace', async (t) => {
    if (!requiresRoot(t)) return;
    const { daemon, port } = await berthd(t);
    const line = [programs.claim, '--control', daemon.control, '--bind', 'app', '--', 'echo', 'ran'];
    const { out, err } = await run(t, 'unshare', ['--net', ...line]);
    assert.equal(out, '');
    assert.match(err, /has another network namespace than berthd/);
    // A socket of a namespace that it entered later is nobody's affair here.
    const later = await claim(t, daemon, ['unshare', '--net', binder, 'try', String(port)]);
    assert.equal(later.out, 'ok\n');
    assert.deepEqual(steal('stream', inet('127.0.0.1', port)), []);
  });

  it('outlives reservations that are taken out of the files', async (t) => {
    const { daemon, port } = await berthd(t);
    const child = serve(t, daemon, [binder, 'stdin']);
    child.write(`${port}\n`);
    await child.prints('out', /ok/);
    daemon.remove('app');
    assert.equal((await daemon.berth(['reload'])).status, 0);
    const other = freePort();
    child.write(`${other}\n`);
    await child.prints('out', /ok\nok/);
  });

  it('gives calls back to the kernel when its berthd ends', async (t) => {
    const { daemon } = await berthd(t);
    const child = serve(t, daemon, [binder, 'stdin']);
    await daemon.reaches('app', 'active');
    await daemon.stop('SIGKILL');
    child.write(`${freePort()}\n`);
    // There is no vault here, so nobody is left to ask.
    await child.prints('out', /ENOSYS/);
  });

  it('leaves nothing behind in berthd', async (t) => {
    const { daemon, port } = await berthd(t);
    await claim(t, daemon, ['true']);
    await daemon.reaches('app', 'held');
    const before = daemon.fds().size;
    for (let i = 0; i < 20; i++) await claim(t, daemon, [binder, 'try', String(port)]);
    await until(
      () => daemon.fds().size,
      (now) => now === before,
      'descriptors are left',
    );
  });
});
