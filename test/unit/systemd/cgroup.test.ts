import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cgroupEventsFile, systemdCgroup, unitOfCgroup, unitOfProcess } from '../../../src/systemd/cgroup.js';

describe('unitOfCgroup', () => {
  const units: [path: string, unit: string, cgroup: string][] = [
    ['/system.slice/cups.service', 'cups.service', '/system.slice/cups.service'],
    ['/init.scope', 'init.scope', '/init.scope'],
    ['/cups.service', 'cups.service', '/cups.service'],
    [
      '/system.slice/system-getty.slice/getty@tty1.service',
      'getty@tty1.service',
      '/system.slice/system-getty.slice/getty@tty1.service',
    ],
    // A leading underscore keeps a name from meeting the kernel's own files.
    ['/system.slice/_cpu.service', 'cpu.service', '/system.slice/_cpu.service'],
    ['/system.slice/__x.service', '_x.service', '/system.slice/__x.service'],
    // What is below a unit is the unit's own affair, whatever it is called.
    ['/system.slice/a.service/cups.service', 'a.service', '/system.slice/a.service'],
    ['/system.slice/a.service/system.slice/cups.service', 'a.service', '/system.slice/a.service'],
    [
      '/user.slice/user-1000.slice/user@1000.service/app.slice/cups.service',
      'user@1000.service',
      '/user.slice/user-1000.slice/user@1000.service',
    ],
    [
      '/user.slice/user-1000.slice/session-3.scope/system.slice/cups.service',
      'session-3.scope',
      '/user.slice/user-1000.slice/session-3.scope',
    ],
    [
      '/machine.slice/systemd-nspawn@web.service/payload/system.slice/cups.service',
      'systemd-nspawn@web.service',
      '/machine.slice/systemd-nspawn@web.service',
    ],
    [
      '/machine.slice/libpod-0123.scope/container/cups.service',
      'libpod-0123.scope',
      '/machine.slice/libpod-0123.scope',
    ],
    ['/system.slice/cups.service/', 'cups.service', '/system.slice/cups.service'],
    ['/system.slice/cups.socket', 'cups.socket', '/system.slice/cups.socket'],
  ];
  for (const [path, unit, cgroup] of units) {
    it(`${path} is of ${unit}`, () => {
      assert.deepEqual(unitOfCgroup(path), { unit, path: cgroup });
    });
  }

  const none = [
    '',
    '/',
    '/system.slice',
    '/user.slice/user-1000.slice',
    // Not made by systemd: whoever makes cgroups there may call what is below anything.
    '/docker/0123456789ab/cups.service',
    '/kubepods/burstable/pod1/cups.service',
    '/lxc/web/system.slice/cups.service',
    '/system.slice//cups.service',
    // Outside of what this cgroup namespace shows (cgroup_namespaces(7)).
    '/../system.slice/cups.service',
    '/../../cups.service',
    '/system.slice/cups',
    '/system.slice/cups.servicex/cups.service',
    'cups.service',
  ];
  for (const path of none) {
    it(`'${path}' is of no unit`, () => {
      assert.equal(unitOfCgroup(path), undefined);
    });
  }
});

describe('systemdCgroup', () => {
  it('takes the unified hierarchy where that is all there is', () => {
    assert.equal(systemdCgroup('0::/system.slice/cups.service\n', true), '/system.slice/cups.service');
  });

  const both = '12:pids:/x\n3:name=systemd:/a.slice/v1.service\n2:cpu,cpuacct:/\n0::/a.slice/v2.service\n';

  it('takes the unified hierarchy wherever the machine has it, whatever else is mounted', () => {
    assert.equal(systemdCgroup(both, true), '/a.slice/v2.service');
    assert.equal(systemdCgroup('0::/b.service\n11:name=systemd:/a.service\n', true), '/b.service');
  });

  it("takes systemd's own hierarchy of a machine with nothing but cgroups v1, wherever it stands", () => {
    assert.equal(systemdCgroup(both, false), '/a.slice/v1.service');
    assert.equal(systemdCgroup('1:name=systemd:/a.service\n', false), '/a.service');
  });

  it('passes over other named hierarchies and names that only look alike', () => {
    assert.equal(systemdCgroup('4:name=systemdx:/a.service\n10::/b.service\n', true), undefined);
    assert.equal(systemdCgroup('4:name=systemdx:/a.service\n4:name=elogind:/a.service\n', false), undefined);
    assert.equal(systemdCgroup('', true), undefined);
  });

  it('keeps what a name has in it, but for the mark of a removed cgroup', () => {
    assert.equal(systemdCgroup('0::/a.slice/x:/y (deleted)\n', true), '/a.slice/x:/y');
    assert.equal(systemdCgroup('0::/../../x.service\n', true), '/../../x.service');
  });
});

describe('unitOfProcess', () => {
  it('knows nothing of a process that is not there', () => {
    assert.equal(unitOfProcess(2 ** 30), undefined);
    assert.equal(unitOfProcess(0), undefined);
  });
});

describe('cgroupEventsFile', () => {
  it('is there only for a cgroup that is', () => {
    assert.equal(cgroupEventsFile('/no-such.slice/no-such.service'), undefined);
  });
});
