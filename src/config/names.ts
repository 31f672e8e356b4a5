import { quote, ValueError } from './values.js';

/** `berthd.conf` beside the reservations is the daemon's own settings. */
export const settingsName = 'berthd';

/** Checks the name of a reservation, which its file bears: `[A-Za-z0-9_.@-]+`. */
export function checkReservationName(name: string): void {
  if (!/^[A-Za-z0-9_.@-]+$/.test(name)) {
    throw new ValueError(`${quote(name)} cannot name a reservation: letters, digits and any of _ . @ - may`);
  }
  if (name === settingsName)
    throw new ValueError(`'${settingsName}' cannot name a reservation: it is the daemon's own`);
  if (name.startsWith('@'))
    throw new ValueError(`${quote(name)} cannot name a reservation: nothing is before the '@'`);
  if (name.endsWith('@')) {
    throw new ValueError(`${quote(name)} is a template: link ${name}INSTANCE.conf to it for each instance`);
  }
}

/** A service unit that sockets can be handed to: systemd's unit_name_is_valid(), without templates. */
export function parseServiceUnit(text: string): string {
  if (!text.endsWith('.service')) throw new ValueError(`${quote(text)} does not end in .service`);
  const stem = text.slice(0, -'.service'.length);
  if (text.length > 255 || !/^[A-Za-z0-9:_.\\-][A-Za-z0-9:_.\\@-]*$/.test(stem)) {
    throw new ValueError(`${quote(text)} is not a valid unit name`);
  }
  if (stem.endsWith('@')) throw new ValueError(`${quote(text)} is a template: name one instance of it`);
  return text;
}
