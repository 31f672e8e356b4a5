import { readServicesText } from '../config/disk.js';
import { parseServices } from '../config/services.js';
import { rangesOf, type PortRanges } from '../systemd/port-ranges.js';
import type { Invocation } from './arguments.js';
import { printJson, type Output } from './output.js';
import { parseWanted, serviceName, type Protocol, type Wanted } from './why-port.js';
import { isOn, reservationsOf, type PortReservation, type Reservations } from './why-reservations.js';
import { occupantsOf, type Kind, type Occupant } from './why-sockets.js';
import { describeAnswer } from './why-text.js';

/** What is known of one port of one protocol. `verdict` is the kind of what decides; `free` when nothing is in the way. */
export interface Answer {
  readonly protocol: Protocol;
  readonly port: number;
  readonly host: string | null;
  readonly service: string | null;
  readonly verdict: Kind | 'free';
  readonly occupants: readonly Occupant[];
  readonly reservations: readonly PortReservation[];
  readonly ranges: PortRanges;
  readonly unseen: readonly string[];
}

/** Who has a port, and could it be taken: the answer to "Address already in use". */
export async function why({ operands, control, json }: Invocation, output: Output): Promise<number> {
  const text = readServicesText();
  const wanted = parseWanted(operands[0] ?? '', parseServices(text));
  const reservations = await reservationsOf(wanted, control);
  const answers = wanted.map((each) => answerTo(each, reservations, text));
  if (json) {
    printJson(output, { answers, berthd: reservations.silence ?? null });
    return 0;
  }
  output.out(answers.map((answer) => describeAnswer(answer, output)).join('\n'));
  if (reservations.silence !== undefined) output.err(`berth: ${reservations.silence}\n`);
  return 0;
}

function answerTo(wanted: Wanted, reservations: Reservations, services: string): Answer {
  const { protocol, port, host = null } = wanted;
  const { occupants, unseen } = occupantsOf(wanted, reservations);
  // Neither hinders a bind(2): the one that the listener does not, and the other is not here.
  const verdict = occupants.find(({ kind }) => kind !== 'connection' && kind !== 'elsewhere')?.kind ?? 'free';
  return {
    protocol,
    port,
    host,
    service: serviceName(services, port, protocol) ?? null,
    verdict,
    occupants,
    reservations: reservations.ofPort.filter(({ sockets }) =>
      sockets.some(({ socket }) => isOn(socket, wanted)),
    ),
    ranges: rangesOf(port),
    unseen,
  };
}
