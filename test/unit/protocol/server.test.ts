import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { handleRequest } from '../../../src/daemon/methods.js';
import type { MethodContext } from '../../../src/daemon/methods.js';
import { native } from '../../../src/native/index.js';
import type { Caller } from '../../../src/protocol/connection.js';
import { answer } from '../../../src/protocol/replies.js';
import { ControlServer } from '../../../src/protocol/server.js';
import { scratch } from '../../support/files.js';
import { openSocket } from '../../support/sockets.js';
import { Talk } from '../../support/talk.js';

describe('ControlServer', () => {
  it('answers a claim before the many who came earlier and ask for what takes long', async (t) => {
    const path = join(scratch(t), 'control');
    const listener = openSocket('seqpacket', 'unix');
    native.bind(listener, { family: 'unix', path });
    native.listen(listener, 1000);
    native.adopt(listener);
    const curious = Array.from({ length: 640 }, () => new Talk(path));
    for (const talk of curious) talk.ask('List');
    const claimant = new Talk(path);
    claimant.ask('Claim');
    let lists = 0;
    let before = NaN;
    const server = new ControlServer(listener, {
      peerTimeoutSec: () => 60,
      maxConnections: 1024,
      report: (message) => {
        throw new Error(message);
      },
      handle: ({ method }) => {
        if (method === 'List')
          return {
            make: () => {
              lists++;
              return answer({});
            },
          };
        before = lists;
        return answer({});
      },
    });
    t.after(() => {
      server.close();
    });
    assert.equal((await claimant.receiveAll()).length, 1);
    assert.ok(before <= 640 / 64, `${before} of them were answered first`);
    for (const talk of curious) assert.equal((await talk.receiveAll()).length, 1);
    assert.equal(lists, 640);
    for (const talk of [claimant, ...curious]) talk.close();
  });

  it('takes what tells of reservations for such', () => {
    for (const method of ['List', 'Status'])
      assert.ok('make' in handleRequest({} as MethodContext, { method, parameters: {} }, {} as Caller));
  });
});
