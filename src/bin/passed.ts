import { beginRecovery, isVault } from '../daemon/vault.js';
import { takeListenFds } from '../systemd/listen-fds.js';

/**
 * What systemd passed to berthd. To be imported first: the threads that begin to read the vault here work while Node loads
 * the rest, and with thousands of sockets they are what a start would wait for.
 */
export const passed = takeListenFds(process.env);
export const vaults = passed.filter(isVault);
export const recover = beginRecovery(vaults);
