import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatTime } from '../../../src/commands/time.js';
import { berth } from './capture.js';
import { fakeDaemon, reservation, reservationStatus } from './fake-daemon.js';

const since = Date.now() - 200_000;
const time = `${formatTime(since)}; 3min ago`;

const cups = reservationStatus('cups', {
  state: 'active',
  since,
  fdName: 'ipp',
  sockets: [
    { socket: 'tcp 127.0.0.1:631', listen: '127.0.0.1:631', state: 'listening', inode: 4711 },
    { socket: 'udp *:631', listen: '631', state: 'failed', error: "cannot bind 'udp *:631': EADDRINUSE" },
  ],
  claimants: [
    { pid: 812, command: 'cupsd', unit: 'cups.service', since },
    { pid: 900, command: 'x\u001b[2Jy', since },
  ],
  definedAt: '/etc/berth/cups.conf:1',
});

describe('berth status', () => {
  it('prints everything about one reservation', async (t) => {
    const control = fakeDaemon(t, ({ method, parameters }) => {
      assert.deepEqual({ method, parameters }, { method: 'Status', parameters: { name: 'cups' } });
      return { parameters: cups };
    });
    const { status, out, err } = await berth(['status', 'cups', '--control', control]);
    assert.equal(
      out,
      [
        '● cups',
        `          State: active since ${time}`,
        '           Unit: cups.service',
        '        Handoff: exec',
        '  While stopped: refuse',
        'Descriptor name: ipp',
        '     Defined at: /etc/berth/cups.conf:1',
        '        Sockets: tcp 127.0.0.1:631  listening  inode 4711',
        "                 udp *:631          failed     cannot bind 'udp *:631': EADDRINUSE",
        `     Claimed by: pid 812 cupsd in cups.service, since ${time}`,
        `                 pid 900 x\\x1b[2Jy, since ${time}`,
        '',
      ].join('\n'),
    );
    assert.equal(err, '');
    assert.equal(status, 0);
  });

  it('says that nobody has claimed it', async (t) => {
    const control = fakeDaemon(t, () => ({ parameters: reservationStatus('x') }));
    assert.match((await berth(['status', 'x', '--control', control])).out, /Claimed by: nobody\n$/);
  });

  it('colours the states on a terminal', async (t) => {
    const control = fakeDaemon(t, () => ({ parameters: cups }));
    const { out } = await berth(['status', 'cups', '--control', control], 80);
    assert.match(out, /^<green:●> <bold:cups>\n/);
    assert.match(out, /<green:listening> {2}inode 4711\n/);
    assert.match(out, /<red:failed {3}> {2}cannot bind/);
  });

  it('prints the answer as it is with --json', async (t) => {
    const control = fakeDaemon(t, () => ({ parameters: cups }));
    const { out } = await berth(['status', '--json', 'cups', '--control', control]);
    assert.deepEqual(JSON.parse(out), cups);
  });

  it('takes a name that looks like an option after --', async (t) => {
    const control = fakeDaemon(t, ({ parameters }) => ({
      error: 'NotFound',
      parameters: { message: `no reservation '${String(parameters['name'])}'` },
    }));
    const { status, out, err } = await berth(['status', '--control', control, '--', '--json']);
    assert.deepEqual(
      { status, out, err },
      { status: 3, out: '', err: "berth: no reservation '--json'; 'berth list' has those that there are\n" },
    );
  });

  it('says which name was meant', async (t) => {
    const control = fakeDaemon(t, ({ method }) =>
      method === 'List'
        ? { parameters: { reservations: [reservation('cups'), reservation('rsync')], more: false } }
        : { error: 'NotFound', parameters: { message: 'no reservation' } },
    );
    const { err } = await berth(['status', '--control', control, 'cusp']);
    assert.equal(err, "berth: no reservation; did you mean 'cups'?\n");
  });
});
