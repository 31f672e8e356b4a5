import { createRequire } from 'node:module';
import { openManagerSocket, type SendToManager } from './manager-socket.js';

/** What berthd tells its manager. Every call is one datagram, and none does anything outside systemd. */
export interface Notifier {
  ready(status: string): void;
  status(text: string): void;
  reloading(): void;
  stopping(): void;
  watchdog(): void;
  /** How long the manager waits for a sign of life, in milliseconds; 0 when it does not. */
  readonly watchdogInterval: number;
}

const silent: Notifier = {
  ready: () => undefined,
  status: () => undefined,
  reloading: () => undefined,
  stopping: () => undefined,
  watchdog: () => undefined,
  watchdogInterval: 0,
};

type SdNotify = Pick<typeof import('sd-notify'), 'sendState' | 'watchdogInterval'>;

function loadPackage(): SdNotify {
  return createRequire(import.meta.url)('sd-notify') as SdNotify;
}

/**
 * A notifier over the package sd-notify, of which only sendState and watchdogInterval are safe to use: its log functions
 * take their text as a format string, and startWatchdogMode passes over WATCHDOG_USEC.
 *
 * It is compiled against V8 itself, so another major version of Node cannot load it: an upgrade of Node must not keep
 * berthd from starting, so our own addon, which has a stable interface, then says the same.
 */
export function createNotifier(environment: NodeJS.ProcessEnv, load = loadPackage): Notifier {
  const own = openManagerSocket(environment);
  if (own === undefined) return silent;
  let manager: SdNotify;
  try {
    manager = load();
  } catch {
    manager = standIn(own, environment);
  }
  const send = (...lines: string[]): void => {
    manager.sendState(lines.join('\n'));
  };
  return {
    ready: (status) => {
      send('READY=1', `STATUS=${oneLine(status)}`);
    },
    status: (text) => {
      send(`STATUS=${oneLine(text)}`);
    },
    // Type=notify-reload wants the time of the reload by CLOCK_MONOTONIC, which hrtime is (sd_notify(3)).
    reloading: () => {
      send('RELOADING=1', `MONOTONIC_USEC=${String(process.hrtime.bigint() / 1000n)}`);
    },
    stopping: () => {
      send('STOPPING=1');
    },
    // Ready again: sd-notify does not say when a message could not be sent, for want of memory, say, and a manager that never
    // heard of the start would undo it. To one that has, it is no news.
    watchdog: () => {
      send('READY=1', 'WATCHDOG=1');
    },
    watchdogInterval: manager.watchdogInterval(),
  };
}

function standIn(send: SendToManager, environment: NodeJS.ProcessEnv): SdNotify {
  const { WATCHDOG_PID: pid = String(process.pid), WATCHDOG_USEC: interval = '0' } = environment;
  return {
    sendState: (text) => {
      try {
        send([text]);
      } catch {
        // The manager has gone, or is being replaced.
      }
    },
    watchdogInterval: () => (pid === String(process.pid) ? Number(interval) / 1000 : 0),
  };
}

/** A line break would begin another assignment of the message. */
function oneLine(text: string): string {
  return text.replaceAll(/[\r\n]+/g, ' ');
}
