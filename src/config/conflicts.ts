import { describeSocket, type Mistake, type Reservation, type SocketSpec } from '../model/reservation.js';

const listenKeys = {
  stream: 'ListenStream',
  datagram: 'ListenDatagram',
  seqpacket: 'ListenSequentialPacket',
} as const;

/**
 * The sockets that stand twice, as mistakes of the later place: the kernel would give the second one EADDRINUSE, and
 * the message would name berthd itself. Only the very same socket counts; what merely overlaps may still be wanted.
 */
export function sharedSockets(reservations: readonly Reservation[]): { name: string; mistake: Mistake }[] {
  const first = new Map<string, { spec: SocketSpec; reservation: Reservation }>();
  const found: { name: string; mistake: Mistake }[] = [];
  for (const reservation of reservations) {
    for (const spec of reservation.sockets) {
      const key = identity(spec, reservation);
      const earlier = first.get(key);
      if (earlier === undefined) first.set(key, { spec, reservation });
      else if (!mayShare(earlier.reservation, reservation)) {
        found.push({ name: reservation.name, mistake: mistakeOf(spec, reservation, earlier) });
      }
    }
  }
  return found;
}

/** By SO_REUSEPORT there are two sockets; portreserve's files, of which one releases for the others, share one. */
function mayShare(one: Reservation, other: Reservation): boolean {
  return (one.options.reusePort && other.options.reusePort) || (one.legacy === true && other.legacy === true);
}

function mistakeOf(
  spec: SocketSpec,
  reservation: Reservation,
  earlier: { spec: SocketSpec; reservation: Reservation },
): Mistake {
  const { file, line } = earlier.spec.at;
  const owner =
    earlier.reservation.name === reservation.name ? 'this reservation' : `'${earlier.reservation.name}'`;
  return {
    ...spec.at,
    key: reservation.legacy === true ? '' : listenKeys[spec.type],
    message: `${describeSocket(spec)} is reserved already by ${owner} (${file}:${line})`,
  };
}

/** Equal for what bind(2) could not have twice. */
function identity({ type, protocol, address }: SocketSpec, { options }: Reservation): string {
  switch (address.family) {
    case 'unix':
      // One file node, of whatever type.
      return `unix ${address.path}`;
    case 'abstract':
      return `abstract ${type} ${address.name}`;
    default: {
      const kind = protocol === 'mptcp' ? 'stream' : `${type} ${protocol ?? ''}`.trimEnd();
      const scope = address.family === 'inet6' ? (address.scope ?? '') : '';
      const host = address.family === 'any' ? '::' : address.host;
      return `${kind} ${host}%${scope} ${address.port} ${options.bindToDevice ?? ''}`;
    }
  }
}
