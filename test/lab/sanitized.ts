import { treePath, type Machine } from './machine.js';
import { projectRoot } from './paths.js';

/**
 * For test/sanitized.sh, which sets it: the directory for what the sanitizers find in the labs, whose berth is then a
 * sanitized build. Each lab has one in it, at /var/log/berth-sanitizers (start.sh).
 */
const reports = process.env['BERTH_SANITIZER_REPORTS'];

/** Whether berth is a sanitized build. */
export const isSanitized = reports !== undefined;

/** Node in the lab for whatever loads the addon. */
export const nodeForAddon = isSanitized ? '/usr/lib/berth/sanitizers/node' : '/usr/bin/node';

/** Where berth's programs find Node in the lab, for stage.sh. */
export const stageEnvironment: NodeJS.ProcessEnv = isSanitized ? { NODE: nodeForAddon } : {};

/**
 * What a service with a root directory of its own needs, beyond what berth's drop-in brings: libraries for berth-claim,
 * which is no static program then, /proc for LeakSanitizer, which MountAPIVFS= does not bring to a command with `+`, and
 * the place for reports.
 */
export const rootedSettings: readonly string[] = isSanitized
  ? ['BindReadOnlyPaths=/usr /lib -/lib64', 'BindPaths=/proc /var/log/berth-sanitizers']
  : [];

/** Where the reports of a lab are, as this machine sees it (start.sh). */
export function reportsOf(lab: { readonly cgroup: string }): string {
  return `${reports ?? ''}/${lab.cgroup}`;
}

/**
 * What the runtime of the sanitizers needs of berthd's sandbox beyond what berthd itself does: a place for its reports,
 * and ptrace(2), by which LeakSanitizer stops the threads at the process's end.
 */
const dropIn = `[Service]
ReadWritePaths=/var/log/berth-sanitizers
SystemCallFilter=ptrace
`;

const install = `set -e
at=$1/usr/lib/berth/sanitizers
mkdir -p "$at" "$1/var/log/berth-sanitizers" "$1/etc/systemd/system/berth.service.d"
install -m 755 build/bin/sanitized-node "$at/node"
install -m 755 build/bin/sanitizer-reports.so "$at/"
ln -sf /usr/bin/node "$at/berthd"
ln -sf /usr/bin/node "$at/berth"
for library in libasan.so libubsan.so; do
  file=$(readlink -f "$(cc -print-file-name=$library)")
  cp "$file" "$at/$library"
  # A tree that has no compiler has no such library, by the name that it is linked by.
  name=/usr/lib/x86_64-linux-gnu/$(basename "$file" | sed 's/\\(\\.so\\.[0-9]*\\).*/\\1/')
  [ -e "$1$name" ] || cp "$file" "$1$name"
done
printf %s "$2" >"$1/etc/systemd/system/berth.service.d/sanitizers.conf"`;

/** Lays out what a sanitized berth needs to run; nothing where there is none. */
export async function installSanitizers(machine: Machine): Promise<void> {
  if (reports === undefined) return;
  await machine.runBeside(['sh', '-c', install, 'sh', treePath, dropIn], { cwd: projectRoot });
}
