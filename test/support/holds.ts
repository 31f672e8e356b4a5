import type { TestContext } from 'node:test';
import { HeldSocket } from '../../src/daemon/held-socket.js';
import type { HoldRequest } from '../../src/daemon/hold-request.js';
import type {
  Address,
  Reservation,
  SocketOptions,
  SocketSpec,
  WhileStopped,
} from '../../src/model/reservation.js';
import type { BoundAddress } from '../../src/native/index.js';
import { defaultOptions } from '../../src/config/reservation.js';

export { defaultOptions };

export function spec(
  type: SocketSpec['type'],
  address: Address,
  protocol?: SocketSpec['protocol'],
): SocketSpec {
  const at = { file: 'x.conf', line: 1 };
  return { type, address, listen: 'as written', at, ...(protocol === undefined ? {} : { protocol }) };
}

export function request(
  of: SocketSpec,
  options: Partial<SocketOptions> = {},
  whileStopped: WhileStopped = 'refuse',
  guarded = false,
  yields = false,
): HoldRequest {
  return { spec: of, options: { ...defaultOptions, ...options }, whileStopped, guarded, yields };
}

export function reservation(
  name: string,
  sockets: readonly SocketSpec[],
  changes: Partial<Reservation> = {},
): Reservation {
  return {
    name,
    sockets,
    options: defaultOptions,
    fdName: name,
    unit: `${name}.service`,
    handoff: 'exec',
    whileStopped: 'refuse',
    at: { file: `${name}.conf`, line: 1 },
    ...changes,
  };
}

/** Holds until the end of the test. */
export function hold(t: TestContext, wanted: HoldRequest, siblings: readonly HeldSocket[] = []): HeldSocket {
  const held = HeldSocket.bind(wanted, siblings);
  t.after(() => {
    held.close();
  });
  return held;
}

export function inet(host: string, port: number): BoundAddress & { family: 'inet' } {
  return { family: 'inet', host, port };
}

export function inet6(host: string, port: number): BoundAddress & { family: 'inet6' } {
  return { family: 'inet6', host, port };
}
