import { parseListen } from '../config/listen.js';
import type { Services } from '../config/services.js';
import { ValueError } from '../config/values.js';
import { BerthError } from '../model/errors.js';

export const protocols = ['tcp', 'udp'] as const;
export type Protocol = (typeof protocols)[number];

/** What `berth why` is asked about. Without a host it is the port of every address. */
export interface Wanted {
  readonly protocol: Protocol;
  readonly port: number;
  readonly host?: string;
}

const types = { tcp: 'stream', udp: 'datagram' } as const;

/**
 * Reads `631`, `631/udp`, `ipp`, `127.0.0.1:631/tcp`, `[::1]:ipp`. Without a protocol both are asked about, of a name those
 * for which services(5) knows it. Throws BerthError Usage.
 */
export function parseWanted(text: string, services: Services): Wanted[] {
  const [, address = text, only] = /^(.*)\/(tcp|udp)$/.exec(text) ?? [];
  const asked = only === undefined ? protocols : protocols.filter((protocol) => protocol === only);
  const wanted: Wanted[] = [];
  let reason: string | undefined;
  for (const protocol of asked) {
    try {
      const parsed = parseListen(address, { type: types[protocol], services });
      if (!('port' in parsed)) throw new ValueError('a TCP or UDP port was expected');
      const { port } = parsed;
      wanted.push({ protocol, port, ...('host' in parsed ? { host: parsed.host } : {}) });
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      reason ??= error.message;
    }
  }
  if (wanted.length > 0) return wanted;
  throw new BerthError(
    'Usage',
    `why needs PORT, PORT/tcp, PORT/udp, ADDRESS:PORT or a name of services(5): ${reason ?? text}`,
  );
}

/** The first name that services(5) has for a port. */
export function serviceName(text: string, port: number, protocol: Protocol): string | undefined {
  return new RegExp(`^([^#\\s]+)\\s+${port}/${protocol}\\b`, 'm').exec(text)?.[1];
}

/** Whether a socket on `bound` stands in the way of one on `wanted`: the same address, or one of them is all. */
export function overlaps(wanted: string | undefined, bound: string, v6only: boolean): boolean {
  if (wanted === undefined) return true;
  return plain(wanted) === plain(bound) || covers(bound, wanted, v6only) || covers(wanted, bound, false);
}

function covers(all: string, other: string, v6only: boolean): boolean {
  if (all === '0.0.0.0') return !plain(other).includes(':');
  return all === '::' && (!v6only || plain(other).includes(':'));
}

/** An IPv4 address as an IPv6 socket has it, without the prefix. */
function plain(host: string): string {
  return host.replace(/^::ffff:(?=\d+\.)/, '');
}
