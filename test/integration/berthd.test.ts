import assert from 'node:assert/strict';
import { existsSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { native } from '../../src/native/index.js';
import { Berthd, Place, programs } from '../support/berthd.js';
import { scratch } from '../support/files.js';
import { inet } from '../support/holds.js';
import { Child, run, until } from '../support/processes.js';
import { requiresRoot } from '../support/requirements.js';
import { connect, freePort, outcome, randomLoopback, receiveText, serve, steal } from '../support/sockets.js';
import { untilReadable } from '../support/talk.js';

const stream = (address: string) => `[Socket]\nListenStream=${address}\n[Reservation]\nHandoff=exec\n`;
const local = () => `${randomLoopback()}:${freePort()}`;

describe('berthd', () => {
  it('holds all that can be held, and says what is wrong with the rest', async (t) => {
    const good = inet(randomLoopback(), freePort());
    const daemon = await Berthd.start(t, {
      bad: '[Socket]\nListenStream=99999\nBogus=1\n',
      empty: '[Reservation]\nHandoff=exec\n',
      good: stream(`${good.host}:${good.port}`),
    });
    assert.match(daemon.child.err, /bad\.conf:2: ListenStream: .*\n/);
    assert.match(daemon.child.err, /bad\.conf:3: Bogus: unknown key/);
    assert.match(daemon.child.err, /empty\.conf:1: nothing to hold/);
    assert.match(daemon.child.err, /Holding 1 socket of 1 reservation\n/);
    assert.deepEqual(steal('stream', good), []);
    assert.equal((await daemon.claim('good', ['true'])).status, 0);
    const refused = await daemon.claim('bad', ['true']);
    assert.deepEqual(
      [refused.status, refused.err],
      [125, "berth-claim: cannot claim 'bad': there is no reservation 'bad'\n"],
    );
  });

  it('names who has a port, serves nothing of it meanwhile, and holds it as soon as they have gone', async (t) => {
    const address = inet(randomLoopback(), freePort());
    const owner = new Child(t, process.execPath, [
      '-e',
      `process.title = 'squatter';
       require('node:net').createServer().listen(${address.port}, '${address.host}', () => console.log('up'));`,
    ]);
    await owner.prints('out', /up/);
    const daemon = await Berthd.start(t, {
      app: `[Socket]\nListenStream=${local()}\nListenStream=${address.host}:${address.port}\n[Reservation]\nHandoff=exec\n`,
    });
    const message = `cannot bind 'tcp ${address.host}:${address.port}': address already in use (EADDRINUSE, held by pid ${owner.pid} squatter`;
    assert.ok(daemon.child.err.includes(message), daemon.child.err);
    const { state, sockets } = await daemon.status('app');
    assert.deepEqual([state, sockets.map((socket) => socket.state)], ['failed', ['held', 'failed']]);
    assert.ok(sockets[1]?.error?.includes(message));
    const { status, err } = await daemon.claim('app', ['true']);
    assert.equal(status, 125);
    assert.ok(err.includes(message), err);
    const start = process.hrtime.bigint();
    owner.kill('SIGKILL');
    await daemon.logs(/No longer so: app: cannot bind/);
    assert.ok(
      process.hrtime.bigint() - start < 2_000_000_000n,
      'told by an event, not by the next of its tries',
    );
    assert.equal((await daemon.status('app')).state, 'held');
    assert.deepEqual(steal('stream', address), []);
  });

  it('names the one that is in the way, not another on the same port', async (t) => {
    const port = freePort();
    const [first, second] = [randomLoopback(), randomLoopback()];
    const listen = (host: string) =>
      new Child(t, process.execPath, [
        '-e',
        `require('node:net').createServer().listen(${port}, '${host}', () => console.log('up'));`,
      ]);
    const other = listen(first);
    await other.prints('out', /up/);
    const culprit = listen(second);
    await culprit.prints('out', /up/);
    const daemon = await Berthd.start(t, { app: stream(`${second}:${port}`) });
    assert.match(daemon.child.err, new RegExp(`held by pid ${culprit.pid} `));
  });

  it('names who serves a path', async (t) => {
    const path = join(scratch(t), 'socket');
    const owner = new Child(t, process.execPath, [
      '-e',
      `require('node:net').createServer().listen('${path}', () => console.log('up'));`,
    ]);
    await owner.prints('out', /up/);
    const daemon = await Berthd.start(t, { app: stream(path) });
    assert.match(daemon.child.err, new RegExp(`cannot bind 'unix ${path}': .*held by pid ${owner.pid} `));
    assert.equal(
      outcome(() => connect(t, 'stream', { family: 'unix', path })),
      'ok',
    );
  });

  it('refuses to be the second one on a control socket, and leaves the first unharmed', async (t) => {
    const daemon = await Berthd.start(t, { app: stream(local()) });
    const second = new Berthd(t, {}, {}, daemon);
    const { status, err } = await second.child.exit;
    assert.deepEqual([status, err], [4, `berthd: another berthd serves ${daemon.control}\n`]);
    assert.equal((await daemon.claim('app', ['true'])).status, 0);
  });

  it('takes the place of one that was killed', async (t) => {
    const daemon = await Berthd.start(t, { app: stream(local()) });
    await daemon.stop('SIGKILL');
    assert.ok(existsSync(daemon.control));
    const next = new Berthd(t, {}, {}, daemon);
    await next.logs(/Holding 1 socket/);
    assert.equal((await next.claim('app', ['true'])).status, 0);
  });

  it('is for everybody to ask: its control socket has mode 0666, whatever the umask', async (t) => {
    const daemon = await Berthd.start(t, {}, { launcher: ['sh', '-c', 'umask 077; exec "$@"', 'sh'] });
    assert.equal(statSync(daemon.control).mode & 0o777, 0o666);
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`ends at ${signal}, and takes its control socket away`, async (t) => {
      const address = inet(randomLoopback(), freePort());
      const daemon = await Berthd.start(t, { app: stream(`${address.host}:${address.port}`) });
      const { status, err } = await daemon.stop(signal);
      assert.equal(status, 0);
      assert.doesNotMatch(err, /Error|at /);
      assert.equal(existsSync(daemon.control), false);
      assert.notDeepEqual(steal('stream', address), []);
    });
  }

  it('ends well when its control socket has been removed', async (t) => {
    const daemon = await Berthd.start(t, {});
    rmSync(daemon.control);
    const { status, err } = await daemon.stop();
    assert.deepEqual([status, err.split('\n').length], [0, 2]);
  });

  it('says how it is used', async (t) => {
    const bad = await run(t, process.execPath, [programs.berthd, '--nonsense']);
    assert.equal(bad.status, 2);
    assert.match(bad.err, /^berthd: .*nonsense.*\nusage: berthd /s);
    assert.match((await run(t, process.execPath, [programs.berthd, '--help'])).out, /^usage: berthd /);
    assert.match(
      (await run(t, process.execPath, [programs.berthd, '--version'])).out,
      /^berthd \d+\.\d+\.\d+\n$/,
    );
  });

  it('goes on when nobody reads its log any more', async (t) => {
    const place = new Place(t, { app: stream(local()) });
    const launcher = ['sh', '-c', 'exec "$@" 2>&-', 'sh'];
    const daemon = new Berthd(t, {}, { launcher }, place);
    await until(
      () => existsSync(daemon.control),
      (there) => there,
      'no control socket',
    );
    await until(
      () =>
        daemon.status('app').then(
          () => true,
          () => false,
        ),
      (up) => up,
      'not up',
    );
    daemon.child.kill('SIGHUP');
    assert.equal((await daemon.claim('app', ['true'])).status, 0);
  });
});

describe('the service manager', () => {
  it('is told READY, RELOADING, WATCHDOG in time, and STOPPING', async (t) => {
    const path = join(scratch(t), 'notify');
    const manager = serve(t, 'datagram', { family: 'unix', path });
    native.adopt(manager);
    const next = async () => {
      await untilReadable(manager);
      return receiveText(manager) ?? '';
    };
    // WATCHDOG_PID is that of the process that systemd started: sh becomes it.
    const launcher = ['sh', '-c', 'WATCHDOG_PID=$$ exec "$@"', 'sh'];
    const daemon = new Berthd(
      t,
      { app: stream(local()) },
      { launcher, env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: '400000' } },
    );
    assert.equal(await next(), 'READY=1\nSTATUS=Holding 1 socket of 1 reservation');
    const start = process.hrtime.bigint();
    for (let beat = 0; beat < 3; beat++) assert.equal(await next(), 'READY=1\nWATCHDOG=1');
    const each = Number(process.hrtime.bigint() - start) / 3e6;
    assert.ok(each < 400, `one in ${each} ms`);
    daemon.child.kill('SIGHUP');
    const reload = [];
    while (reload.length < 2) {
      const message = await next();
      if (message !== 'READY=1\nWATCHDOG=1') reload.push(message);
    }
    assert.match(reload[0] ?? '', /^RELOADING=1\nMONOTONIC_USEC=\d+$/);
    assert.equal(reload[1], 'READY=1\nSTATUS=Holding 1 socket of 1 reservation');
    daemon.child.kill('SIGTERM');
    let last = await next();
    while (last === 'READY=1\nWATCHDOG=1') last = await next();
    assert.equal(last, 'STOPPING=1');
    assert.equal((await daemon.child.exit).status, 0);
  });

  it('may be gone', async (t) => {
    const nobody = join(scratch(t), 'notify');
    const daemon = await Berthd.start(t, { app: stream(local()) }, { env: { NOTIFY_SOCKET: nobody } });
    daemon.child.kill('SIGHUP');
    await daemon.logs(/Reloaded/);
    assert.equal((await daemon.claim('app', ['true'])).status, 0);
  });

  it('reads a log with priorities', async (t) => {
    const daemon = await Berthd.start(t, { bad: 'nonsense' }, { env: { JOURNAL_STREAM: '1:2' } });
    assert.match(daemon.child.err, /^(<3>.*bad\.conf:1: .*\n)+<6>Holding 0 sockets of 0 reservations\n$/);
  });
});

describe('another user', () => {
  const nobody = { uid: 65534, gid: 65534 };

  it('may ask, but neither claim nor reload', async (t) => {
    if (!requiresRoot(t)) return;
    const daemon = await Berthd.start(t, { app: stream(local()) });
    const claim = await daemon.claim('app', ['echo', 'ran'], nobody);
    assert.deepEqual([claim.status, claim.out], [125, '']);
    assert.match(
      claim.err,
      /^berth-claim: cannot claim 'app': this berthd serves uid 0, and pid \d+ \(berth-claim, uid 65534.*\) is another user\n$/,
    );
    const reload = await daemon.berth(['reload'], nobody);
    assert.equal(reload.status, 5);
    assert.match(reload.err, /uid 65534/);
    const list = await daemon.berth(['list', '--json'], nobody);
    assert.equal(list.status, 0);
    assert.equal((JSON.parse(list.out) as { name: string }[])[0]?.name, 'app');
    assert.equal((await daemon.berth(['status', 'app'], nobody)).status, 0);
    assert.equal((await daemon.status('app')).state, 'held');
  });

  it('has a berthd of their own, and root may claim there', async (t) => {
    if (!requiresRoot(t)) return;
    const place = new Place(t, { app: stream(local()) });
    const { chownSync } = await import('node:fs');
    chownSync(place.directory, nobody.uid, nobody.gid);
    const daemon = new Berthd(t, {}, nobody, place);
    await daemon.logs(/Holding 1 socket/);
    assert.equal((await daemon.claim('app', ['true'], nobody)).status, 0);
    assert.equal((await daemon.claim('app', ['true'])).status, 0);
    const other = await daemon.claim('app', ['true'], { uid: 65533, gid: 65533 });
    assert.equal(other.status, 125);
    assert.equal((await daemon.berth(['reload'], nobody)).status, 0);
    assert.equal((await daemon.stop()).status, 0);
  });
});

describe('berth', () => {
  it('says so when no berthd is there', async (t) => {
    const control = join(scratch(t), 'control');
    for (const verb of [['list'], ['status', 'x'], ['reload']]) {
      const { status, out, err } = await run(t, process.execPath, [
        programs.berth,
        '--control',
        control,
        ...verb,
      ]);
      assert.deepEqual([status, out], [6, ''], verb.join(' '));
      assert.match(err, /cannot reach berthd at .*: no such file/);
    }
  });

  it('says so when there is no such reservation', async (t) => {
    const daemon = await Berthd.start(t, {});
    const { status, err } = await daemon.berth(['status', 'nothing']);
    assert.equal(status, 3);
    assert.match(err, /there is no reservation 'nothing'/);
  });

  it('lists more than one packet takes', async (t) => {
    const files = Object.fromEntries(
      Array.from({ length: 400 }, (_, index) => [
        `reservation-with-a-long-name-${index}`,
        stream(`/${'x'.repeat(90)}${index}`),
      ]),
    );
    const directory = scratch(t);
    for (const [name] of Object.entries(files)) files[name] = stream(join(directory, name));
    const daemon = await Berthd.start(t, files);
    const { out, status } = await daemon.berth(['list', '--json']);
    assert.equal(status, 0);
    const names = (JSON.parse(out) as { name: string }[]).map(({ name }) => name);
    assert.deepEqual(names, Object.keys(files).sort());
  });
});
