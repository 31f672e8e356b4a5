import type { ClaimantInfo, ReservationStatus, SocketInfo } from '../protocol/messages.js';
import type { Invocation } from './arguments.js';
import { findStatus } from './find.js';
import { printJson, type Colour, type Output } from './output.js';
import { printable } from '../model/text.js';
import { padEnd, width } from './text.js';
import { formatAge, formatTime } from './time.js';

export async function status({ operands, control, json }: Invocation, output: Output): Promise<number> {
  const [name = ''] = operands;
  const answer = await findStatus(control, name);
  if (json) {
    printJson(output, answer);
  } else {
    output.out(describe(answer, output));
  }
  return 0;
}

const colours: Readonly<Record<SocketInfo['state'] | ReservationStatus['state'], Colour | undefined>> = {
  held: undefined,
  active: 'green',
  listening: 'green',
  lent: 'green',
  released: 'bold',
  failed: 'red',
};

function describe(answer: ReservationStatus, output: Output): string {
  const now = Date.now();
  const paint = (state: keyof typeof colours, text: string): string =>
    colours[state] === undefined ? text : output.paint(colours[state], text);
  const when = (since: number): string => `since ${formatTime(since)}; ${formatAge(since, now)}`;
  const fields: readonly (readonly [string, readonly string[]])[] = [
    ['State', [`${paint(answer.state, answer.state)} ${when(answer.since)}`]],
    ['Unit', [printable(answer.unit === '' ? '-' : answer.unit)]],
    ['Handoff', [answer.handoff]],
    ['While stopped', [answer.whileStopped]],
    ['Descriptor name', [printable(answer.fdName)]],
    ['Defined at', [printable(answer.definedAt)]],
    ['Sockets', socketLines(answer.sockets, paint)],
    ['Claimed by', claimantLines(answer.claimants, when)],
  ];
  const margin = Math.max(...fields.map(([label]) => width(label)));
  const body = fields.map(([label, lines]) =>
    lines.map((line, i) => `${(i === 0 ? `${label}:` : '').padStart(margin + 1)} ${line}\n`).join(''),
  );
  return `${paint(answer.state, '●')} ${output.paint('bold', printable(answer.name))}\n${body.join('')}`;
}

type Paint = (state: SocketInfo['state'], text: string) => string;

function socketLines(sockets: readonly SocketInfo[], paint: Paint): readonly string[] {
  const names = sockets.map(({ socket }) => printable(socket));
  const nameWidth = Math.max(0, ...names.map(width));
  const stateWidth = Math.max(0, ...sockets.map(({ state }) => state.length));
  return sockets.map(({ state, inode, error }, i) => {
    const details = [
      ...(inode === undefined ? [] : [`inode ${inode}`]),
      ...(error === undefined ? [] : [error]),
    ];
    const line = `${padEnd(names[i] ?? '', nameWidth)}  ${paint(state, padEnd(state, stateWidth))}`;
    return details.length === 0 ? line : `${line}  ${printable(details.join(', '))}`;
  });
}

function claimantLines(
  claimants: readonly ClaimantInfo[],
  when: (since: number) => string,
): readonly string[] {
  if (claimants.length === 0) {
    return ['nobody'];
  }
  return claimants.map(({ pid, command, unit, since }) => {
    const inUnit = unit === undefined ? '' : ` in ${unit}`;
    return `${printable(`pid ${pid} ${command}${inUnit}`)}, ${when(since)}`;
  });
}
