import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { buildReservation } from '../../../src/config/reservation.js';
import { defaultDirectories } from '../../../src/config/search.js';
import { parseServices } from '../../../src/config/services.js';
import { parseSyntax } from '../../../src/config/syntax.js';
import { complaints, generate } from '../../../src/generator/generate.js';
import { scratch } from '../../support/files.js';
import { requires } from '../../support/requirements.js';
import { blocks, readDocument } from '../../unit/docs/markdown.js';
import { Session } from './session.js';

const all = blocks(readDocument('docs/guide.md'));
const files = all.filter(({ info }) => info.startsWith('file='));
const nameOf = ({ info }: { info: string }) => info.slice('file='.length);
const isReservation = (file: string) => /^(\/etc\/berth|conf)\/[^/]+\.conf$/.test(file);

function write(tree: string, file: string, text: string): void {
  const path = join(tree, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

const missing = ['curl', 'python3'].filter((command) => spawnSync(command, ['--version']).status !== 0);

describe('docs/guide.md', () => {
  it('has nothing but blocks that are files, or commands to run', () => {
    for (const { language, info, text } of all) {
      assert.match(info, /^(?:file=\/?\w|drop-in=\w|session$)/, `${language} ${info}: ${text}`);
    }
  });

  it('has reservations without a mistake', () => {
    const reservations = files.filter((block) => isReservation(nameOf(block)));
    assert.ok(reservations.length > 5);
    for (const block of reservations) {
      const file = nameOf(block);
      const name = /([^/]+)\.conf$/.exec(file)?.[1] ?? '';
      const parsed = parseSyntax(file, Buffer.from(block.text));
      assert.deepEqual(buildReservation(name, { file, line: 1 }, [parsed], parseServices('')).mistakes, []);
    }
  });

  it('shows what the generator writes, and nothing that it complains of', (t) => {
    const tree = scratch(t);
    // Of Debian's units, what the drop-ins depend on.
    const units = {
      'cups.service': 'Type=notify\nExecStart=/usr/sbin/cupsd -l\n',
      'nginx.service': 'Type=forking\nExecStart=/usr/sbin/nginx\n',
      'haproxy.service': 'Type=notify\nExecStart=/usr/sbin/haproxy -Ws -f $CONFIG -p $PIDFILE $EXTRAOPTS\n',
      'redis-server.service': 'Type=notify\nExecStart=/usr/bin/redis-server\n',
    };
    for (const [unit, text] of Object.entries(units))
      write(tree, `/usr/lib/systemd/system/${unit}`, `[Service]\n${text}`);
    let shown = 0;
    for (const { info, text } of all) {
      if (info.startsWith('file=/')) write(tree, nameOf({ info }), text);
      const unit = /^drop-in=(.*)$/.exec(info)?.[1];
      if (unit === undefined) continue;
      shown++;
      const generated = generate(defaultDirectories, tree);
      assert.deepEqual(complaints(generated), []);
      const plan = generated.plan.units.find((each) => each.unit === unit);
      assert.equal(plan?.file?.text, text);
    }
    assert.equal(shown, 5);
  });

  it('has commands that do what it says', async (t) => {
    if (!requires(t, missing.length === 0, `this needs ${missing.join(' and ')}`)) return;
    const session = new Session(t);
    for (const block of all) {
      if (block.info === 'session') await session.play(block);
      else if (block.info.startsWith('file=') && !nameOf(block).startsWith('/')) session.write(block);
    }
  });
});
