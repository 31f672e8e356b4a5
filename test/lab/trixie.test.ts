import assert from 'node:assert/strict';
import { withLab } from './lab.js';
import { labTest } from './requirements.js';

labTest(
  'boots a Debian 13 with systemd 257 and Node',
  async (t) => {
    await withLab(t, { berth: false, root: 'trixie' }, async (lab) => {
      assert.match(await lab.systemctl('--version'), /^systemd 257 /);
      assert.match(await lab.text('cat /etc/os-release'), /VERSION_CODENAME=trixie/);
      assert.equal(await lab.text(['node', '-p', 'process.version']), process.version);
    });
  },
  { programs: { debootstrap: 'debootstrap' } },
);
