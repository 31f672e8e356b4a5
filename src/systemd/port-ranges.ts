import { readFileSync } from 'node:fs';

/** What the kernel, and the C library, do with a port that nobody holds. */
export interface PortRanges {
  /** Outgoing connections may get it: in net.ipv4.ip_local_port_range, and not in ip_local_reserved_ports. */
  readonly ephemeral: boolean;
  /** In that range, but named in net.ipv4.ip_local_reserved_ports. */
  readonly spared: boolean;
  /** As `32768-60999`. */
  readonly ephemeralRange: string;
  /** Below net.ipv4.ip_unprivileged_port_start: only for CAP_NET_BIND_SERVICE. */
  readonly privileged: boolean;
  /** 512 to 1023, of which bindresvport(3) takes any; the kernel's NFS client has 665 to 1023. */
  readonly bindresvport: boolean;
}

/** Reads the settings of this network namespace. The kernel's defaults stand in for what cannot be read. */
export function rangesOf(port: number): PortRanges {
  const [first = 32768, last = 60999] = setting('ip_local_port_range', '32768 60999')
    .split(/\s+/)
    .map(Number);
  const inRange = port >= first && port <= last;
  const spared = inRange && isListed(port, setting('ip_local_reserved_ports', ''));
  return {
    ephemeral: inRange && !spared,
    spared,
    ephemeralRange: `${first}-${last}`,
    privileged: port < Number(setting('ip_unprivileged_port_start', '1024')),
    bindresvport: port >= 512 && port <= 1023,
  };
}

/** Whether a list as `8080,9000-9010` has it. */
export function isListed(port: number, list: string): boolean {
  return list.split(',').some((part) => {
    const [first = NaN, last = first] = part
      .trim()
      .split('-')
      .map((number) => (number === '' ? NaN : Number(number)));
    return port >= first && port <= last;
  });
}

function setting(name: string, fallback: string): string {
  try {
    return readFileSync(`/proc/sys/net/ipv4/${name}`, 'latin1').trim();
  } catch {
    return fallback;
  }
}
