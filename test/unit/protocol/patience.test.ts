import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Patience } from '../../../src/protocol/patience.js';

const close = 0.1;

/** Connections one after the other, each `gap` milliseconds after the last; `find` tells whether a look finds the next. */
function serve(
  patience: Patience,
  count: number,
  gap: number,
  find: (look: number) => boolean = () => false,
): { looks: number; microseconds: number } {
  let looks = 0;
  let microseconds = 0;
  for (let index = 0; index < count; index++) {
    patience.turn();
    patience.came(index * gap);
    const { look } = patience;
    if (look === 0) continue;
    looks++;
    microseconds += look;
    patience.looked(find(look), look);
  }
  return { looks, microseconds };
}

describe('Patience', () => {
  it('has none for a connection that comes alone', () => {
    assert.equal(serve(new Patience(2), 1, close).looks, 0);
    assert.equal(serve(new Patience(64), 10_000, 1).looks, 0);
    assert.equal(serve(new Patience(2), 10_000, 0.25).looks, 0);
  });

  it('awaits a peer that asks again at once, from its second connection on', () => {
    assert.deepEqual(
      serve(new Patience(2), 1000, close, () => true),
      { looks: 999, microseconds: 999 * 30 },
    );
  });

  it('has none where the peer could not run meanwhile', () => {
    assert.equal(serve(new Patience(1), 1000, close, () => true).looks, 0);
  });

  it('has less and less when it waits in vain: at the end one look for 64 connections', () => {
    assert.ok(serve(new Patience(2), 1000, close).looks <= 6 + 1000 / 64);
    const patience = new Patience(2);
    serve(patience, 1000, close);
    assert.ok(serve(patience, 6400, close).looks <= 100);
  });

  it('has less and less, too, when others take the processor meanwhile', () => {
    const patience = new Patience(2);
    let looks = 0;
    for (let index = 0; index < 1000; index++) {
      patience.turn();
      patience.came(index * close);
      if (patience.look === 0) continue;
      looks++;
      patience.looked(true, 3000);
    }
    assert.ok(looks <= 6 + 1000 / 64, `${looks} looks`);
  });

  it('has it again as soon as somebody has come', () => {
    const patience = new Patience(2);
    serve(patience, 1000, close);
    let seen = 0;
    const { looks } = serve(patience, 1000, close, () => ++seen > 0);
    assert.ok(looks > 900);
  });

  it('is at an end for this turn of the loop after 300 microseconds, whoever comes', () => {
    const patience = new Patience(2);
    patience.turn();
    let spent = 0;
    for (let index = 0; index < 1000; index++) {
      patience.came(index * close);
      const { look } = patience;
      // One look can last longer than it should: the process may not be running.
      if (look > 0) patience.looked(true, look + 0.5);
      spent += look;
    }
    assert.ok(spent <= 300, `${spent} microseconds`);
    assert.equal(patience.look, 0);
    patience.turn();
    assert.equal(patience.look, 30);
  });
});
