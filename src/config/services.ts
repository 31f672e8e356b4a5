/** What services(5) says: ports by name or alias and protocol. */
export interface Services {
  /** The port, or undefined when the name is unknown for that protocol. */
  port(name: string, protocol: string): number | undefined;
  /** The protocols that know the name, for messages. */
  protocols(name: string): string[];
}

/** Reads the text of /etc/services. As with getservbyname(3), lines that make no sense are skipped and the first wins. */
export function parseServices(text: string): Services {
  const ports = new Map<string, Map<string, number>>();
  for (const line of text.split('\n')) {
    const [name, target, ...aliases] = line
      .replace(/#.*/, '')
      .split(/\s+/)
      .filter((word) => word !== '');
    const [, digits, protocol] = /^([0-9]{1,5})\/([a-z0-9]+)$/.exec(target ?? '') ?? [];
    const port = Number(digits);
    if (name === undefined || protocol === undefined || port < 1 || port > 65535) continue;
    for (const known of [name, ...aliases]) {
      let byProtocol = ports.get(known);
      if (byProtocol === undefined) ports.set(known, (byProtocol = new Map<string, number>()));
      if (!byProtocol.has(protocol)) byProtocol.set(protocol, port);
    }
  }
  return {
    port: (name, protocol) => ports.get(name)?.get(protocol),
    protocols: (name) => [...(ports.get(name)?.keys() ?? [])],
  };
}
