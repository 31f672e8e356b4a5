import { randomInt } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { bootLab } from '../lab/lab.js';
import type { Lab } from '../lab/lab.js';
import { programs } from './programs.js';

/** Where the labs have the program that times commands. */
export const timerPath = '/usr/local/bin/spawn-timer';

/** The least that berthd uses up of RLIMIT_NOFILE beside its held sockets. */
const spareFds = 100;

/** A booted machine with berth, which holds `size` TCP ports: a file each, of a service each. */
export interface BenchMachine {
  readonly lab: Lab;
  readonly size: number;
}

/**
 * Whom the ports are for: services that the machine does not have, nobody (Handoff=none), or services that systemd has
 * loaded.
 */
export type Services = 'missing' | 'none' | 'loaded';

/** Boots a machine and has it hold `size` ports. The caller closes its lab. */
export async function bootMachine(size: number, services: Services = 'missing'): Promise<BenchMachine> {
  const name = `bench-${services}-${size}`;
  const lab = await bootLab({ name, programs: { [timerPath]: programs.spawnTimer } });
  try {
    await reserve(lab, size, services);
    return { lab, size };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

/** What each of them adds to the loop that writes the reservations. */
const additions: Readonly<Record<Services, string>> = {
  missing: '',
  none: "printf '[Reservation]\\nHandoff=none\\n' >>/etc/berth/bench-$i.conf",
  // What a loaded unit names in After= is loaded, and not started.
  loaded: `printf '[Service]\\nExecStart=/bin/sleep inf\\n' >/etc/systemd/system/bench-$i.service
  printf '[Unit]\\nAfter=bench-%d.service\\n' $i >>/etc/systemd/system/bench.target`,
};

async function reserve(lab: Lab, size: number, services: Services): Promise<void> {
  if (size === 0) return;
  const pid = await lab.property('berth.service', 'MainPID');
  const limit = /^Max open files\s+\d+\s+(\d+)/m.exec(await lab.text(['cat', `/proc/${pid}/limits`]))?.[1];
  // It is also how many sockets may be in flight, where CAP_SYS_RESOURCE is missing: those of the vault.
  if (Number(limit) < size + spareFds) throw new Error(`berthd may have ${limit} descriptors in the lab`);
  const write = `i=0
while [ $i -lt $0 ]; do
  printf '[Socket]\\nListenStream=%s:%d\\n' "$1" $((20000 + i)) >/etc/berth/bench-$i.conf
  ${additions[services]}
  i=$((i + 1))
done`;
  await lab.run(['sh', '-c', write, `${size}`, `127.${randomInt(64, 192)}.1.1`]);
  await lab.systemctl('reload', 'berth.service');
  await lab.systemctl('daemon-reload');
  if (services === 'loaded') await lab.systemctl('start', 'bench.target');
  const status = await lab.property('berth.service', 'StatusText');
  if (!status.startsWith(`Holding ${size} sockets`)) throw new Error(`berthd says: ${status}`);
}

/** CPU time in milliseconds that a cgroup of the lab has used since it was made: user and system, children included. */
export function cpuOf(lab: Lab, cgroup: string): number {
  const stat = readFileSync(`/proc/${lab.init}/root/sys/fs/cgroup/${cgroup}/cpu.stat`, 'utf8');
  return Number(/^usage_usec (\d+)$/m.exec(stat)?.[1]) / 1000;
}

/** The pid of a unit's only process, as this machine counts. */
export function pidOf(lab: Lab, unit: string): number {
  const procs = `/proc/${lab.init}/root/sys/fs/cgroup/system.slice/${unit}/cgroup.procs`;
  return Number(readFileSync(procs, 'utf8').trim());
}

/** The inodes of all sockets that a process has open. */
export function socketsOf(pid: number): Set<string> {
  const directory = `/proc/${pid}/fd`;
  const links = readdirSync(directory).map((fd) => {
    try {
      return readlinkSync(`${directory}/${fd}`);
    } catch {
      return ''; // closed meanwhile
    }
  });
  return new Set(links.filter((link) => link.startsWith('socket:')));
}
