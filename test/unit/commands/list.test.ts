import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { handoffs } from '../../../src/model/reservation.js';
import type { ReservationInfo } from '../../../src/protocol/messages.js';
import { berth } from './capture.js';
import { fakeDaemon, reservation } from './fake-daemon.js';

function daemon(t: TestContext, reservations: readonly ReservationInfo[]): string {
  return fakeDaemon(t, () => ({ parameters: { reservations, more: false } }));
}

const ago = (milliseconds: number): number => Date.now() - milliseconds;
const minute = 60_000;

const three = (): ReservationInfo[] => [
  reservation('cups', {
    sockets: ['tcp 127.0.0.1:631', 'tcp [::1]:631'],
    state: 'active',
    since: ago(3.5 * minute),
  }),
  reservation('udp', { sockets: ['udp *:631'], handoff: 'none', unit: '', since: ago(50 * 60 * minute) }),
  reservation('bad', { state: 'failed', since: ago(30.5 * minute) }),
];

describe('berth list', () => {
  it('prints an aligned table and a summary', async (t) => {
    const { status, out, err } = await berth(['list', '--control', daemon(t, three())]);
    assert.equal(
      out,
      [
        'NAME  SOCKETS                           UNIT          MODE  STATE   SINCE',
        'cups  tcp 127.0.0.1:631, tcp [::1]:631  cups.service  exec  active  3min ago',
        'udp   udp *:631                         -             none  held    2d ago',
        'bad   tcp *:631                         bad.service   exec  failed  30min ago',
        '',
        '3 reservations, 4 sockets, 1 failed',
        '',
      ].join('\n'),
    );
    assert.equal(err, '');
    assert.equal(status, 0);
  });

  it('is what berth does without a command', async (t) => {
    const control = daemon(t, three());
    assert.deepEqual(await berth(['--control', control]), await berth(['list', '--control', control]));
  });

  it('leaves header and summary out with --no-legend', async (t) => {
    const { out } = await berth(['--no-legend', '--control', daemon(t, three())]);
    assert.deepEqual(
      out.split('\n').map((line) => line.split(' ')[0]),
      ['cups', 'udp', 'bad', ''],
    );
  });

  it('prints the reservations as berthd told them with --json', async (t) => {
    const reservations = handoffs.map((handoff) => reservation(handoff, { handoff, since: 1234 }));
    const control = daemon(t, reservations);
    const { out } = await berth(['list', '--json', '--control', control]);
    assert.deepEqual(JSON.parse(out), reservations);
    assert.equal(out.indexOf('\n'), out.length - 1);
    const { out: indented } = await berth(['list', '--json', '--control', control], 80);
    assert.deepEqual(JSON.parse(indented), reservations);
    assert.match(indented, /^\[\n {2}\{\n/);
  });

  it('says what to do when there is nothing', async (t) => {
    const control = daemon(t, []);
    assert.equal(
      (await berth(['--control', control])).out,
      'no reservations; put one into /etc/berth/NAME.conf and run berth reload\n',
    );
    assert.equal((await berth(['--no-legend', '--control', control])).out, '');
    assert.equal((await berth(['--json', '--control', control])).out, '[]\n');
  });

  it('colours on a terminal, and cuts the widest column so that each line fits', async (t) => {
    const { out } = await berth(['--control', daemon(t, three())], 60);
    assert.match(out, /^<bold:NAME .*SINCE>\n/);
    assert.match(out, /<green:active>/);
    assert.match(out, /<red:failed>/);
    const lines = out.replace(/<\w+:([^>]*)>/g, '$1').split('\n');
    assert.ok(
      lines.every((line) => line.length <= 60),
      out,
    );
    assert.match(out, /tcp 127\.[^\n]*…/);
  });

  it('prints no control characters, in a table or in JSON', async (t) => {
    const control = daemon(t, [reservation('x', { sockets: ['unix /run/\u001b]0;owned\u0007\n\u009b2J'] })]);
    const { out } = await berth(['--control', control]);
    assert.match(out, /unix \/run\/\\x1b]0;owned\\x07\\n\\x9b2J {2}x\.service/);
    const { out: json } = await berth(['--json', '--control', control]);
    // eslint-disable-next-line no-control-regex -- they are what must not be there
    assert.doesNotMatch(json, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    assert.match((JSON.parse(json) as ReservationInfo[])[0]?.sockets[0] ?? '', /\u009b2J$/);
  });
});
