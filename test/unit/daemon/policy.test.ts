import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ownPolicy, systemPolicy } from '../../../src/daemon/policy.js';
import { BerthError } from '../../../src/model/errors.js';
import type { Peer } from '../../../src/protocol/peer.js';
import { inet, reservation, spec } from '../../support/holds.js';

const cups = reservation('cups', [spec('stream', inet('127.0.0.1', 631))]);

function peer(uid: number, unit?: string): Peer {
  return {
    pid: 2 ** 30,
    uid,
    ...(unit === undefined ? {} : { unit: { unit, path: `/system.slice/${unit}` } }),
    takePidfd: () => assert.fail('not asked for'),
    release: () => undefined,
  };
}

function denied(action: () => void, message: RegExp): void {
  assert.throws(action, (error) => {
    assert.ok(error instanceof BerthError);
    assert.equal(error.code, 'Denied');
    assert.match(error.message, message);
    return true;
  });
}

describe('systemPolicy', () => {
  it("grants a claim to the reservation's unit, whatever its user, and to root", () => {
    systemPolicy.checkClaim(peer(65534, 'cups.service'), cups);
    systemPolicy.checkClaim(peer(0, 'cups.service'), cups);
    systemPolicy.checkClaim(peer(0), cups);
    systemPolicy.checkClaim(peer(0, 'other.service'), cups);
  });

  it('denies it to all others, and says who they are', () => {
    for (const unit of ['other.service', 'cups.socket', 'Cups.service', 'user@1000.service', undefined]) {
      denied(() => {
        systemPolicy.checkClaim(peer(1000, unit), cups);
      }, /^'cups' is reserved for cups\.service, and pid \d+ \(\?, uid 1000.*\) is not of it$/);
    }
  });

  it('looks for new files for services and for root, and for no user', () => {
    const asked: [Peer, boolean][] = [
      [peer(0), true],
      [peer(65534, 'cups.service'), true],
      [peer(1000), false],
      [peer(1000, 'user@1000.service'), false],
      [peer(1000, 'session-2.scope'), false],
    ];
    for (const [who, may] of asked) assert.equal(systemPolicy.mayRefresh(who), may, JSON.stringify(who));
  });

  it('lets only root reload', () => {
    systemPolicy.checkReload(peer(0));
    denied(() => {
      systemPolicy.checkReload(peer(1000, 'cups.service'));
    }, /only root/);
  });
});

describe('ownPolicy', () => {
  it('is for the user who started berthd, and for root', () => {
    const own = ownPolicy(1000);
    assert.equal(own.mayRefresh(peer(1001, 'cups.service')), false);
    for (const uid of [0, 1000]) {
      assert.equal(own.mayRefresh(peer(uid)), true);
      own.checkClaim(peer(uid), cups);
      own.checkReload(peer(uid));
    }
    denied(() => {
      own.checkClaim(peer(1001, 'cups.service'), cups);
    }, /serves uid 1000/);
    denied(() => {
      own.checkReload(peer(1001));
    }, /serves uid 1000/);
  });
});
