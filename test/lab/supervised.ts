import assert from 'node:assert/strict';
import { inodesOf, reservation, statusOf } from './claims.js';
import type { Lab } from './lab.js';
import { askThief, everyKind, thiefAtBoot } from './thief.js';

/** How often each service is restarted under the thieves. */
export const restarts = Number(process.env['LAB_BIND_RESTARTS'] ?? 10);

/** A service that binds by itself, and how to see that it is the one who serves. */
export interface Supervised {
  readonly unit: string;
  readonly port: number;
  /** Of what a restart has to have bound, before the next one. */
  readonly protocol: 'tcp' | 'udp';
  /** What the process is called that has the sockets. */
  readonly program: string;
  /** A command that only this service can satisfy. */
  readonly check: string;
  readonly answer: RegExp;
  /** For `User=`: whom `/proc/PID/status` has to name. */
  readonly user?: string;
}

export type SupervisedTable = Readonly<Record<string, Supervised>>;

/** Reservations of both kinds, on all addresses, so that every thief has a place to try. */
export function reserveFor(services: SupervisedTable): Record<string, string> {
  return Object.fromEntries(
    Object.entries(services).map(([name, { unit, port }]) => [
      name,
      reservation([`ListenStream=${port}`, `ListenDatagram=${port}`], [`Service=${unit}`, 'Handoff=bind']),
    ]),
  );
}

/** While a program has a datagram socket beside the held one, it is another one that keeps these out. */
const onInterfaces = ['', '--reuseaddr --listen', '--reuseport --listen', '--address 127.0.0.1 --reuseaddr']
  .map((way) => `--and --device lo ${way}`)
  .join(' ');

const thiefUnit = (name: string): string => `thief-${name}.service`;

/** What the lab needs for thieves of every kind at each of the services, and `more`. None begins by itself. */
export function thievesFor(services: SupervisedTable, more = onInterfaces): ReturnType<typeof thiefAtBoot> {
  const thieves = Object.entries(services).map(([name, { port }]) => {
    // glibc takes those from 512 up, and tries no other (bindresvport(3)).
    const reserved = port >= 512 && port < 1024 ? ' --and --bindresvport' : '';
    const { units, programs } = thiefAtBoot(
      `--port ${port} ${everyKind} ${more}${reserved}`,
      [],
      thiefUnit(name),
    );
    return { units, programs, nice: { [`${thiefUnit(name)}.d/nice.conf`]: '[Service]\nNice=19\n' } };
  });
  return {
    units: mergeAll(thieves.flatMap(({ units, nice }) => [units, nice])),
    programs: mergeAll(thieves.map(({ programs }) => programs)),
    enable: [],
  };
}

const mergeAll = (records: readonly Readonly<Record<string, string>>[]): Record<string, string> =>
  Object.fromEntries(records.flatMap((record) => Object.entries(record)));

/** A unit may start as often as the test likes. */
export function startLimits(services: SupervisedTable): Record<string, string> {
  return Object.fromEntries(
    Object.values(services).map(({ unit }) => [
      `${unit}.d/restarts.conf`,
      '[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=no\n',
    ]),
  );
}

/** In the lab's shell: waits for the program's own socket; those of berthd do not count. */
function untilBound({ protocol, port, program }: Supervised): string {
  const has = `ss -Hlnp${protocol === 'tcp' ? 't' : 'u'} sport = :${port} | grep -q '"${program}"'`;
  return `i=0; until ${has}; do i=$((i+1)); [ $i -lt 400 ] || { echo not bound; exit 1; }; sleep 0.025; done`;
}

/** Waits until the service answers as itself. */
export async function assertServes(lab: Lab, { unit, check, answer }: Supervised): Promise<void> {
  let last = '';
  const says = async (): Promise<true | undefined> => {
    const { stdout, stderr } = await lab.run(check, { allowFail: true });
    last = `${stdout}${stderr}`;
    return answer.test(stdout.trim()) ? true : undefined;
  };
  try {
    await lab.until(`an answer of ${unit}`, says);
  } catch (error) {
    throw new Error(`${unit} says: ${last}`, { cause: error });
  }
}

/** Restarts it so many times under thieves of every kind. Answers what happened, for people; a theft or a failure throws. */
export async function restartUnderThieves(
  lab: Lab,
  name: string,
  service: Supervised,
  times = restarts,
): Promise<string> {
  const { unit, user } = service;
  const thief = thiefUnit(name);
  await lab.systemctl('stop', unit);
  const held = await inodesOf(lab, name);
  await lab.systemctl('start', thief);
  const begun = performance.now();
  const loop = `for n in $(seq ${times}); do systemctl restart ${unit} || exit; ${untilBound(service)}; done`;
  await lab.run(loop, { timeoutMs: 60_000 + times * 15_000 });
  const each = (performance.now() - begun) / times;
  await assertServes(lab, service);
  if (user !== undefined) {
    const pid = await lab.property(unit, 'MainPID');
    assert.equal(await lab.text(['stat', '-c', '%U', `/proc/${pid}`]), user, name);
    const capabilities = await lab.text(`sed -n 's/^CapEff:\t//p' /proc/${pid}/status`);
    assert.equal(BigInt(`0x${capabilities}`) & (1n << 10n), 0n, `${name} has no CAP_NET_BIND_SERVICE`);
  }
  assert.equal((await statusOf(lab, name)).state, 'active', name);
  assert.equal(await lab.property(unit, 'NRestarts'), '0', name);
  const report = await askThief(lab, thief);
  assert.equal(report.thefts, 0, JSON.stringify(report));
  for (const [kind, { attempts, otherErrors }] of Object.entries(report.kinds)) {
    assert.ok(attempts > times, `${name}: ${kind} kept trying`);
    assert.equal(otherErrors, 0, `${name}: ${kind}`);
  }
  await lab.systemctl('stop', unit);
  const { state } = await statusOf(lab, name);
  assert.equal(state, 'held', name);
  assert.deepEqual(await inodesOf(lab, name), held, name);
  assert.equal((await askThief(lab, thief)).thefts, 0, name);
  await lab.systemctl('stop', thief);
  await lab.systemctl('start', unit);
  await assertServes(lab, service);
  return `${name}: ${times} restarts of ${each.toFixed(0)} ms, ${report.attempts} attempts, 0 thefts, 0 failed starts`;
}
