import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { ReservationStatus } from '../../src/protocol/messages.js';
import type { Lab } from './lab.js';
import { projectRoot } from './paths.js';

/** A unit whose drop-in is to be wrong, or of another kind than the generator's. */
export interface Claimant {
  readonly unit: string;
  readonly reservations: readonly string[];
  readonly notifyAccess?: string;
  readonly storeMax?: number;
}

/** Drop-ins in the place of those that the generator writes, by their names below /etc/systemd/system. */
export function dropIns(...claimants: readonly Claimant[]): Record<string, string> {
  return Object.fromEntries(
    claimants.map((claimant) => [`${claimant.unit}.d/50-berth.conf`, dropIn(claimant)]),
  );
}

function dropIn({ reservations, notifyAccess = 'exec', storeMax = 64 }: Claimant): string {
  const claims = reservations.map((name) => `ExecStartPre=+/usr/bin/berth-claim ${name}`);
  return `[Unit]
Wants=berth.socket
After=berth.socket
[Service]
NotifyAccess=${notifyAccess}
FileDescriptorStoreMax=${storeMax}
${claims.join('\n')}
`;
}

/** The text of a reservation: its `[Socket]` lines, then its `[Reservation]` lines. */
export function reservation(sockets: readonly string[], settings: readonly string[] = []): string {
  return `${['[Socket]', ...sockets, '[Reservation]', ...settings].join('\n')}\n`;
}

/** The files of reservations, by name. */
export function reservations(texts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(texts).map(([name, text]) => [`/etc/berth/${name}.conf`, text]));
}

export function statusOf(lab: Lab, name: string): Promise<ReservationStatus> {
  return lab.json<ReservationStatus>(['berth', 'status', name, '--json']);
}

/** The kernel's numbers of a reservation's sockets, in the order of its file: the same number is the same socket. */
export async function inodesOf(lab: Lab, name: string): Promise<(number | undefined)[]> {
  return (await statusOf(lab, name)).sockets.map(({ inode }) => inode);
}

/** Where labs have test/lab/peer.c. */
export const peer = '/usr/local/bin/peer';

function built(name: string): string {
  const program = `${projectRoot}build/bin/${name}`;
  if (!existsSync(program)) throw new Error(`${program} is not built`);
  return program;
}

/** For the option `programs`: peer.c at its place, and wherever else a test needs it. */
export function peerAt(...paths: readonly string[]): Record<string, string> {
  return Object.fromEntries([peer, ...paths].map((path) => [path, built('peer')]));
}

/** What peer.c says that it was given. */
export interface PeerAnswer {
  readonly pid: number;
  readonly uid: number;
  readonly sockets: readonly {
    readonly name: string;
    readonly inode: number;
    readonly type: 'tcp' | 'udp';
  }[];
}

/** Asks a server on a reserved socket. Throws with the name of the error when it does not answer. */
export async function askPeer(
  lab: Lab,
  protocol: 'tcp' | 'udp',
  address: string,
  port: number,
): Promise<PeerAnswer> {
  return JSON.parse(await lab.text([peer, 'ask', protocol, address, `${port}`])) as PeerAnswer;
}

/** How an attempt to ask ends that nobody answers: `ECONNREFUSED`, or `EAGAIN` after a while of silence. */
export async function failureToAsk(
  lab: Lab,
  protocol: 'tcp' | 'udp',
  address: string,
  port: number,
): Promise<string> {
  const outcome = await lab.run([peer, 'ask', protocol, address, `${port}`, '200'], { allowFail: true });
  return outcome.status === 0 ? `answered: ${outcome.stdout}` : outcome.stderr.trim();
}

export interface FloodReport {
  readonly answered: number;
  readonly refused: number;
  readonly cut: number;
  readonly silent: number;
}

/** A client that asks over and over until `end` is called, which counts how that went. */
export function flood(
  lab: Lab,
  protocol: 'tcp' | 'udp',
  address: string,
  port: number,
): { end(): Promise<FloodReport> } {
  const client = lab.spawn([peer, 'flood', protocol, address, `${port}`]);
  const said = client.stdout.toArray() as Promise<Buffer[]>;
  return {
    async end() {
      client.stdin.end();
      return JSON.parse(Buffer.concat(await said).toString()) as FloodReport;
    },
  };
}

/** Kills berthd as a crash would; systemd starts it again. False when it was not there just then. */
export async function killBerthd(lab: Lab): Promise<boolean> {
  const kill = ['systemctl', 'kill', '--kill-whom=main', '--signal=KILL', 'berth.service'];
  const { status, stderr } = await lab.run(kill, { allowFail: true });
  if (status !== 0 && !stderr.includes('No main process to kill')) throw new Error(stderr);
  return status === 0;
}

async function serves(lab: Lab): Promise<true | undefined> {
  return (await lab.property('berth.service', 'SubState')) === 'running' ? true : undefined;
}

/** Numbers from 0 up to 1, the same ones for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Kills berthd for as long as `action` takes, every so often as `random` chooses. Answers how often that was. */
export async function whileKilled(
  lab: Lab,
  action: () => Promise<void>,
  random: () => number = Math.random,
  atMostMs = 500,
): Promise<number> {
  let running = true;
  let kills = 0;
  const kill = async (): Promise<void> => {
    while (running) {
      if (await killBerthd(lab)) kills++;
      // Every other one comes up: on a busy machine none would be given the time to serve anybody.
      if (kills % 2 === 0) await lab.until('berthd to serve', () => serves(lab), 60_000);
      await pause(random() * atMostMs);
    }
  };
  const act = async (): Promise<void> => {
    try {
      await action();
    } finally {
      running = false;
    }
  };
  await Promise.all([kill(), act()]);
  return kills;
}
