import { passed, recover, vaults } from './passed.js';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { rmSync } from 'node:fs';
import { portreserveDirectory } from '../config/portreserve.js';
import { defaultDirectories } from '../config/search.js';
import { ConfigurationFiles } from '../daemon/configured.js';
import { openControlSocket } from '../daemon/control-socket.js';
import { Daemon } from '../daemon/daemon.js';
import { SystemGuards } from '../daemon/guards.js';
import { Log } from '../daemon/log.js';
import { openPortreserveSocket, portreserveSocketName } from '../daemon/portreserve-socket.js';
import { ownPolicy, systemPolicy } from '../daemon/policy.js';
import { BerthError, exitStatuses, messageOf } from '../model/errors.js';
import { defaultControlPath } from '../protocol/messages.js';
import { openFdStore } from '../systemd/fd-store.js';
import { createNotifier } from '../systemd/notify.js';
import { version } from './version.js';

const usage = `usage: berthd [--config-dir DIR]... [--portreserve-dir DIR] [--control PATH] [--portreserve-socket PATH]

Holds the sockets of all reservations and hands them to the services they are for.

  --config-dir DIR  where reservations are (may repeat, the first wins; default: ${defaultDirectories.join(', ')})
  --portreserve-dir DIR
                    where portreserve's files are (default: ${portreserveDirectory}; none with --config-dir)
  --control PATH    the control socket (default: ${defaultControlPath})
  --portreserve-socket PATH
                    where to serve portreserve's portrelease (default: the socket that systemd passes)
  --help            this text
  --version         the version

More in berthd(8).
`;

/** berth.service takes this one for a good end after which berthd is not to be restarted. */
const idleExitStatus = 75;

interface Options {
  /** Undefined for the machine's own: the default directories, and unit files. */
  readonly configDirectories: readonly string[] | undefined;
  readonly portreserveDirectory: string | undefined;
  readonly controlPath: string;
  readonly portreservePath: string | undefined;
}

function readArguments(): Options | undefined {
  const { values } = parseArgs({
    options: {
      'config-dir': { type: 'string', multiple: true },
      'portreserve-dir': { type: 'string' },
      control: { type: 'string' },
      'portreserve-socket': { type: 'string' },
      help: { type: 'boolean' },
      version: { type: 'boolean' },
    },
  });
  if (values.help === true) process.stdout.write(usage);
  else if (values.version === true) process.stdout.write(`berthd ${version()}\n`);
  else {
    return {
      configDirectories: values['config-dir'],
      portreserveDirectory: values['portreserve-dir'],
      controlPath: values.control ?? defaultControlPath,
      portreservePath: values['portreserve-socket'],
    };
  }
  return undefined;
}

function run({ configDirectories, portreserveDirectory, controlPath, portreservePath }: Options): void {
  const log = new Log();
  const control = openControlSocket(controlPath, passed);
  const store = control.activated ? openFdStore(process.env) : undefined;
  const daemon = new Daemon({
    configuration: new ConfigurationFiles(
      configDirectories,
      fileURLToPath(import.meta.url),
      portreserveDirectory,
    ),
    control: control.fd,
    portreserve:
      passed.find(({ name }) => name === portreserveSocketName)?.fd ??
      (portreservePath === undefined ? undefined : openPortreserveSocket(portreservePath)),
    policy: control.activated ? systemPolicy : ownPolicy(process.geteuid?.() ?? 0),
    notifier: () => createNotifier(process.env),
    ...(control.activated ? { guards: new SystemGuards(log) } : {}),
    ...(store === undefined ? {} : { vault: { store, passed: vaults, recover } }),
    // Only managers that can keep the sockets of a stopped service set FDSTORE (systemd.exec(5), since 254).
    ...(store === undefined || process.env['FDSTORE'] === undefined
      ? {}
      : { idleExit: () => process.exit(idleExitStatus) }),
    log,
  });
  // A sign of life on a terminal that has gone must not end what holds every port.
  process.on('SIGHUP', () => {
    try {
      daemon.reload();
    } catch (error) {
      log.err(`cannot reload: ${messageOf(error)}`);
    }
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      daemon.stop();
      if (!control.activated) rmSync(controlPath, { force: true });
      if (portreservePath !== undefined) rmSync(portreservePath, { force: true });
      process.exit(0);
    });
  }
  daemon.start();
}

try {
  const options = readArguments();
  if (options !== undefined) run(options);
} catch (error) {
  const misused =
    error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');
  process.stderr.write(`berthd: ${messageOf(error)}\n${misused ? usage : ''}`);
  // What has been opened by then must not keep a berthd alive that serves nobody.
  process.exit(
    misused ? exitStatuses.Usage : error instanceof BerthError ? error.exitStatus : exitStatuses.Failed,
  );
}
