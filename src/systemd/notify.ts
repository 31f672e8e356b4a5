import { createRequire } from 'node:module';

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

/**
 * A notifier over the package sd-notify, of which only sendState and watchdogInterval are safe to use: its log functions
 * take their text as a format string, and startWatchdogMode passes over WATCHDOG_USEC.
 */
export function createNotifier(environment: NodeJS.ProcessEnv): Notifier {
  if (environment['NOTIFY_SOCKET'] === undefined) return silent;
  const manager = createRequire(import.meta.url)('sd-notify') as typeof import('sd-notify');
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
    watchdog: () => {
      send('WATCHDOG=1');
    },
    watchdogInterval: manager.watchdogInterval(),
  };
}

/** A line break would begin another assignment of the message. */
function oneLine(text: string): string {
  return text.replaceAll(/[\r\n]+/g, ' ');
}
