import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Berthd, programs } from '../support/berthd.js';
import { root, run } from '../support/processes.js';
import { freePort } from '../support/sockets.js';
import { counted, runsOf } from './fuzz.js';

const fuzz = `${root}build/bin/fuzz-calls`;
const runs = runsOf(3000, 100_000);
const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1_000_000);

describe('a supervised program that calls bind(2) and listen(2) with whatever there is', () => {
  it(`gets the errno that it would get from the kernel (FUZZ_SEED=${seed})`, async (t) => {
    const [free, port] = [freePort(), freePort()];
    const daemon = await Berthd.start(t, {
      app: `[Socket]\nListenStream=${port}\nListenDatagram=${port}\n[Reservation]\nHandoff=bind\n`,
    });
    const args = (at: number) => [String(seed), String(runs), String(at)];
    const claim = [programs.claim, '--control', daemon.control, '--bind', 'app', '--'];
    await run(t, claim[0] ?? '', [...claim.slice(1), 'true']);
    await daemon.reaches('app', 'held');
    const before = daemon.fds().size;
    const expected = await run(t, fuzz, args(free));
    const { out, err, status } = await run(t, claim[0] ?? '', [...claim.slice(1), fuzz, ...args(port)]);
    assert.deepEqual({ err, status }, { err: '', status: 0 });
    assert.equal(out, expected.out);
    counted(t, 'supervised-calls', runs);
    assert.ok(new Set(out.split(/\s/)).size >= 6, 'errors of many kinds');
    await daemon.reaches('app', 'held');
    assert.equal(daemon.fds().size, before);
  });
});
