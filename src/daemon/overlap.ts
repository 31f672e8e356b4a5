import { ipProtocolOf } from '../model/reservation.js';
import type { SocketSpec } from '../model/reservation.js';
import type { HoldRequest } from './hold-request.js';

/** What sockets can be in each other's way by: a port of one protocol, or a name of AF_UNIX. */
export function placeOf({ spec }: HoldRequest): string {
  const { address } = spec;
  if (address.family === 'unix') return `unix ${address.path}`;
  if (address.family === 'abstract') return `abstract ${spec.type} ${address.name}`;
  return `${portsOf(spec)} ${address.port}`;
}

/** Whether the kernel would refuse to bind one while the other one is bound. Says yes where it cannot be told. */
export function overlaps(a: HoldRequest, b: HoldRequest): boolean {
  if (placeOf(a) !== placeOf(b)) return false;
  const [one, other] = [a.options.bindToDevice, b.options.bindToDevice];
  if (one !== undefined && other !== undefined && one !== other) return false;
  const [mine, theirs] = [hostsOf(a), hostsOf(b)];
  return meet(mine.inet, theirs.inet) || meet(mine.inet6, theirs.inet6);
}

/** MPTCP has TCP's ports. */
function portsOf(spec: SocketSpec): string {
  const protocol = ipProtocolOf(spec);
  return protocol === 'mptcp' ? 'tcp' : protocol;
}

/** The host of each family that a socket takes, `*` for all of them. A name of AF_UNIX is there for all families. */
function hostsOf({ spec, options }: HoldRequest): { inet?: string; inet6?: string } {
  const { address } = spec;
  switch (address.family) {
    case 'unix':
    case 'abstract':
      return { inet: '*' };
    case 'inet':
      return { inet: address.host === '0.0.0.0' ? '*' : address.host };
    case 'inet6': {
      const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address.host)?.[1];
      if (mapped !== undefined) return { inet: mapped };
      if (address.host !== '::') return { inet6: address.host };
    }
  }
  return options.bindIPv6Only === 'ipv6-only' ? { inet6: '*' } : { inet: '*', inet6: '*' };
}

function meet(one: string | undefined, other: string | undefined): boolean {
  if (one === undefined || other === undefined) return false;
  return one === '*' || other === '*' || one === other;
}
