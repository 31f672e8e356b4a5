// @types/sd-notify is wrong about the names; this is what 2.8.0 exports of what is safe to use (docs/design.md).
declare module 'sd-notify' {
  /** sd_notify(3) with the text as given. Blocks while the manager does not read. */
  export function sendState(state: string): void;
  /** sd_watchdog_enabled(3) in milliseconds; 0 without a watchdog. */
  export function watchdogInterval(): number;
}
