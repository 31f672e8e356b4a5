import { count, printable } from '../model/text.js';
import type { ProcessDetails } from '../systemd/process-details.js';
import type { Output } from './output.js';
import { padEnd, width } from './text.js';
import { formatAge, formatTime } from './time.js';
import type { Answer } from './why.js';
import type { PortReservation } from './why-reservations.js';
import type { Kind, Occupant } from './why-sockets.js';

/** What each kind of socket does there, in a line of its own. */
const doings: Readonly<Record<Kind, string>> = {
  held: 'held',
  listener: 'listens',
  bound: 'bound, silent',
  client: 'connected',
  kernel: "the kernel's",
  hidden: 'in use',
  closing: 'closing',
  connection: 'connection',
  elsewhere: 'elsewhere',
};

/** The answer for people: who has the port, each socket on it, who may take it, and what to do next. */
export function describeAnswer(answer: Answer, output: Output): string {
  const { protocol, port, host, service } = answer;
  const name = `${protocol} ${host === null ? '' : `${host.includes(':') ? `[${host}]` : host}:`}${port}`;
  const head = `${name}${service === null ? '' : ` (${service})`}: ${printable(verdictOf(answer))}`;
  const now = Date.now();
  const lines = [
    ...answer.reservations.flatMap((each) => reservationLines(each, now)),
    ...occupantLines(answer.occupants, now),
    ...remarks(answer),
    ...nextSteps(answer).map((step) => `→ ${step}`),
    ...answer.unseen.map((gap) => `Not seen: ${gap}`),
  ];
  return `${output.paint('bold', head)}\n${lines.map((line) => `  ${printable(line)}\n`).join('')}`;
}

function verdictOf({ verdict, occupants, reservations }: Answer): string {
  const [first] = occupants.filter(({ kind }) => kind === verdict);
  const process = first?.processes[0];
  const who = process === undefined ? 'a process' : nameOf(process);
  switch (verdict) {
    case 'held':
      return first?.reservation === undefined
        ? 'held by berth, whose berthd does not answer'
        : `held by berth${forWhom(reservations.find(({ name }) => name === first.reservation))}`;
    case 'listener':
      return `taken: ${who} listens`;
    case 'bound':
      return `taken: ${who} has bound it and does not listen`;
    case 'client':
      return `taken as the local port of a connection of ${who}`;
    case 'kernel':
      return 'taken by the kernel itself: no process has it';
    case 'hidden':
      return `taken by user ${first?.user ?? '?'}: a process that only root may see, or the kernel`;
    case 'closing':
      return 'free, but for what is left of connections';
    default:
      return occupants.some(({ kind }) => kind === 'elsewhere') ? 'free in this network namespace' : 'free';
  }
}

function forWhom(reservation: PortReservation | undefined): string {
  if (reservation === undefined) return '';
  const { unit, handoff } = reservation;
  return handoff === 'none' || unit === '' ? ' for nobody (Handoff=none)' : ` for ${unit}`;
}

function reservationLines(reservation: PortReservation, now: number): string[] {
  const { name, handoff, state, since, definedAt, claimants, sockets } = reservation;
  const word =
    state === undefined || since === undefined ? 'reserved in a file' : `${state} ${when(since, now)}`;
  return [
    `reservation '${name}' (${definedAt}, Handoff=${handoff}): ${word}`,
    ...claimants.map(
      ({ pid, command, unit, since }) =>
        `claimed by pid ${pid} ${command}${unit === undefined ? '' : ` (${unit})`}, ${when(since, now)}`,
    ),
    ...(state !== undefined && claimants.length === 0 && handoff !== 'none' ? ['claimed by nobody'] : []),
    ...sockets.flatMap(({ error }) => error ?? []),
  ];
}

function occupantLines(occupants: readonly Occupant[], now: number): string[] {
  const shown = occupants.filter(({ kind }) => kind !== 'connection');
  const connections = occupants.filter(({ kind }) => kind === 'connection');
  const ends = shown.map(({ address, peer }) => (peer === undefined ? address : `${address} → ${peer}`));
  const endWidth = Math.max(0, ...ends.map(width));
  const number = connections.reduce((sum, each) => sum + each.count, 0);
  return [
    ...shown.map((occupant, index) => {
      const { kind, processes, user, namespace, member } = occupant;
      const whose =
        kind === 'closing' || kind === 'kernel'
          ? []
          : member !== undefined
            ? [`the one of pid ${member}`]
            : processes.length === 0
              ? [`user ${user}`]
              : processes.map((process) => processText(process, now));
      const details = [
        doings[kind],
        ...(occupant.count > 1 ? [`${occupant.count} of them`] : []),
        ...(namespace === undefined ? [] : [`network namespace ${namespace}`]),
        ...whose,
      ];
      return `${padEnd(ends[index] ?? '', endWidth)}  ${details.join('; ')}`;
    }),
    ...(number > 0 ? [count(number, 'open connection')] : []),
  ];
}

function processText(process: ProcessDetails, now: number): string {
  const { user, since } = process;
  return [
    nameOf(process),
    ...(user === undefined ? [] : [`user ${user}`]),
    ...(since === undefined ? [] : [when(since, now)]),
  ].join(', ');
}

function nameOf({ pid, command, unit }: ProcessDetails): string {
  return `pid ${pid} ${command}${unit === undefined ? '' : ` (${unit})`}`;
}

function when(since: number, now: number): string {
  return `since ${formatTime(since)}; ${formatAge(since, now)}`;
}

/** Who else might take it, of a port that nobody holds. */
function remarks({ verdict, ranges, port, reservations }: Answer): string[] {
  if (verdict === 'held')
    return ['Nothing else can bind it: berth keeps it also while its service is stopped.'];
  if (verdict !== 'free' && verdict !== 'closing') return [];
  const { ephemeral, spared, ephemeralRange, privileged, bindresvport } = ranges;
  return [
    privileged
      ? 'Only root, or a program with CAP_NET_BIND_SERVICE, can bind it.'
      : 'Any program of any user can bind it.',
    ...(bindresvport
      ? [
          `A program that calls bindresvport(3) may take it at any moment: they pick from 512 to 1023${
            port >= 665 ? ", and the kernel's NFS client from 665 on" : ''
          }.`,
        ]
      : []),
    ...(ephemeral
      ? [
          `An outgoing connection may take it at any moment: net.ipv4.ip_local_port_range is ${ephemeralRange}.`,
        ]
      : []),
    ...(spared ? ['Outgoing connections leave it alone: net.ipv4.ip_local_reserved_ports has it.'] : []),
    ...(verdict === 'closing'
      ? [
          'A server that sets SO_REUSEADDR, as nearly all do, can have it now; others in a minute (TIME_WAIT).',
        ]
      : []),
    ...(reservations.length === 0 ? ['It is not reserved.'] : []),
  ];
}

function nextSteps(answer: Answer): string[] {
  const { verdict, occupants, reservations, protocol, port } = answer;
  const [reservation] = reservations;
  const [first] = occupants.filter(({ kind }) => kind === verdict);
  const status =
    reservation === undefined
      ? []
      : [
          reservation.state === undefined
            ? 'systemctl start berth.service'
            : `berth status ${reservation.name}`,
        ];
  const key = protocol === 'tcp' ? 'ListenStream' : 'ListenDatagram';
  const reserve =
    reservation === undefined
      ? [`to reserve it: ${key}=${port} below [Socket] in /etc/berth/NAME.conf, then berth reload`]
      : [];
  switch (verdict) {
    case 'held':
      return first?.reservation === undefined ? ['systemctl start berth.service'] : status;
    case 'listener':
    case 'bound':
      return [...freeing(first?.processes[0]), ...(reservation === undefined ? reserve : status)];
    case 'client':
      return ['it is free again when that connection ends', ...freeing(first?.processes[0]), ...reserve];
    case 'kernel':
      return [
        'NFS (client, lockd, nfsd) and tunnels (vxlan, wireguard) do this: findmnt -t nfs,nfs4; rpcinfo -p; ip -d link',
        ...reserve,
      ];
    case 'hidden':
      return [`sudo berth why ${port}/${protocol}`];
    default:
      return reservation === undefined ? reserve : status;
  }
}

function freeing(process: ProcessDetails | undefined): string[] {
  if (process === undefined) return [];
  const { pid, unit } = process;
  if (pid === 1) return ['PID 1 has it for a .socket unit: systemctl list-sockets'];
  if (unit?.endsWith('.service') === true && !unit.startsWith('user@')) return [`systemctl stop ${unit}`];
  return [`kill ${pid}`];
}
