import { closeSync, lstatSync } from 'node:fs';
import { isSystemError } from '../model/errors.js';
import { constant, native } from '../native/index.js';
import type { Aim, Target } from './attack-plan.js';

/** Something that could be had, though it is reserved. */
export interface Loot {
  readonly address: string;
  readonly options: readonly string[];
  readonly device?: string;
  readonly listened: boolean;
}

/** How the attempts on one target went. */
export interface Onslaught {
  readonly attempts: number;
  /** By what the kernel said: EADDRINUSE, EACCES. */
  readonly errors: Readonly<Record<string, number>>;
  readonly taken: readonly Loot[];
}

const types = { stream: 'SOCK_STREAM', datagram: 'SOCK_DGRAM', seqpacket: 'SOCK_SEQPACKET' } as const;
const families = { inet: 'AF_INET', inet6: 'AF_INET6', unix: 'AF_UNIX', abstract: 'AF_UNIX' } as const;

/** How a thief makes itself shareable before it binds. */
export const disguises: readonly (readonly string[])[] = [
  [],
  ['SO_REUSEADDR'],
  ['SO_REUSEPORT'],
  ['SO_REUSEADDR', 'SO_REUSEPORT'],
];

/**
 * Tries to bind, and to listen on, what a target keeps. Whatever is had is closed at once; nothing is left behind. A path
 * that is not there is not tried, because binding would make it: that is told as taken.
 */
export function attack(target: Target): Onslaught {
  const errors: Record<string, number> = {};
  const taken: Loot[] = [];
  let attempts = 0;
  const devices = target.device === undefined ? [undefined] : [undefined, target.device];
  for (const aim of target.aims) {
    const isLocal = aim.address.family === 'unix' || aim.address.family === 'abstract';
    for (const protocol of target.protocols) {
      for (const device of isLocal ? [undefined] : devices) {
        for (const options of isLocal ? [[]] : disguises) {
          attempts++;
          try {
            const listened = take(target, aim, protocol, options, device);
            taken.push({
              address: describe(aim, protocol),
              options,
              ...(device === undefined ? {} : { device }),
              listened,
            });
          } catch (error) {
            if (!isSystemError(error)) throw error;
            errors[error.code] = (errors[error.code] ?? 0) + 1;
          }
        }
      }
    }
  }
  return { attempts, errors, taken };
}

/** Binds, and says whether listening was possible as well. Throws the SystemError of what was refused. */
function take(
  { type }: Target,
  { address, v6only }: Aim,
  protocol: number,
  options: readonly string[],
  device: string | undefined,
): boolean {
  if (address.family === 'unix' && lstatSync(address.path, { throwIfNoEntry: false }) === undefined)
    return false;
  const fd = native.socket(constant(families[address.family]), constant(types[type]), protocol);
  try {
    for (const option of options) native.setOption(fd, constant('SOL_SOCKET'), constant(option), 1);
    if (address.family === 'inet6')
      native.setOption(fd, constant('IPPROTO_IPV6'), constant('IPV6_V6ONLY'), Number(v6only));
    if (device !== undefined)
      native.setTextOption(fd, constant('SOL_SOCKET'), constant('SO_BINDTODEVICE'), device);
    native.bind(fd, address);
    if (type === 'datagram') return false;
    try {
      native.listen(fd, 1);
      return true;
    } catch {
      return false;
    }
  } finally {
    closeSync(fd);
  }
}

function describe({ address, v6only }: Aim, protocol: number): string {
  switch (address.family) {
    case 'unix':
      return `${address.path} (it is not there: whoever may write the directory can make it)`;
    case 'abstract':
      return `@${address.name}`;
    default: {
      const host = address.family === 'inet6' ? `[${address.host}]` : address.host;
      const extra = [
        ...(v6only ? ['IPV6_V6ONLY'] : []),
        ...(protocol === constant('IPPROTO_MPTCP') ? ['MPTCP'] : []),
      ];
      return `${host}:${address.port}${extra.length === 0 ? '' : ` (${extra.join(', ')})`}`;
    }
  }
}
