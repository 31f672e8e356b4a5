import { refusalOf, refusedSwitches } from '../config/foreign.js';
import { socketKeys } from '../config/keys.js';
import { buildReservation } from '../config/reservation.js';
import type { Services } from '../config/services.js';
import type { Assignment } from '../config/syntax.js';
import { parseBoolean, ValueError } from '../config/values.js';
import { daemonOfUnit } from '../generator/daemons.js';
import { BerthError } from '../model/errors.js';
import type { Mistake, Reservation } from '../model/reservation.js';
import { readUnit } from '../systemd/unit-file.js';
import type { UnitSearch } from '../systemd/unit-search.js';
import type { Imported, Skipped } from './import.js';
import type { Proposal } from './proposal.js';

/** Proposals for `.socket` units: what [Socket] says of the sockets, without what starts something. Throws BerthError. */
export function importSockets(
  units: readonly string[],
  reserved: readonly Reservation[],
  search: UnitSearch,
  services: Services,
): Imported {
  const proposals: Proposal[] = [];
  const skipped: Skipped[] = [];
  const mistakes: Mistake[] = [];
  for (const asked of units) {
    const found = search.find(asked.includes('.') ? asked : `${asked}.socket`);
    if (found.state === 'missing') throw new BerthError('NotFound', `there is no ${found.id}`);
    if (!found.id.endsWith('.socket')) throw new BerthError('Usage', `${found.id} is no .socket unit`);
    const name = found.id.replace(/\.socket$/, '');
    const owner = reserved.find((each) => each.name === name);
    if (found.state === 'masked') skipped.push({ what: found.id, reason: 'it is masked' });
    else if (owner !== undefined)
      skipped.push({ what: found.id, reason: `'${name}' is reserved already (${owner.at.file})` });
    else {
      const made = importSocket(search, found.id, name, services);
      mistakes.push(...made.mistakes);
      if (made.mistakes.length === 0) proposals.push(made.proposal);
    }
  }
  return { proposals, skipped, mistakes };
}

function importSocket(
  search: UnitSearch,
  id: string,
  name: string,
  services: Services,
): { proposal: Proposal; mistakes: readonly Mistake[] } {
  const unit = readUnit(search, search.find(id));
  const service = unit.last('Socket', 'Service')?.value ?? `${name}.service`;
  const mistakes: Mistake[] = [];
  const dropped: string[] = [];
  const kept: Assignment[] = [];
  for (const each of unit.files.flatMap(({ assignments }) => assignments)) {
    const { section, key, value } = each;
    if (section !== 'Socket' || key === 'Service') continue;
    if (socketKeys.has(key)) kept.push(each);
    else if (isOn(key, 'Accept', value)) {
      const message =
        'berth starts nothing, and this unit starts an instance for each connection: leave it to systemd';
      mistakes.push({ ...each, message });
    } else {
      const reason = refusalOf(key) ?? refusedSwitches.get(key);
      if (reason !== undefined) dropped.push(`Left out: ${key}=${value} (${reason}).`);
    }
  }
  const socket = kept.map(({ key, value }) => [key, value] as const);
  // systemd's own default, so that the service finds the sockets under the name that they have now.
  if (!kept.some(({ key, value }) => key === 'FileDescriptorName' && value !== ''))
    socket.push(['FileDescriptorName', id]);
  const at = { file: unit.found.file ?? id, line: 1 };
  const file = { file: at.file, sections: [], assignments: kept, mistakes: [] };
  mistakes.push(...buildReservation(name, at, [file], services).mistakes);
  const daemon = daemonOfUnit(readUnit(search, search.find(service)));
  const proposal: Proposal = {
    name,
    unit: service,
    comments: [
      `Proposed by berth import, from ${at.file}.`,
      `Handoff=store, because ${service} takes from systemd what ${id} passes to it now. It is no longer started by traffic.`,
      ...(daemon?.note === undefined ? [] : [daemon.note]),
      `Before this is held: systemctl disable --now ${id}`,
      ...dropped,
    ],
    socket,
    reservation: [
      ...(service === `${name}.service` ? [] : [['Service', service] as const]),
      ['Handoff', 'store'],
    ],
  };
  return { proposal, mistakes };
}

function isOn(key: string, wanted: string, value: string): boolean {
  if (key !== wanted) return false;
  try {
    return parseBoolean(value);
  } catch (error) {
    if (error instanceof ValueError) return false;
    throw error;
  }
}
