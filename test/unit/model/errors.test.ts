import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readFileSync } from 'node:fs';
import { BerthError, exitStatuses, isSystemError, messageOf } from '../../../src/model/errors.js';
import { native } from '../../../src/native/index.js';

describe('BerthError', () => {
  it('has the exit status of its code', () => {
    for (const [code, status] of Object.entries(exitStatuses)) {
      assert.equal(new BerthError(code as keyof typeof exitStatuses, 'x').exitStatus, status);
    }
  });

  it('is itself no system error', () => {
    assert.equal(isSystemError(new BerthError('Failed', 'x')), false);
  });
});

describe('isSystemError', () => {
  it("knows Node's and the addon's", () => {
    for (const action of [() => readFileSync('/no/such/file'), () => native.duplicate(9999)]) {
      assert.throws(action, isSystemError);
    }
    assert.equal(isSystemError(new TypeError('x')), false);
    assert.equal(isSystemError({ errno: 1, code: 'EPERM', syscall: 'x' }), false);
    assert.equal(isSystemError(undefined), false);
  });
});

describe('messageOf', () => {
  it('is the message of an error, and the text of anything else', () => {
    assert.equal(messageOf(new Error('x')), 'x');
    assert.equal(messageOf('x'), 'x');
    assert.equal(messageOf(undefined), 'undefined');
  });
});
