import { formatLocation, type Reservation } from '../model/reservation.js';

/** One assignment with the reason for it, which stands above it. */
export interface Setting {
  readonly section: 'Unit' | 'Service';
  readonly key: string;
  readonly value: string;
  readonly reason?: string;
}

const width = 110;

/** The text of a drop-in: for whom it is, and every setting with its reason. */
export function dropInText(reservations: readonly Reservation[], settings: readonly Setting[]): string {
  const lines = reservations.map(
    ({ name, handoff, at }) => `# '${name}' (${formatLocation(at)}), Handoff=${handoff}`,
  );
  let text = ['# Written by berth-generator(8); changes here are lost.', ...lines]
    .map((line) => `${line}\n`)
    .join('');
  for (const section of ['Unit', 'Service'] as const) {
    const own = settings.filter((setting) => setting.section === section);
    if (own.length === 0) continue;
    text += `\n[${section}]\n`;
    for (const { key, value, reason } of own) {
      if (reason !== undefined) text += wrap(reason);
      text += `${key}=${value}\n`;
    }
  }
  return text;
}

function wrap(reason: string): string {
  let text = '';
  let line = '#';
  for (const word of reason.split(' ')) {
    if (line.length + 1 + word.length > width) {
      text += `${line}\n`;
      line = '#';
    }
    line += ` ${word}`;
  }
  return `${text}${line}\n`;
}
