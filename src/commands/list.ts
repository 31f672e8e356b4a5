import { listAll } from '../protocol/client.js';
import type { ReservationInfo, ReservationState } from '../protocol/messages.js';
import type { Invocation } from './arguments.js';
import { printJson, type Output } from './output.js';
import { formatTable } from './table.js';
import { count, printable } from '../model/text.js';
import { formatAge } from './time.js';

const heads = ['NAME', 'SOCKETS', 'UNIT', 'MODE', 'STATE', 'SINCE'] as const;
const stateColumn = heads.indexOf('STATE');
const colours = {
  held: undefined,
  active: 'green',
  released: 'bold',
  failed: 'red',
} as const satisfies Record<ReservationState, unknown>;

export async function list({ control, json, legend }: Invocation, output: Output): Promise<number> {
  const reservations = await listAll(control);
  if (json) {
    printJson(output, reservations);
    return 0;
  }
  if (reservations.length > 0) {
    output.out(table(reservations, legend, output));
  }
  if (legend) {
    output.out(summary(reservations));
  }
  return 0;
}

function table(reservations: readonly ReservationInfo[], legend: boolean, output: Output): string {
  const now = Date.now();
  const rows = reservations.map(({ name, sockets, unit, handoff, state, since }) =>
    [name, sockets.join(', '), unit === '' ? '-' : unit, handoff, state, formatAge(since, now)].map(
      printable,
    ),
  );
  return formatTable(heads, rows, {
    columns: output.columns,
    header: legend,
    paintHeader: (line) => output.paint('bold', line),
    paintCell: (text, row, column) => {
      const colour = column === stateColumn ? colours[reservations[row]?.state ?? 'held'] : undefined;
      return colour === undefined ? text : output.paint(colour, text);
    },
  });
}

function summary(reservations: readonly ReservationInfo[]): string {
  if (reservations.length === 0) {
    return 'no reservations; put one into /etc/berth/NAME.conf and run berth reload\n';
  }
  const sockets = reservations.reduce((sum, each) => sum + each.sockets.length, 0);
  const failed = reservations.filter(({ state }) => state === 'failed').length;
  const parts = [count(reservations.length, 'reservation'), count(sockets, 'socket')];
  return `\n${[...parts, ...(failed > 0 ? [`${failed} failed`] : [])].join(', ')}\n`;
}
