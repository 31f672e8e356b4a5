import { BerthError } from '../model/errors.js';
import { count, printable } from '../model/text.js';
import type { WatchEvent } from '../protocol/messages.js';
import { watchEvents } from '../protocol/watch-client.js';
import type { Invocation } from './arguments.js';
import { printJson, type Output } from './output.js';
import { padEnd } from './text.js';
import { formatClock } from './time.js';

/** How long to wait before berthd is looked for again. Under systemd its socket is there all the time. */
const patience = 250;

/** Prints what happens, as it happens, until it is stopped. A restart of berthd is waited for. */
export async function watch({ control, json, count: most }: Invocation, output: Output): Promise<number> {
  const { gone } = output;
  const show = (event: WatchEvent): void => {
    if (json) printJson({ ...output, jsonForm: 'short' }, event);
    else output.out(describe(event, output));
  };
  let seen = 0;
  for (let before = false; gone?.aborted !== true;) {
    try {
      for await (const event of watchEvents(control, gone)) {
        if (event.event !== 'watching') seen++;
        // The first greeting is no event; a later one says that berthd is back.
        if (event.event !== 'watching' || before || json) show(event);
        before = true;
        // So that a reader that is behind costs no memory here: berthd lets us go then, and says how much was lost.
        await output.drained?.();
        if (most > 0 && seen >= most) return 0;
      }
      show({ event: 'disconnected', time: Date.now(), message: 'berthd has closed; waiting for it' });
    } catch (error) {
      const isAbsent = error instanceof BerthError && (error.code === 'NoDaemon' || error.code === 'Failed');
      if (!before || !isAbsent) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, patience));
  }
  return 0;
}

/** What the number of an event counts. */
function numbered(event: WatchEvent['event'], number: number): string {
  switch (event) {
    case 'reloaded':
      return count(number, 'mistake');
    case 'retried':
      return number === 0 ? 'everything is held' : `${count(number, 'socket')} still to be held`;
    default:
      return count(number, 'event');
  }
}

const alarming: readonly WatchEvent['event'][] = ['failed', 'taken', 'refused', 'lost', 'disconnected'];

function describe(event: WatchEvent, output: Output): string {
  const { reservation, socket, pid, command, unit, mode, count: number, message } = event;
  const details = [
    ...(reservation === undefined ? [] : [reservation]),
    ...(socket === undefined ? [] : [socket]),
    ...(pid === undefined
      ? []
      : [`pid ${pid}${command === undefined ? '' : ` ${command}`}${unit === undefined ? '' : ` (${unit})`}`]),
    ...(pid === undefined && unit !== undefined ? [unit] : []),
    ...(mode === undefined ? [] : [`by ${mode}`]),
    ...(number === undefined ? [] : [numbered(event.event, number)]),
    ...(message === undefined ? [] : [message]),
  ];
  const kind = padEnd(event.event, 12);
  const shown = alarming.includes(event.event) ? output.paint('red', kind) : kind;
  return `${formatClock(event.time)}  ${shown}  ${printable(details.join(': '))}\n`;
}
