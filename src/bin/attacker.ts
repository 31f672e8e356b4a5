import { readFileSync } from 'node:fs';
import { attack } from '../commands/attack.js';
import type { AttackOrder } from '../commands/verify-children.js';

// The child of `berth verify`: becomes the user that it is told to be, for good, and tries to take what is held.
const { uid, gid, targets } = JSON.parse(readFileSync(0, 'utf8')) as AttackOrder;
if (uid !== undefined && gid !== undefined) {
  process.setgroups?.([]);
  process.setgid?.(gid);
  process.setuid?.(uid);
}
process.stdout.write(JSON.stringify(targets.map(attack)));
