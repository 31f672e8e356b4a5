import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { describeFailure } from './process.js';
import { treePath, type Machine } from './machine.js';
import { projectRoot } from './paths.js';
import { installSanitizers, stageEnvironment } from './sanitized.js';

/** What a machine may have of an installed berth or portreserve: tests bring their own. */
const berthOfTheHost = [
  '/etc/berth',
  '/etc/portreserve',
  '/usr/lib/berth',
  '/usr/bin/berth',
  '/usr/bin/berth-claim',
  '/usr/sbin/berthd',
  '/usr/sbin/portrelease',
  '/usr/sbin/portreserve',
  ...['/etc/systemd/system', '/usr/lib/systemd/system'].flatMap((directory) =>
    ['berth.service', 'berth.socket', 'berth-portreserve.socket', 'portreserve.service'].flatMap((unit) => [
      `${directory}/${unit}`,
      `${directory}/${unit}.d`,
    ]),
  ),
  '/usr/lib/systemd/system-generators/berth-generator',
];

/** Runs a command in a tree that is not booted yet; throws with what it said when it fails. */
export async function inTree(machine: Machine, command: readonly string[], input?: string): Promise<string> {
  const outcome = await machine.run(command, input === undefined ? {} : { input });
  if (outcome.status !== 0) throw new Error(describeFailure(command, outcome));
  return outcome.stdout;
}

/** Writes a file of the lab, before or after its boot; a link in its place is replaced, not followed. */
export async function writeFileIn(machine: Machine, path: string, text: string, mode: number): Promise<void> {
  const store = 'mkdir -p "${1%/*}" && rm -f "$1" && cat >"$1" && chmod "$2" "$1"';
  await inTree(machine, ['sh', '-c', store, 'sh', path, mode.toString(8)], text);
}

/** Makes a tree fit for a boot of its own: what would mount, fail or cost time there is out of the way. */
async function neutralise(machine: Machine): Promise<void> {
  await inTree(machine, ['rm', '-rf', ...berthOfTheHost, '/etc/fstab', '/etc/crypttab']);
  await writeFileIn(machine, '/etc/hostname', `${machine.name}\n`, 0o644);
  // An empty one would make systemd preset all units; the machine's own would be shared between labs.
  await writeFileIn(machine, '/etc/machine-id', `${randomBytes(16).toString('hex')}\n`, 0o444);
  await writeFileIn(
    machine,
    '/etc/systemd/journald.conf.d/lab.conf',
    '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n',
    0o644,
  );
}

/** Names, one a line: units that links below /etc enable, and all generators. (list-unit-files takes a second.) */
const listEnabled = `cd /etc/systemd/system &&
find . -mindepth 2 -maxdepth 2 '(' -path '*.wants/*' -o -path '*.requires/*' -o -path '*.upholds/*' ')' -printf '%f\\n'`;
const listGenerators = `for directory in /usr/lib /usr/local/lib /etc; do
  cd $directory/systemd/system-generators 2>&- && ls
done
true`;

/**
 * Masks every unit that is enabled in the tree and every generator that is not systemd's own, but for those in
 * `keep`: what happens to be installed on the machine must not boot in the lab.
 */
async function maskOthers(machine: Machine, keep: readonly string[]): Promise<void> {
  const units = (await inTree(machine, ['sh', '-c', listEnabled])).split('\n');
  const generators = (await inTree(machine, ['sh', '-c', listGenerators])).split('\n');
  // Init scripts without a unit file become units through the sysv generator.
  const foreign = generators.filter((name) => !name.startsWith('systemd-') || name.includes('sysv'));
  const masks = [
    ...[...units, 'console-getty.service'].map((name) => ({ name, directory: '/etc/systemd/system' })),
    ...foreign.map((name) => ({ name, directory: '/etc/systemd/system-generators' })),
  ].filter(({ name }) => name !== '' && !keep.includes(name));
  const mask =
    'mkdir -p /etc/systemd/system-generators && for path; do ln -sfn /dev/null "$path" || exit; done';
  await inTree(machine, [
    'sh',
    '-c',
    mask,
    'sh',
    ...masks.map(({ name, directory }) => `${directory}/${name}`),
  ]);
}

/** Lays the built berth out as a package would. */
export async function stageBerth(machine: Machine): Promise<void> {
  if (!existsSync(`${projectRoot}src/build/stage.sh`)) throw new Error('src/build/stage.sh is missing');
  await machine.runBeside(['sh', 'src/build/stage.sh', treePath], {
    cwd: projectRoot,
    env: { ...process.env, ...stageEnvironment },
  });
}

/** Installs berth, enabled as a package would have it. */
async function installBerth(machine: Machine): Promise<void> {
  await stageBerth(machine);
  const units = ['berth.socket', 'berth-portreserve.socket', 'berth.service'];
  await machine.runBeside(['systemctl', `--root=${treePath}`, 'enable', ...units]);
  await installSanitizers(machine);
}

/** Node as it runs here, for a tree that has none. */
async function installNode(machine: Machine): Promise<void> {
  if ((await machine.run(['test', '-x', '/usr/bin/node'])).status === 0) return;
  await machine.runBeside(['install', '-m', '0755', process.execPath, `${treePath}/usr/bin/node`]);
  await inTree(machine, ['node', '--version']);
}

export interface Preparation {
  readonly keep: readonly string[];
  readonly berth: boolean;
}

export async function prepareTree(machine: Machine, { keep, berth }: Preparation): Promise<void> {
  await neutralise(machine);
  await maskOthers(machine, keep);
  await installNode(machine);
  if (berth) await installBerth(machine);
}
