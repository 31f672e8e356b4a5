import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Leisure } from '../../../src/protocol/leisure.js';

describe('Leisure', () => {
  it('does one piece a turn, in order, and passes over those that came to nothing', async () => {
    const leisure = new Leisure();
    const done: string[] = [];
    const piece = (name: string, came = true) => {
      leisure.add(() => {
        done.push(name);
        return came;
      });
    };
    piece('a');
    piece('gone', false);
    piece('gone too', false);
    piece('b');
    assert.deepEqual(done, []);
    await turn();
    assert.deepEqual(done, ['a']);
    await turn();
    assert.deepEqual(done, ['a', 'gone', 'gone too', 'b']);
    piece('gone', false);
    await turn();
    piece('at last');
    await turn();
    assert.deepEqual(done.slice(4), ['gone', 'at last']);
  });
});
