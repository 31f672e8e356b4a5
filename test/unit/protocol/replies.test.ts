import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { BerthError } from '../../../src/model/errors.js';
import { maxPacket } from '../../../src/protocol/messages.js';
import { answer, claimReply, errorReply } from '../../../src/protocol/replies.js';

const texts = (replies: readonly { data: Buffer }[]) => replies.map(({ data }) => data.toString());

describe('claimReply', () => {
  it('has the form that berth-claim reads, to the letter', () => {
    const replies = claimReply('exec', [
      { fd: 7, name: 'ipp' },
      { fd: 9, name: 'a"b\\c' },
    ]);
    assert.deepEqual(texts(replies), [
      '{"parameters":{"mode":"exec","fds":2,"left":0,"names":"ipp:a\\"b\\\\c"}}',
    ]);
    assert.deepEqual(replies[0]?.fds, [7, 9]);
  });

  it('pages at 253 descriptors and counts what is left', () => {
    for (const [count, pages] of [
      [1, [[1, 0]]],
      [253, [[253, 0]]],
      [
        254,
        [
          [253, 1],
          [1, 0],
        ],
      ],
      [
        506,
        [
          [253, 253],
          [253, 0],
        ],
      ],
      [
        600,
        [
          [253, 347],
          [253, 94],
          [94, 0],
        ],
      ],
    ] as const) {
      const sockets = Array.from({ length: count }, (_, fd) => ({ fd, name: 'x' }));
      const replies = claimReply('exec', sockets);
      assert.deepEqual(
        replies.map(({ data, fds }) => {
          const { parameters } = JSON.parse(data.toString()) as {
            parameters: { fds: number; left: number; names: string };
          };
          assert.equal(fds.length, parameters.fds);
          assert.equal(parameters.names.split(':').length, parameters.fds);
          return [parameters.fds, parameters.left];
        }),
        pages,
      );
      assert.deepEqual(
        replies.flatMap(({ fds }) => fds),
        sockets.map(({ fd }) => fd),
      );
    }
  });

  it('fits into a packet even with the longest names', () => {
    const sockets = Array.from({ length: 253 }, (_, fd) => ({ fd, name: '"'.repeat(255) }));
    for (const { data } of claimReply('exec', sockets)) assert.ok(data.length < 2 * maxPacket + 1024);
  });
});

describe('errorReply', () => {
  it('gives the code of a BerthError, and Failed for anything else', () => {
    assert.deepEqual(texts(errorReply(new BerthError('NotFound', 'there is no x'))), [
      '{"error":"NotFound","parameters":{"message":"there is no x"}}',
    ]);
    assert.deepEqual(texts(errorReply(new Error('broken'))), [
      '{"error":"Failed","parameters":{"message":"broken"}}',
    ]);
    assert.deepEqual(texts(errorReply('broken')), ['{"error":"Failed","parameters":{"message":"broken"}}']);
  });

  it('escapes nothing but quotes and backslashes, and is short enough for every client', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 3000, size: 'max' }), (message) => {
        const [reply] = errorReply(new BerthError('Failed', message));
        const text = reply?.data.toString() ?? '';
        const string = /"message":"(.*)"\}\}$/su.exec(text)?.[1] ?? '';
        assert.equal(string.replaceAll('\\"', '').replaceAll('\\\\', '').includes('\\'), false, text);
        // What berth-claim has room for, unescaped.
        assert.ok(
          Buffer.byteLength((JSON.parse(text) as { parameters: { message: string } }).parameters.message) <
            1024,
        );
      }),
    );
    assert.deepEqual(texts(errorReply(new Error('a\nb\tc\u0000d'))), [
      '{"error":"Failed","parameters":{"message":"a b c d"}}',
    ]);
  });

  it('never cuts a character in two', () => {
    for (let before = 880; before < 910; before++) {
      const [reply] = errorReply(new BerthError('Failed', `${'x'.repeat(before)}${'😀'.repeat(100)}`));
      assert.doesNotMatch(reply?.data.toString() ?? '', /\\u|\ufffd/);
    }
  });
});

describe('answer', () => {
  it('is one packet of JSON without descriptors', () => {
    assert.deepEqual(answer({ a: 1 }), [{ data: Buffer.from('{"parameters":{"a":1}}'), fds: [] }]);
  });
});
