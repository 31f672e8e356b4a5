import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { defaultSettings, type Settings } from '../../../src/config/settings.js';
import { SystemGuards } from '../../../src/daemon/guards.js';
import { Log } from '../../../src/daemon/log.js';
import type { Reservation } from '../../../src/model/reservation.js';
import { inet, spec } from '../../support/holds.js';
import { tree } from '../systemd/tree.js';

class Warnings extends Log {
  readonly said: string[] = [];

  override warning(message: string): void {
    this.said.push(message);
  }
}

const on: Settings = { ...defaultSettings, reserveEphemeral: true };

function ports(...numbers: readonly number[]): Reservation[] {
  const sockets = numbers.map((port) => spec('stream', inet('127.0.0.1', port)));
  return [{ name: 'x', sockets } as unknown as Reservation];
}

function machine(t: TestContext, list: string) {
  const root = tree(t, { list: `${list}\n`, range: '32768\t60999\n' });
  const files = {
    reservedPorts: join(root, 'list'),
    ephemeralRange: join(root, 'range'),
    state: join(root, 'state'),
  };
  const log = new Warnings(false);
  return {
    root,
    files,
    log,
    /** As a berthd would that is started now. */
    guards: () => new SystemGuards(log, files),
    list: () => readFileSync(files.reservedPorts, 'utf8').trim(),
    remembers: () => existsSync(files.state),
  };
}

describe('ReserveEphemeral=', () => {
  it('adds the reserved ports of the range to what is there, and takes out those alone', (t) => {
    const { guards, list, remembers, log } = machine(t, '40000,50000');
    guards().apply(on, ports(631, 40001, 50000));
    assert.equal(list(), '40000-40001,50000');
    guards().apply(on, ports(631, 50000, 60999, 61000));
    assert.equal(list(), '40000,50000,60999');
    guards().lift();
    assert.equal(list(), '40000,50000');
    assert.equal(remembers(), false);
    assert.deepEqual(log.said, []);
  });

  it('takes them out when it is switched off', (t) => {
    const { guards, list, remembers } = machine(t, '');
    guards().apply(on, ports(40000));
    guards().apply(defaultSettings, ports(40000));
    assert.equal(list(), '');
    assert.equal(remembers(), false);
  });

  it('adds again what somebody has overwritten', (t) => {
    const { guards, list, files } = machine(t, '');
    guards().apply(on, ports(40000, 40002));
    writeFileSync(files.reservedPorts, '50000\n');
    guards().apply(on, ports(40000));
    assert.equal(list(), '40000,50000');
    guards().lift();
    assert.equal(list(), '50000');
  });

  it('touches nothing when it was never on', (t) => {
    const { guards, files, log, remembers } = machine(t, '1');
    const missing = { ...files, ephemeralRange: '/nonexistent', reservedPorts: '/nonexistent' };
    new SystemGuards(log, missing).apply(defaultSettings, ports(40000));
    guards().lift();
    assert.deepEqual([log.said, remembers()], [[], false]);
  });

  it('knows what it has added when it was killed before it was done', (t) => {
    const { guards, list, files } = machine(t, '50000');
    guards().apply(on, ports(40000));
    // The list is written between two notes; the first has what is added and what is about to be.
    writeFileSync(files.state, JSON.stringify({ ports: [40000, 40001] }));
    writeFileSync(files.reservedPorts, '40000-40001,50000\n');
    guards().apply(on, ports(40001));
    assert.equal(list(), '40001,50000');
    guards().lift();
    assert.equal(list(), '50000');
  });

  it('warns, and goes on, when nothing can be written', (t) => {
    const { files, log, root } = machine(t, '');
    const guards = new SystemGuards(log, { ...files, state: join(root, 'no/state') });
    guards.apply({ ...on, bindresvportBlacklist: join(root, 'hints') }, ports(631, 40000));
    assert.equal(log.said.length, 2);
    for (const said of log.said) assert.match(said, /^cannot change .*: ENOENT/);
  });
});

describe('BindresvportBlacklist=', () => {
  it('follows the setting from file to file, and keeps its lines while berthd is stopped', (t) => {
    const { guards, root, remembers, log } = machine(t, '');
    const [first, second] = [join(root, 'first'), join(root, 'second')];
    const settings = (file?: string) =>
      file === undefined ? defaultSettings : { ...defaultSettings, bindresvportBlacklist: file };
    writeFileSync(first, '# mine\n');
    guards().apply(settings(first), ports(631, 8080));
    assert.equal(readFileSync(first, 'utf8'), '# mine\n631 # berth\n');
    guards().lift();
    assert.equal(readFileSync(first, 'utf8'), '# mine\n631 # berth\n');
    guards().apply(settings(second), ports(631));
    assert.equal(readFileSync(first, 'utf8'), '# mine\n');
    assert.equal(readFileSync(second, 'utf8'), '631 # berth\n');
    guards().apply(settings(), ports(631));
    assert.equal(existsSync(second), false);
    assert.equal(remembers(), false);
    assert.deepEqual(log.said, []);
  });
});
