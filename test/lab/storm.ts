import { readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import type { ReservationStatus } from '../../src/protocol/messages.js';
import { call } from '../../src/protocol/client.js';
import { askPeer, peer, peerAt, reservation, reservations } from './claims.js';
import type { Lab, LabOptions } from './lab.js';
import { projectRoot } from './paths.js';
import { isSanitized } from './sanitized.js';
import { strike } from './step.js';
import type { Struck } from './step.js';

/** A service for each way of handing over, each on a port of its own. */
export const services = {
  exec: { port: 7001, handoff: 'exec', command: 'serve' },
  store: { port: 7002, handoff: 'store', command: 'serve' },
  queue: { port: 7003, handoff: 'store', command: 'serve', whileStopped: 'queue' },
  lend: { port: 7004, handoff: 'lend', command: 'serve --share :: 7004' },
  bind: { port: 7005, handoff: 'bind', command: 'serve --bind :: 7005' },
} as const;
export type Service = keyof typeof services;
export const names = Object.keys(services) as Service[];

/** LeakSanitizer, which traces a process as well, fails where another one does. */
const untraced = { ASAN_OPTIONS: 'detect_leaks=0' };

/** What stands in the way of berth-claim: the number in /run/step is the call at which it is killed. */
const wrapper = `#!/bin/sh
if [ -e /run/step ]; then
  n=$(cat /run/step)
  rm /run/step
  export ASAN_OPTIONS=${untraced.ASAN_OPTIONS}
  exec /usr/local/bin/step run "$n" kill /usr/bin/berth-claim.real "$@"
fi
exec /usr/bin/berth-claim.real "$@"
`;

/** While /run/hold is there, a berthd begins when somebody writes to /run/go, to open which nobody has to wait. */
const gate = `[Service]
InaccessiblePaths=
ExecStart=
ExecStart=/bin/sh -c 'if [ -e /run/hold ]; then exec 9<>/run/go; read -r go <&9; fi; exec /usr/sbin/berthd 9<&-'
`;

/** By how many seconds berthd's clock of the day is off (preload/clock.c). */
const clock = '/srv/clock';
const clockLibrary = '/usr/local/lib/clock.so';

export const stormLab: LabOptions = {
  name: 'storm',
  units: {
    'berth.service.d/gate.conf': gate,
    'berth.service.d/clock.conf': `[Service]\nEnvironment=LD_PRELOAD=${clockLibrary}\n`,
    ...Object.fromEntries(
      names.map((name) => [
        `${name}.service`,
        `[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart=${peer} ${services[name].command} --notify
[Install]
WantedBy=multi-user.target
`,
      ]),
    ),
  },
  enable: names.map((name) => `${name}.service`),
  programs: {
    ...peerAt(),
    '/usr/local/bin/step': `${projectRoot}build/bin/step`,
    [clockLibrary]: `${projectRoot}build/bin/clock.so`,
  },
  files: {
    [clock]: '\0'.repeat(8),
    ...reservations(
      Object.fromEntries(
        names.map((name) => {
          const { port, handoff, ...more } = services[name];
          const settings = [
            `Handoff=${handoff}`,
            ...('whileStopped' in more ? [`WhileStopped=${more.whileStopped}`] : []),
          ];
          return [name, reservation([`ListenStream=${port}`, `ListenDatagram=${port}`], settings)];
        }),
      ),
    ),
  },
};

/** The machine under the storm, and what has to be true of it whatever happens. */
export class Storm {
  #baseline = '';
  #descriptors: readonly string[] = [];
  #manager: readonly string[] = [];
  /** Seconds by which berthd's clock of the day is off. */
  #ahead = 0;
  #callsBefore = 0;

  private constructor(readonly lab: Lab) {}

  static async begin(lab: Lab): Promise<Storm> {
    const storm = new Storm(lab);
    await lab.run('mkfifo -m 644 /run/go');
    await lab.run('mv /usr/bin/berth-claim /usr/bin/berth-claim.real');
    await lab.write('/usr/bin/berth-claim', wrapper, 0o755);
    // The loader's calls, and those of ASan at the beginning and at the end: some of them may well be struck, too.
    if (isSanitized) storm.#callsBefore = (await storm.#countCalls()) - 12;
    await storm.restartAll();
    storm.#baseline = await storm.#sockets();
    storm.#descriptors = descriptorsOf(storm.berthd);
    storm.#manager = descriptorsOf(lab.init);
    return storm;
  }

  /** berthd's process as this machine counts; 0 while there is none. */
  get berthd(): number {
    const cgroup = `/proc/${this.lab.init}/root/sys/fs/cgroup/system.slice/berth.service/cgroup.procs`;
    return Number(readFirstLine(cgroup) ?? 0);
  }

  async restart(name: Service): Promise<void> {
    await this.lab.systemctl('restart', `${name}.service`);
  }

  /** What berthd could not do for want of something is made up for by each service's next claim. */
  async restartAll(): Promise<void> {
    for (const name of names) await this.restart(name);
  }

  /** Strikes berthd at the nth step of what `action` has it do. */
  async strike(n: number, how: string, action: () => Promise<unknown>): Promise<Struck> {
    await this.settled();
    return strike(this.berthd, n, how, action);
  }

  /** Kills berthd, and strikes the next one at the nth step of its start. */
  async strikeStart(n: number, how: string): Promise<Struck> {
    await this.settled();
    await this.lab.run('touch /run/hold');
    process.kill(this.berthd, 'SIGKILL');
    const waiting = (): Promise<number | undefined> => {
      const { berthd } = this;
      return Promise.resolve(readFirstLine(`/proc/${berthd}/comm`) === 'sh' ? berthd : undefined);
    };
    const next = await this.lab.until('the next berthd', waiting, 60_000);
    return strike(next, n, how, async () => {
      await this.lab.run('rm /run/hold; echo 1<>/run/go');
      await this.settled();
    });
  }

  /** Has the next berth-claim killed at its nth call. */
  async strikeClaim(n: number): Promise<void> {
    await this.lab.run(`echo ${this.#callsBefore + n} >/run/step`);
  }

  /** How many calls berth-claim makes to do nothing. */
  async #countCalls(): Promise<number> {
    const kill = ['/usr/local/bin/step', 'run'];
    const claim = ['kill', '/usr/bin/berth-claim.real', '--version'];
    let [fewest, most] = [0, 4096];
    while (most - fewest > 1) {
      const n = Math.floor((fewest + most) / 2);
      const { status } = await this.lab.run([...kill, `${n}`, ...claim], { env: untraced, allowFail: true });
      if (status === 0) most = n;
      else fewest = n;
    }
    return fewest;
  }

  /** Sets berthd's clock of the day, from one moment to the next, and for those that come after it. */
  setClock(time: number): void {
    this.#ahead = Math.round((time - Date.now()) / 1000);
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(this.#ahead));
    // In place: berthd has it mapped.
    writeFileSync(`/proc/${this.lab.init}/root${clock}`, bytes, { flag: 'r+' });
  }

  /** Waits until berthd serves. */
  async settled(): Promise<void> {
    const active = async (): Promise<true | undefined> =>
      (await this.lab.property('berth.service', 'SubState')) === 'running' ? true : undefined;
    await this.lab.until('berthd to serve', active, 60_000);
  }

  /** Throws unless all sockets are the same, no descriptor is left over, and `name` can be started and serves. */
  async check(name: Service): Promise<void> {
    await this.settled();
    const before = Date.now();
    await this.restart(name);
    await this.#serves(name);
    await this.#isTold(name, before);
    const sockets = await this.#sockets();
    if (sockets !== this.#baseline) throw new Error(`other sockets: ${sockets}, before: ${this.#baseline}`);
    await this.#settle('berthd', () => descriptorsOf(this.berthd), this.#descriptors);
    await this.#settle('PID 1', () => descriptorsOf(this.lab.init), this.#manager);
  }

  /** All reservations are claimed by then, as they were at the beginning. */
  async checkAll(): Promise<void> {
    for (const name of names) await this.check(name);
  }

  /** How many seconds berthd's clock is ahead: none where a start was so short of memory that ld.so(8) left the clock out. */
  get #berthdAhead(): number {
    const isSet = readFileSync(`/proc/${this.berthd}/maps`, 'utf8').includes('/clock.so');
    return isSet ? this.#ahead : 0;
  }

  /** berthd says by its own clock since when a service has its sockets: so that clock is what it was set to. */
  async #isTold(name: Service, before: number): Promise<void> {
    const { claimants } = await this.#status(name);
    const since = claimants[0]?.since ?? NaN;
    const ahead = this.#berthdAhead;
    const real = since - ahead * 1000;
    if (!(real >= before - 2000 && real <= Date.now() + 2000))
      throw new Error(`${name} is claimed since ${since}, by a clock that is ${ahead} s ahead`);
  }

  async #serves(name: Service): Promise<void> {
    for (const protocol of ['tcp', 'udp'] as const) {
      await askPeer(this.lab, protocol, '127.0.0.1', services[name].port);
    }
  }

  async #sockets(): Promise<string> {
    const all: string[] = [];
    for (const name of names) {
      const { sockets } = await this.#status(name);
      all.push(`${name} ${sockets.map(({ inode }) => inode ?? 'none').join(' ')}`);
    }
    return all.join(', ');
  }

  /** A berthd that ends takes the connections along that it has accepted. */
  #status(name: string): Promise<ReservationStatus> {
    const ask = async (): Promise<ReservationStatus | undefined> => {
      try {
        return await call(`/proc/${this.lab.init}/root/run/berth/control`, 'Status', { name });
      } catch {
        return undefined;
      }
    };
    return this.lab.until(`the status of ${name}`, ask, 60_000);
  }

  /** What is closed soon is not left over; what is never closed is. */
  async #settle(who: string, now: () => readonly string[], before: readonly string[]): Promise<void> {
    let last: readonly string[] = [];
    const few = (): Promise<true | undefined> => {
      last = now();
      return Promise.resolve(last.length <= before.length ? true : undefined);
    };
    try {
      await this.lab.until('descriptors', few, 5000);
    } catch {
      throw new Error(`${who} has ${last.join(' ')}, at the beginning ${before.join(' ')}`);
    }
  }
}

/** `socket:`, `anon_inode:pidfd`, `/dev/null`, sorted. */
function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .flatMap((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`).replaceAll(/\[\d+\]/g, '');
      } catch {
        return []; // closed meanwhile
      }
    })
    .sort();
}

function readFirstLine(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').split('\n', 1)[0];
  } catch {
    return undefined;
  }
}
