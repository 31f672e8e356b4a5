import { test, type TestContext, type TestOptions } from 'node:test';
import { accessSync, constants, readFileSync } from 'node:fs';

const programs = {
  'systemd-nspawn': 'systemd-container',
  nsenter: 'util-linux',
  unshare: 'util-linux',
  setpriv: 'util-linux',
  flock: 'util-linux',
  tar: 'tar',
};

function findProgram(name: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((directory) => {
    try {
      accessSync(`${directory}/${name}`, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Why no lab can be booted here, or undefined. `extra` are further programs a test needs, with their packages. */
export function whyNoLab(extra: Readonly<Record<string, string>> = {}): string | undefined {
  if (process.platform !== 'linux') return 'the lab needs Linux';
  if (process.getuid?.() !== 0) return 'the lab needs root';
  for (const [program, debianPackage] of Object.entries({ ...programs, ...extra })) {
    if (!findProgram(program)) return `the lab needs ${program} (Debian package ${debianPackage})`;
  }
  // A module that is not loaded is missing here too; mount(8) would load it.
  const filesystems = readFileSync('/proc/filesystems', 'utf8');
  if (!/\tcgroup2$/m.test(filesystems)) return 'the lab needs a kernel with cgroups v2';
  if (!/\toverlay$/m.test(filesystems) && !findProgram('modprobe')) return 'the lab needs overlayfs';
  return undefined;
}

/**
 * A test that boots labs: skips with the reason where none can be, and fails with it where BERTH_MUST_RUN=1 is set.
 */
export function labTest(
  name: string,
  body: (t: TestContext) => Promise<void>,
  options: TestOptions & { readonly programs?: Readonly<Record<string, string>> } = {},
): void {
  const { programs: extra, ...testOptions } = options;
  const reason = whyNoLab(extra);
  if (reason === undefined) {
    void test(name, testOptions, body);
  } else if (process.env['BERTH_MUST_RUN'] === '1') {
    void test(name, () => {
      throw new Error(`BERTH_MUST_RUN=1, but ${reason}`);
    });
  } else {
    void test(name, { skip: reason });
  }
}
