import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseRequest } from '../../../src/protocol/request.js';

const claim = '{"method":"Claim","parameters":{"name":"cups","form":"unit"}}';

/** What JSON.parse makes of it; undefined where that is no request. */
function plainly(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && 'method' in value ? value : undefined;
  } catch {
    return undefined;
  }
}

describe('parseRequest', () => {
  it('reads what berth-claim sends', () => {
    assert.deepEqual(parseRequest(claim), {
      method: 'Claim',
      parameters: { name: 'cups', form: 'unit' },
    });
  });

  it('reads a claim as JSON would, however it is written', () => {
    const texts = [
      claim.replace('Claim', 'Done'),
      claim.replace('cups', ''),
      claim.replace('cups', 'a.b_c@d-1'),
      claim.replace('cups', 'c\\u0075ps'),
      claim.replace('cups', 'c\\"ups'),
      claim.replace('unit', 'none'),
      claim.replace('"form"', ' "form" '),
      claim.replace('}}', ',"name":"other"}}'),
      claim.replace('}}', '},"method":"List"}'),
      '{"parameters":{"form":"exec","name":"x"},"method":"Claim"}',
      `${claim} `,
      `\n${claim}\n`,
    ];
    for (const text of texts) assert.deepEqual(parseRequest(text), plainly(text), text);
  });

  it('refuses what only looks like one', () => {
    for (const text of [
      `${claim}}`,
      `x${claim}`,
      claim.slice(1),
      `${claim}\n${claim}`,
      claim.replace('cups', 'a\nb'),
    ])
      assert.throws(() => parseRequest(text), /the request is not JSON/, text);
  });

  it('never differs from JSON, whatever is changed in a claim', () => {
    const change = fc.tuple(fc.nat(claim.length), fc.nat(3), fc.string({ maxLength: 3 }));
    fc.assert(
      fc.property(change, ([at, removed, added]) => {
        const text = claim.slice(0, at) + added + claim.slice(at + removed);
        let parsed: unknown;
        try {
          parsed = parseRequest(text);
        } catch {
          return;
        }
        const plain = plainly(text) as { method: unknown; parameters?: unknown };
        assert.deepEqual(parsed, { method: plain.method, parameters: plain.parameters ?? {} });
      }),
      { numRuns: 2000 },
    );
  });
});
