import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { BerthError } from '../model/errors.js';
import { native } from '../native/index.js';
import { userName } from '../systemd/process-details.js';
import type { Onslaught } from './attack.js';
import type { Target } from './attack-plan.js';

/** What the child reads: as whom it attacks, and what. Without an uid it stays who it is. */
export interface AttackOrder {
  readonly uid?: number;
  readonly gid?: number;
  readonly targets: readonly Target[];
}

/** A user to attack as; without ids it is who we are. */
export interface Attacker {
  readonly name: string;
  readonly uid?: number;
  readonly gid?: number;
}

/** Linux' overflow ids, which `nobody` has everywhere. */
const overflow = 65534;

/** Ourselves, and nobody where we may become that. */
export function attackers(): Attacker[] {
  const self = process.geteuid?.() ?? 0;
  const own = { name: userName(self) };
  if (self !== 0) return [own];
  const uid = native.userId('nobody') ?? overflow;
  return [own, { name: userName(uid), uid, gid: overflow }];
}

/** The program lies beside the bundle, and in build/js in a folder of its own. */
const program = fileURLToPath(
  new URL(import.meta.url.endsWith('.cjs') ? './attacker.cjs' : '../bin/attacker.js', import.meta.url),
);

/** Attacks from a process of its own, one result for each target. Throws BerthError Failed when it cannot be run. */
export function attackAs({ uid, gid }: Attacker, targets: readonly Target[]): Promise<readonly Onslaught[]> {
  const order: AttackOrder = { targets, ...(uid === undefined || gid === undefined ? {} : { uid, gid }) };
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program], { stdio: ['pipe', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.once('error', (error) => {
      reject(new BerthError('Failed', `cannot run ${program}: ${error.message}`));
    });
    child.once('close', (status) => {
      if (status === 0) resolve(JSON.parse(out) as readonly Onslaught[]);
      else reject(new BerthError('Failed', `the attack ended with status ${status ?? 'none'}`));
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(JSON.stringify(order));
  });
}
