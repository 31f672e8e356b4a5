import assert from 'node:assert/strict';
import { mkdirSync, rmdirSync, statSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { unifiedRoot } from '../../../src/systemd/cgroup.js';
import { unitOfNumber } from '../../../src/systemd/cgroup-numbers.js';
import { requires } from '../../support/requirements.js';

let made = 0;

/** A cgroup beside those of systemd, as a path from the root; undefined where none can be made. */
function makeCgroup(t: TestContext, unit = 'x.service'): string | undefined {
  const parent = `/berth-test-${process.pid}-${made++}.slice`;
  const path = `${parent}/${unit}`;
  try {
    mkdirSync(`${unifiedRoot ?? '/nowhere'}${path}`, { recursive: true });
  } catch {
    requires(t, false, 'this needs to make cgroups of version 2');
    return undefined;
  }
  t.after(() => {
    rmdirSync(`${unifiedRoot}${path}`);
    rmdirSync(`${unifiedRoot}${parent}`);
  });
  return path;
}

function numberOf(path: string): number {
  return statSync(`${unifiedRoot}${path}`).ino;
}

/** What /proc/PID/cgroup says, and how often it was asked for. */
function proc(path: string): { read: () => string; times: number } {
  const file = { times: 0, read: () => (file.times++, `0::${path}\n`) };
  return file;
}

describe('unitOfNumber', () => {
  it('reads once what a number stands for', (t) => {
    const path = makeCgroup(t);
    if (path === undefined) return;
    const file = proc(path);
    for (let time = 0; time < 3; time++)
      assert.deepEqual(unitOfNumber(numberOf(path), file.read), { unit: 'x.service', path });
    assert.equal(file.times, 1);
  });

  it('remembers that a cgroup is of no unit', (t) => {
    const path = makeCgroup(t, 'container');
    if (path === undefined) return;
    const file = proc(path);
    for (let time = 0; time < 3; time++) assert.equal(unitOfNumber(numberOf(path), file.read), undefined);
    assert.equal(file.times, 1);
  });

  it('takes a cgroup below a unit for the unit', (t) => {
    const path = makeCgroup(t);
    if (path === undefined) return;
    const below = `${path}/y.service`;
    mkdirSync(`${unifiedRoot}${below}`);
    try {
      const file = proc(below);
      for (let time = 0; time < 2; time++)
        assert.deepEqual(unitOfNumber(numberOf(below), file.read), { unit: 'x.service', path });
      assert.equal(file.times, 1);
    } finally {
      rmdirSync(`${unifiedRoot}${below}`);
    }
  });

  it('reads again for a cgroup that was made anew at the same path', (t) => {
    const path = makeCgroup(t);
    if (path === undefined) return;
    const file = proc(path);
    const before = numberOf(path);
    unitOfNumber(before, file.read);
    rmdirSync(`${unifiedRoot}${path}`);
    mkdirSync(`${unifiedRoot}${path}`);
    assert.notEqual(numberOf(path), before);
    unitOfNumber(numberOf(path), file.read);
    assert.equal(file.times, 2);
  });

  it('does not remember what another cgroup’s file said: the process has moved meanwhile', (t) => {
    const path = makeCgroup(t);
    const other = makeCgroup(t, 'other.service');
    if (path === undefined || other === undefined) return;
    assert.equal(unitOfNumber(numberOf(path), proc(other).read)?.unit, 'other.service');
    assert.equal(unitOfNumber(numberOf(path), proc(path).read)?.unit, 'x.service');
    const file = proc(other);
    assert.equal(unitOfNumber(numberOf(path), file.read)?.unit, 'x.service');
    assert.equal(file.times, 0);
  });

  it('does not remember a number whose cgroup is gone, or not to be seen', (t) => {
    const path = makeCgroup(t);
    if (path === undefined) return;
    for (const shown of [`${path}/gone`, `${path} (deleted)`, '/..', `/../..${unifiedRoot}${path}/../..`]) {
      const file = proc(shown);
      const number = statSync(`${unifiedRoot}${shown}`, { throwIfNoEntry: false })?.ino ?? 1e9;
      for (let time = 0; time < 2; time++) unitOfNumber(number, file.read);
      assert.equal(file.times, 2, shown);
    }
  });

  it('reads each time where the kernel tells no number', () => {
    const file = proc('/system.slice/x.service');
    for (let time = 0; time < 2; time++)
      assert.deepEqual(unitOfNumber(0, file.read), { unit: 'x.service', path: '/system.slice/x.service' });
    assert.equal(file.times, 2);
  });

  it('says why not, and remembers nothing, when the file cannot be read', () => {
    const fails = () => {
      throw new Error('no memory');
    };
    for (let time = 0; time < 2; time++) assert.throws(() => unitOfNumber(12345678, fails), /no memory/);
  });
});
