import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { withLab } from './lab.js';
import { labTest } from './requirements.js';
import { names, Storm, stormLab } from './storm.js';
import type { Service } from './storm.js';

/** How many faults; the list goes on round after round until there are so many. */
const wanted = Number(process.env['STORM_FAULTS'] ?? 120);
const seed = Number(process.env['STORM_SEED'] ?? Date.now() % 1_000_000);

/** A pseudorandom number below `limit` (mulberry32): the same seed, the same storm. */
function randomFrom(start: number): (limit: number) => number {
  let state = start;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

interface Fault {
  readonly what: string;
  /** Answers what to count it by; undefined when it did not come to pass. */
  inflict(storm: Storm): Promise<string | undefined>;
}

const attempt = async (action: Promise<unknown>): Promise<void> => {
  await action.catch(() => undefined);
};

/** berthd dies at its nth call of a start, a stop or a reload: nothing that waits for it may fail. */
function killBerthd(name: Service, verb: 'restart' | 'stop' | 'reload', n: number): Fault {
  return {
    what: `berthd killed at call ${n} of: ${verb} ${name}`,
    async inflict(storm) {
      const act = (): Promise<unknown> =>
        verb === 'reload'
          ? attempt(storm.lab.run(['berth', 'reload']))
          : storm.lab.systemctl(verb, `${name}.service`);
      const { struck } = await storm.strike(n, 'kill', act);
      return struck ? `berthd killed in ${verb}` : undefined;
    },
  };
}

/** A call of berthd's fails: that claim may be refused, and nothing else may happen. */
function failCall(name: Service, errno: string, n: number): Fault {
  return {
    what: `${errno} at allocation ${n} of: restart ${name}`,
    async inflict(storm) {
      const { struck, call } = await storm.strike(n, errno, () => attempt(storm.restart(name)));
      // A unit whose cgroup.events could not be opened is followed by its process instead, until its next claim.
      await storm.settled();
      await attempt(storm.restart(name));
      return struck ? `${errno} in call ${call}` : undefined;
    },
  };
}

/** A start of berthd dies, or comes to be short of something: whatever it could not read is there for the next one. */
function strikeStart(how: string, n: number): Fault {
  return {
    what: `${how} at ${how === 'kill' ? 'call' : 'allocation'} ${n} of a start of berthd`,
    async inflict(storm) {
      const { struck, call } = await storm.strikeStart(n, how);
      if (how !== 'kill') await storm.restartAll();
      if (!struck) return undefined;
      return how === 'kill' ? 'berthd killed in its start' : `${how} in call ${call} of a start`;
    },
  };
}

/**
 * So many calls of berth-claim, and of the program that it becomes, come before that program is ready, which must not
 * run on below the one that counts.
 */
const claimCalls = 45;

function killClaim(name: Service, n: number): Fault {
  return {
    what: `berth-claim of ${name} killed at call ${n}`,
    async inflict(storm) {
      await storm.strikeClaim(n);
      await attempt(storm.restart(name));
      await storm.lab.run('rm -f /run/step');
      return 'berth-claim killed';
    },
  };
}

/** Something happens to the machine while a service is restarted. */
function meanwhile(
  what: string,
  name: Service,
  happen: (storm: Storm) => Promise<unknown>,
  mayFail = false,
): Fault {
  return {
    what: `${what}, meanwhile: restart ${name}`,
    async inflict(storm) {
      const restarted = storm.restart(name);
      const outcome = mayFail ? attempt(restarted) : restarted;
      await Promise.all([outcome, happen(storm)]);
      return what;
    },
  };
}

const stopped = async (storm: Storm): Promise<void> => {
  const pid = storm.berthd;
  process.kill(pid, 'SIGSTOP');
  await pause(1500); // the fault is its length
  process.kill(pid, 'SIGCONT');
};

/** Nothing more can be written to /run, by anybody; what was there stays. */
const filled = async (storm: Storm): Promise<void> => {
  await storm.lab.run('dd if=/dev/zero of=/run/full bs=64k 2>/dev/null || true');
  await attempt(storm.lab.systemctl('daemon-reload'));
  await attempt(storm.lab.run(['berth', 'reload']));
  await storm.lab.run('rm -f /run/full');
  await storm.lab.systemctl('daemon-reload');
};

const rewritten = async (storm: Storm): Promise<void> => {
  await storm.lab.run(`for n in 1 2 3 4 5; do
  printf '[Socket]\\nListenStream=%s\\n' $((7100 + n)) >/etc/berth/other-$n.conf
  berth reload & printf '[Socket\\nListenStream=99999\\n' >/etc/berth/other-$n.conf
  rm /etc/berth/other-$n.conf
done
wait; berth reload`);
};

const lostSocket = async (storm: Storm): Promise<void> => {
  await storm.lab.run('rm /run/berth/control; systemctl restart berth.socket');
};

const hour = 3_600_000;
const year = 8766 * hour;

/** Times at which clocks are wrong, and at which numbers of seconds end. */
function someTime(random: (limit: number) => number): number {
  const past = [1000, Date.now() - 10 * year, Date.now() - hour];
  const later = [
    Date.now() + hour,
    Date.now() + 10 * year,
    Date.parse('2038-01-19T03:14:06Z'),
    Date.parse('2106-02-07T06:28:15Z'),
    Date.parse('2400-01-01'),
  ];
  const times = [Date.now(), ...past, ...later];
  return times[random(times.length)] ?? 0;
}

/** The clock of the day jumps at any moment of a restart, and back or elsewhere at another. */
function jump(name: Service, random: (limit: number) => number): Fault {
  const jumps = [0, 1].map(() => ({ time: someTime(random), after: random(40) }));
  return meanwhile('clock jumps', name, async (storm) => {
    for (const { time, after } of jumps) {
      await pause(after);
      storm.setClock(time);
    }
  });
}

/** What an earlier berthd noted by its clock is read by the next one at quite another time. */
function jumpWhileDead(name: Service, random: (limit: number) => number): Fault {
  const time = someTime(random);
  return meanwhile('berthd killed and the clock set', name, async (storm) => {
    await attempt(storm.lab.systemctl('kill', '--kill-whom=main', '--signal=KILL', 'berth.service'));
    storm.setClock(time);
  });
}

function faults(round: number, random: (limit: number) => number): Fault[] {
  const service = (): Service => names[random(names.length)] ?? 'store';
  const errno = (): string => ['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS'][random(4)] ?? '';
  const step = round + 1;
  return [
    ...names.flatMap((name) => [
      killBerthd(name, 'restart', step),
      failCall(name, errno(), 1 + random(20)),
      killClaim(name, 1 + (round % claimCalls)),
    ]),
    strikeStart('kill', 1 + random(1500)),
    strikeStart(errno(), 1 + random(150)),
    killBerthd(service(), 'stop', step),
    killBerthd(service(), 'reload', step),
    meanwhile(
      'service killed',
      service(),
      ({ lab }) => attempt(lab.systemctl('kill', '--signal=KILL', `${service()}.service`)),
      true,
    ),
    meanwhile('berthd killed', service(), async (storm) => {
      await pause(random(30));
      await attempt(storm.lab.systemctl('kill', '--kill-whom=main', '--signal=KILL', 'berth.service'));
    }),
    jump(service(), random),
    jumpWhileDead(service(), random),
    meanwhile('berthd restarted', service(), ({ lab }) => lab.systemctl('restart', 'berth.service')),
    ...[
      meanwhile('daemon-reload', service(), ({ lab }) => lab.systemctl('daemon-reload')),
      meanwhile('daemon-reexec', service(), ({ lab }) => lab.systemctl('daemon-reexec'), true),
      meanwhile('berthd stopped for a while', service(), stopped),
      meanwhile('full /run', service(), filled, true),
      meanwhile('lost control socket', service(), lostSocket, true),
      meanwhile('files that change', service(), rewritten),
    ].filter((_, index) => index === round % 6),
  ];
}

labTest(`${wanted} faults, and every socket is still the same`, async (t) => {
  await withLab(t, stormLab, async (lab) => {
    const storm = await Storm.begin(lab);
    const random = randomFrom(seed);
    const counts = new Map<string, number>();
    let done = 0;
    for (let round = 0; done < wanted; round++) {
      for (const fault of faults(round, random)) {
        if (done === wanted) break;
        let kind;
        try {
          kind = await fault.inflict(storm);
          await storm.check(names[done % names.length] ?? 'store');
          if (kind === undefined) continue;
          counts.set(kind, (counts.get(kind) ?? 0) + 1);
          done++;
        } catch (error) {
          throw new Error(`fault ${done + 1} (STORM_SEED=${seed}), ${fault.what}, ${kind ?? 'nothing'}`, {
            cause: error,
          });
        }
      }
    }
    await storm.checkAll();
    const list = [...counts].map(([kind, count]) => `${count} x ${kind}`).join(', ');
    t.diagnostic(`${done} faults, seed ${seed}: ${list}`);
    assert.equal(done, wanted);
  });
});
