import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Berthd } from '../support/berthd.js';
import { freePort, randomLoopback } from '../support/sockets.js';
import { exchange } from '../support/talk.js';

interface Report {
  readonly sockets: readonly {
    readonly reservation: string;
    readonly skipped: string | null;
    readonly attempts: number;
    readonly taken: readonly { readonly user: string; readonly options: readonly string[] }[];
  }[];
  readonly tried: { readonly users: readonly string[] };
  readonly taken: boolean;
}

describe('berth verify', () => {
  it('attacks everything that is held, gets nothing, and leaves everything as it was', async (t) => {
    const port = freePort();
    const host = randomLoopback();
    const berthd = new Berthd(t, {});
    const path = `${berthd.directory}/x.sock`;
    berthd.write({
      a: `[Socket]\nListenStream=${port}\nListenDatagram=${port}\nListenStream=${path}\n[Reservation]\nHandoff=exec\n`,
      b: `[Socket]\nListenStream=${host}:${freePort()}\nListenStream=@berth-${port}\n[Reservation]\nHandoff=none\n`,
    });
    await berthd.logs(/Holding/);
    await berthd.berth(['reload']);
    const before = await berthd.status('a');
    const { status, out } = await berthd.berth(['verify', '--json']);
    const report = JSON.parse(out) as Report;
    assert.equal(status, 0, out);
    assert.equal(report.taken, false);
    assert.deepEqual(
      report.sockets.map(({ reservation }) => reservation),
      ['a', 'a', 'a', 'b', 'b'],
    );
    assert.ok(report.sockets.every(({ attempts, skipped }) => attempts > 0 && skipped === null));
    assert.equal(report.tried.users.length, process.geteuid?.() === 0 ? 2 : 1);
    assert.deepEqual(await berthd.status('a'), before);
    assert.ok(existsSync(path));
    const text = await berthd.berth(['verify', 'b']);
    assert.match(text.out, /nothing could be taken\n$/);
    assert.doesNotMatch(text.out, /^. a:/m);
  });

  it('gets nothing while a service listens', async (t) => {
    const port = freePort();
    const berthd = await Berthd.start(t, {
      a: `[Socket]\nListenStream=${port}\n[Reservation]\nHandoff=exec\n`,
    });
    const service = berthd.serve('a', ['sleep', '1000']);
    await berthd.reaches('a', 'active');
    assert.equal((await berthd.berth(['verify'])).status, 0);
    service.kill('SIGKILL');
  });

  it('says exactly what could be taken of a socket that its file makes shareable', async (t) => {
    const berthd = await Berthd.start(t, {
      a: `[Socket]\nListenDatagram=${freePort()}\nReusePort=yes\n[Reservation]\nHandoff=exec\n`,
    });
    const { status, out } = await berthd.berth(['verify', '--json']);
    assert.equal(status, 1);
    const { taken } = (JSON.parse(out) as Report).sockets[0] ?? { taken: [] };
    assert.ok(taken.length > 0);
    assert.ok(taken.every(({ options }) => options.includes('SO_REUSEPORT')));
    const text = await berthd.berth(['verify']);
    assert.equal(text.status, 1);
    assert.match(text.out, /taken by \S+: .*SO_REUSEPORT\n/);
  });

  it('says of a socket that is lent at this moment that it is', async (t) => {
    const berthd = await Berthd.start(t, {
      a: `[Socket]\nListenStream=${freePort()}\n[Reservation]\nHandoff=lend\n`,
    });
    // This process is the claimant, and has the loan until it says that it is done.
    await exchange(
      berthd.control,
      JSON.stringify({ method: 'Claim', parameters: { name: 'a', form: 'unit' } }),
    );
    const { status, out } = await berthd.berth(['verify']);
    assert.equal(status, 0);
    assert.match(out, /a: tcp \*:\d+: lent to its service at this moment/);
  });

  it('says of a socket that is not held that it is not, and does not try it', async (t) => {
    const host = randomLoopback();
    const port = freePort();
    const berthd = await Berthd.start(t, {
      a: `[Socket]\nListenStream=${host}:${port}\n[Reservation]\nHandoff=exec\n`,
      b: `[Socket]\nListenStream=0.0.0.0:${port}\n[Reservation]\nHandoff=exec\n`,
    });
    const { status, out } = await berthd.berth(['verify', '--json']);
    assert.equal(status, 4);
    const report = JSON.parse(out) as Report;
    assert.match(report.sockets[1]?.skipped ?? '', /^not held: cannot bind/);
    assert.equal(report.sockets[1]?.attempts, 0);
    assert.equal((await berthd.berth(['verify', 'nosuch'])).status, 3);
  });
});
