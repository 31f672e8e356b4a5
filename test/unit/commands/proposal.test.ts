import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { socketKeys } from '../../../src/config/keys.js';
import { buildReservation } from '../../../src/config/reservation.js';
import { parseServices } from '../../../src/config/services.js';
import { parseSyntax } from '../../../src/config/syntax.js';
import { proposalText, type Proposal } from '../../../src/commands/proposal.js';
import { BerthError } from '../../../src/model/errors.js';

function proposal(parts: Partial<Proposal>): Proposal {
  return { name: 'x', unit: 'x.service', comments: [], socket: [], reservation: [], ...parts };
}

const listens = fc.oneof(
  fc.integer({ min: 1, max: 65535 }).map(String),
  fc.tuple(fc.ipV4(), fc.integer({ min: 1, max: 65535 })).map(([host, port]) => `${host}:${port}`),
  fc.tuple(fc.ipV6(), fc.integer({ min: 1, max: 65535 })).map(([host, port]) => `[${host}]:${port}`),
  fc.stringMatching(/^[a-z;#="'[\]]{1,12}$/).map((name) => `/run/${name}`),
  fc.stringMatching(/^[a-z;#="'[\]]{1,12}$/).map((name) => `@${name}`),
);

describe('proposalText', () => {
  it('writes sections in order, with the comments wrapped above', () => {
    const text = proposalText(
      proposal({
        comments: ['why '.repeat(40).trim(), 'a\nb'],
        socket: [
          ['ListenStream', '[::1]:631'],
          ['ListenDatagram', '631'],
          ['ListenStream', '/run/a;b#c'],
        ],
        reservation: [['Handoff', 'none']],
      }),
    );
    const [first = '', second = '', ...rest] = text.split('\n');
    assert.match(first, /^# why( why){26}$/);
    assert.match(second, /^# why( why){12}$/);
    assert.equal(
      rest.join('\n'),
      '# a\\nb\n[Socket]\nListenStream=[::1]:631\nListenDatagram=631\nListenStream=/run/a;b#c\n\n[Reservation]\nHandoff=none\n',
    );
  });

  it('reads back as what it was made of, whatever the addresses', () => {
    const all = fc.array(fc.tuple(fc.constantFrom('ListenStream', 'ListenDatagram'), listens), {
      minLength: 1,
      maxLength: 5,
    });
    fc.assert(
      fc.property(all, fc.array(fc.string()), (socket, comments) => {
        const text = proposalText(proposal({ socket, comments, reservation: [['Handoff', 'store']] }));
        const { reservation, mistakes } = buildReservation(
          'x',
          { file: 'x.conf', line: 1 },
          [parseSyntax('x.conf', Buffer.from(text))],
          parseServices(''),
        );
        assert.deepEqual(mistakes, []);
        assert.deepEqual(
          reservation?.sockets.map(({ type, listen }) => [type, listen]),
          socket.map(([key, value]) => [key === 'ListenStream' ? 'stream' : 'datagram', value]),
        );
      }),
    );
  });

  it('says everything that it says exactly, or nothing', () => {
    const pairs = fc.array(fc.tuple(fc.constantFrom(...socketKeys.keys()), fc.string({ unit: 'binary' })));
    fc.assert(
      fc.property(pairs, (socket) => {
        let text: string;
        try {
          text = proposalText(proposal({ socket }));
        } catch (error) {
          assert.ok(error instanceof BerthError);
          // Only what systemd.syntax(7) has no form for: ends that are blank or a backslash, and control characters.
          assert.ok(socket.some(([, value]) => /^\s|\s$|\\$|[\0\r\n\ud800-\udfff]/.test(value)));
          return;
        }
        const { assignments, mistakes } = parseSyntax('x', Buffer.from(text));
        assert.deepEqual(mistakes, []);
        assert.deepEqual(
          assignments.map(({ key, value }) => [key, value]),
          socket,
        );
      }),
    );
  });
});
