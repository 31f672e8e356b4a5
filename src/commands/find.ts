import { closest } from '../config/spelling.js';
import { BerthError } from '../model/errors.js';
import { call, listAll } from '../protocol/client.js';
import type { ReservationStatus } from '../protocol/messages.js';

/** The status of a reservation. Throws NotFound with the name that was most likely meant. */
export async function findStatus(control: string, name: string): Promise<ReservationStatus> {
  try {
    return await call(control, 'Status', { name });
  } catch (error) {
    if (!(error instanceof BerthError) || error.code !== 'NotFound') throw error;
    const reservations = await listAll(control).catch(() => []);
    const meant = closest(
      name,
      reservations.map((each) => each.name),
    );
    const hint = meant === undefined ? "'berth list' has those that there are" : `did you mean '${meant}'?`;
    throw new BerthError('NotFound', `${error.message}; ${hint}`, { cause: error });
  }
}
