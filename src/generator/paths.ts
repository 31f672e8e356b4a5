/** Where `npm run stage` puts what the drop-ins name. */
export const claimProgram = '/usr/bin/berth-claim';
export const controlSocket = '/run/berth/control';
/** $NOTIFY_SOCKET of every unit. */
export const notifySocket = '/run/systemd/notify';

/** Comes before override.conf, which `systemctl edit` writes, and after what a distribution brings along. */
export const dropInName = '50-berth.conf';
/** The name where a drop-in that comes after 50-berth.conf sets what berth sets. */
export const lateDropInName = 'zz-berth.conf';

/**
 * What a kept plan stands and falls with. Without Node there is no berthd either, and a unit that asks it for sockets is
 * worse off than one without drop-in; and another generator may have another plan.
 */
export const installedPrograms = [
  process.execPath,
  claimProgram,
  '/usr/sbin/berthd',
  '/usr/lib/berth/generator.cjs',
];
