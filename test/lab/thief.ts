import { existsSync } from 'node:fs';
import type { Lab, LabOptions } from './lab.js';
import { projectRoot } from './paths.js';

/** What test/thieves/thief.c counts for one kind of theft, and for all of them. */
export interface ThiefTally {
  readonly attempts: number;
  readonly thefts: number;
  readonly listens: number;
}
export interface ThiefReport extends ThiefTally {
  readonly port: number;
  readonly kinds: Readonly<
    Record<
      string,
      ThiefTally & { readonly inUse: number; readonly otherErrors: number; readonly lastError?: string }
    >
  >;
}

const ways = ['', '--reuseaddr --listen', '--reuseport --listen', '--reuseaddr --reuseport --listen'];
const addresses = ['--address 127.0.0.1', '--address ::1'];

/**
 * Every kind of thief, TCP and UDP, IPv4 and IPv6. Plain ones and those with SO_REUSEADDR on every address; one address
 * suffices for those that share with nobody but their like.
 */
export const everyKind = [
  ...ways,
  ...addresses.flatMap((address) => [address, `${address} ${ways[1] ?? ''}`]),
].join(' --and ');

/**
 * What a lab needs to have a thief at work as the unit `name` from early boot on: after berth, which may then be the
 * first at the port, and before every unit in `before`, which must fear that it is not.
 */
export function thiefAtBoot(
  args: string,
  before: readonly string[],
  name = 'thief.service',
): Required<Pick<LabOptions, 'units' | 'enable' | 'programs'>> {
  const program = `${projectRoot}build/bin/thief`;
  if (!existsSync(program)) throw new Error(`${program} is not built`);
  const unit = `[Unit]
DefaultDependencies=no
After=berth.service
Before=sysinit.target ${before.join(' ')}
[Service]
Type=notify
ExecStart=/usr/local/bin/thief ${args}
[Install]
WantedBy=sysinit.target
`;
  return {
    units: { [name]: unit },
    enable: [name],
    programs: { '/usr/local/bin/thief': program },
  };
}

/** What the thief has counted so far. It goes on. */
export async function askThief(lab: Lab, name = 'thief.service'): Promise<ThiefReport> {
  const after = await lab.journalCursor();
  await lab.systemctl('kill', '--kill-whom=main', '--signal=USR1', name);
  return JSON.parse(await lab.waitForJournal(/^\{"port"/, { unit: name, after })) as ThiefReport;
}
