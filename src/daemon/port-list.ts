/** Ports as net.ipv4.ip_local_reserved_ports has them: `8080,9148-9150`. */
export function parsePortList(text: string): Set<number> {
  const ports = new Set<number>();
  for (const part of text.trim().split(',')) {
    const [, first, last = first] = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(part.trim()) ?? [];
    for (let port = Number(first); port <= Number(last) && port <= 65535; port++) ports.add(port);
  }
  return ports;
}

export function formatPortList(ports: Iterable<number>): string {
  const ranges: { first: number; last: number }[] = [];
  for (const port of [...ports].sort((a, b) => a - b)) {
    const range = ranges.at(-1);
    if (range !== undefined && range.last + 1 >= port) range.last = port;
    else ranges.push({ first: port, last: port });
  }
  return ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}
