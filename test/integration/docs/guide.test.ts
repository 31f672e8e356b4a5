import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { buildReservation } from '../../../src/config/reservation.js';
import { parseServices } from '../../../src/config/services.js';
import { parseSyntax } from '../../../src/config/syntax.js';
import { requires } from '../../support/requirements.js';
import { blocks, readDocument } from '../../unit/docs/markdown.js';
import { Session } from './session.js';

const all = blocks(readDocument('docs/guide.md'));
const files = all.filter(({ info }) => info.startsWith('file='));
const nameOf = ({ info }: { info: string }) => info.slice('file='.length);
const isReservation = (file: string) => /^(\/etc\/berth|conf)\/[^/]+\.conf$/.test(file);

const missing = ['curl', 'python3'].filter((command) => spawnSync(command, ['--version']).status !== 0);

describe('docs/guide.md', () => {
  it('has nothing but blocks that are files, or commands to run', () => {
    for (const { language, info, text } of all) {
      assert.ok(info.startsWith('file=') || info === 'session', `${language} ${info}: ${text}`);
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

  it('has units that claim what is reserved for them, in the mode that it is reserved with', () => {
    const modes = new Map<string, string>();
    let seen = 0;
    for (const block of files) {
      const file = nameOf(block);
      const reservation = /^\/etc\/berth\/(.+)\.conf$/.exec(file)?.[1];
      if (reservation !== undefined)
        modes.set(reservation, /^Handoff=(.*)$/m.exec(block.text)?.[1] ?? 'store');
      if (!file.startsWith('/etc/systemd/')) continue;
      const unit = /([^/]+\.service)(\.d\/|$)/.exec(file)?.[1] ?? '';
      for (const [, key, name = '', command] of block.text.matchAll(
        /^(Exec\w+)=[-+]*\/usr\/bin\/berth-claim (?:--done )?(\S+)( --)?/gm,
      )) {
        seen++;
        assert.equal(key === 'ExecStart', command !== undefined, file);
        assert.ok((key === 'ExecStart' ? ['exec'] : ['store', 'lend']).includes(modes.get(name) ?? ''), file);
        const { text } = files.findLast((other) => nameOf(other) === `/etc/berth/${name}.conf`) ?? {
          text: '',
        };
        assert.equal(/^Service=(.*)$/m.exec(text)?.[1] ?? `${name}.service`, unit);
      }
    }
    assert.ok(seen > 8);
  });

  it('has commands that do what it says', async (t) => {
    if (!requires(t, missing.length === 0, `this needs ${missing.join(' and ')}`)) return;
    const session = new Session(t);
    for (const block of all) {
      if (block.info === 'session') await session.play(block);
      else if (!nameOf(block).startsWith('/')) session.write(block);
    }
  });
});
