import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { Berthd, programs, type BerthdOptions } from '../support/berthd.js';
import { inet, inet6 } from '../support/holds.js';
import { Child, root, run, until } from '../support/processes.js';
import { requiresRoot } from '../support/requirements.js';
import { freePort, steal } from '../support/sockets.js';

const granted = /"mode":"bind"/;
const refused =
  '{"error":"BadMessage","parameters":{"message":"the listener of a seccomp filter was expected"}}';

/** A second, or as much more as the sanitizers take. */
const patience = 1000 * Number(process.env['BERTH_SLOWDOWN'] ?? 1);

/** A berthd to which what is asked for is sent in the place of a listener, and which must be as before it afterwards. */
class Attacked {
  private constructor(
    readonly t: TestContext,
    readonly daemon: Berthd,
    readonly port: number,
    readonly foreign: number,
  ) {}

  static async start(t: TestContext, options: BerthdOptions = {}): Promise<Attacked> {
    const [port, foreign] = [freePort(), freePort()];
    const file = (each: number, handoff: string): string =>
      `[Socket]\nListenStream=${each}\n[Reservation]\nHandoff=${handoff}\n`;
    const daemon = await Berthd.start(t, { own: file(port, 'bind'), other: file(foreign, 'exec') }, options);
    const attacked = new Attacked(t, daemon, port, foreign);
    await attacked.serves();
    return attacked;
  }

  send(kind: string): Child {
    const { daemon, port } = this;
    return new Child(this.t, `${root}build/bin/listener`, [daemon.control, 'own', String(port), kind]);
  }

  /** Another claim is served, and within a second. */
  async served(): Promise<void> {
    const start = performance.now();
    const { status, err } = await this.daemon.claim('other', ['true']);
    assert.deepEqual([status, err], [0, '']);
    const took = performance.now() - start;
    assert.ok(took < patience, `a claim took ${took} ms`);
  }

  /** So is that of a program which is what it says, and nobody else has got the port. */
  async serves(): Promise<void> {
    const { daemon, port, foreign, t } = this;
    await this.served();
    const argv = [
      '--control',
      daemon.control,
      '--bind',
      'own',
      '--',
      `${root}build/bin/binder`,
      'try',
      `${port}`,
    ];
    const { out, err } = await run(t, programs.claim, argv);
    assert.deepEqual([out, err], ['ok\n', '']);
    for (const name of ['own', 'other']) await daemon.reaches(name, 'held');
    for (const each of [port, foreign])
      for (const address of [inet('0.0.0.0', each), inet('127.0.0.1', each), inet6('::', each)])
        assert.deepEqual(steal('stream', address), []);
  }

  /** Runs `attack`, after which berthd has the sockets and as many descriptors as before. */
  async survives(attack: () => Promise<void>): Promise<void> {
    const { daemon } = this;
    const names = async () => (await daemon.list()).map(({ name }) => name).sort();
    const fds = daemon.fds().size; // some may be about to be closed
    const before = [await names(), await this.#sockets()];
    await attack();
    await this.serves();
    await until(
      () => daemon.fds().size,
      (now) => now <= fds,
      `descriptors, of ${fds}`,
    );
    assert.deepEqual([await names(), await this.#sockets()], before);
    assert.equal(daemon.child.ended, false);
  }

  async #sockets(): Promise<unknown[]> {
    const all = await Promise.all(['own', 'other'].map((name) => this.daemon.status(name)));
    return all.map(({ sockets }) => sockets.map(({ inode }) => inode));
  }
}

describe('in the place of the listener of a seccomp filter', () => {
  it('anything else, or nothing, or two of them are a clear error', async (t) => {
    const attacked = await Attacked.start(t);
    const kinds = [
      'nothing',
      'file',
      'path',
      'directory',
      'device',
      'pipe',
      'socket',
      'control',
      'epoll',
      'event',
    ];
    for (const kind of [...kinds, 'memory', 'pidfd', 'two'])
      await attacked.survives(async () => {
        const sender = attacked.send(kind);
        await sender.prints('out', /\n/);
        assert.equal(sender.out.split('\n', 1)[0], refused, kind);
        // Its own filter has nobody who listens any more.
        sender.closeInput();
        await sender.exit;
      });
    for (let sent = 0; sent < 100; sent++) {
      const sender = attacked.send(kinds[sent % kinds.length] ?? '');
      sender.closeInput();
      assert.equal((await sender.exit).out, `${refused}\n`);
    }
    await attacked.survives(() => Promise.resolve());
  });

  it('that of a program which has ended: the claim ends as well', async (t) => {
    const attacked = await Attacked.start(t);
    await attacked.survives(async () => {
      const sender = attacked.send('dead');
      await sender.prints('out', granted);
      await attacked.daemon.reaches('own', 'held');
      sender.closeInput();
      await sender.exit;
    });
  });

  for (const [kind, said] of [
    // Who may claim may have another process bind for it, as it could pass a socket on.
    ['another', 'bound'],
    ['twice', 'bound'],
    // Berthd has the kernel do it, which has another answer for who did not claim.
    ['other-call', 'EADDRINUSE'],
  ] as const)
    it(`one of kind '${kind}': its program's bind(2) says ${said}`, async (t) => {
      if (!requiresRoot(t)) return;
      const attacked = await Attacked.start(t);
      await attacked.survives(async () => {
        const sender = attacked.send(kind);
        await sender.prints('out', new RegExp(`^${said}$`, 'm'));
        for (let claims = 0; claims < 20; claims++) await attacked.served();
        sender.closeInput();
        await sender.exit;
      });
    });

  it('one whose program has another network: what it binds is there', async (t) => {
    if (!requiresRoot(t)) return;
    const attacked = await Attacked.start(t);
    await attacked.survives(async () => {
      const sender = attacked.send('elsewhere');
      await sender.prints('out', /^bound$/m);
      assert.deepEqual(steal('stream', inet('0.0.0.0', attacked.port)), []);
      sender.closeInput();
      await sender.exit;
    });
  });

  it('one whose calls others take as well: berthd waits for none of them', async (t) => {
    if (!requiresRoot(t)) return;
    const attacked = await Attacked.start(t);
    await attacked.survives(async () => {
      const sender = attacked.send('contended');
      await sender.prints('out', /^EADDRINUSE$/m);
      for (let claims = 0; claims < 200; claims++) await attacked.served();
      sender.closeInput();
      await sender.exit;
    });
  });

  it('one whose call another takes when berthd has seen it: berthd goes on', async (t) => {
    if (!requiresRoot(t)) return;
    const LD_PRELOAD = [process.env['LD_PRELOAD'] ?? [], `${root}build/bin/late.so`].flat().join(' ');
    const attacked = await Attacked.start(t, { env: { LD_PRELOAD } });
    await attacked.survives(async () => {
      const sender = attacked.send('taken');
      // Whoever was first.
      await sender.prints('out', /^(EADDRINUSE|bound)$/m);
      for (let claims = 0; claims < 20; claims++) await attacked.served();
      sender.closeInput();
      await sender.exit;
    });
  });
});
