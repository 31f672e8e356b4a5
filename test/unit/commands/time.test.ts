import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { formatAge, formatTime } from '../../../src/commands/time.js';

const now = Date.UTC(2024, 4, 3, 10, 0, 0);
const zone = process.env['TZ'];

function inZone(name: string | undefined): void {
  if (name === undefined) {
    delete process.env['TZ'];
  } else {
    process.env['TZ'] = name;
  }
}

describe('formatAge', () => {
  before(() => {
    inZone('UTC');
  });
  after(() => {
    inZone(zone);
  });

  it('says how long ago it was, in the largest unit that fits', () => {
    const ages: readonly [number, string][] = [
      [0, 'now'],
      [999, 'now'],
      [1000, '1s ago'],
      [59_999, '59s ago'],
      [60_000, '1min ago'],
      [3_599_999, '59min ago'],
      [3_600_000, '1h ago'],
      [86_399_999, '23h ago'],
      [86_400_000, '1d ago'],
      [30 * 86_400_000 - 1, '29d ago'],
    ];
    for (const [age, text] of ages) {
      assert.equal(formatAge(now - age, now), text);
    }
  });

  it('gives the date of what is long past, and of what the clock has not reached', () => {
    assert.equal(formatAge(now - 30 * 86_400_000, now), '2024-04-03');
    assert.equal(formatAge(now + 86_400_000, now), '2024-05-04');
  });

  it('gives no date for what is none', () => {
    assert.equal(formatAge(-1e300, now), '-');
    assert.equal(formatTime(1e300), '-');
  });
});

describe('formatTime', () => {
  after(() => {
    inZone(zone);
  });

  it('is local time with its offset', () => {
    inZone('UTC');
    assert.equal(formatTime(now), 'Fri 2024-05-03 10:00:00 +0000');
    inZone('Asia/Kolkata');
    assert.equal(formatTime(now), 'Fri 2024-05-03 15:30:00 +0530');
    inZone('America/St_Johns');
    assert.equal(formatTime(now), 'Fri 2024-05-03 07:30:00 -0230');
  });
});
