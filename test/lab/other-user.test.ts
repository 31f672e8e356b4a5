import assert from 'node:assert/strict';
import { blocks, readDocument } from '../unit/docs/markdown.js';
import { withLab } from './lab.js';
import { labTest } from './requirements.js';

const server =
  blocks(readDocument('docs/guide.md')).find(({ info }) => info === 'file=server.py')?.text ?? '';
const unit = '[Service]\nExecStart=/usr/bin/python3 /srv/server.py\nUser=nobody\n';

// berthd may not look into the processes of other users, so it cannot see who has the sockets.
labTest('a service of another user goes on serving when berthd is restarted or killed', async (t) => {
  const modes = ['exec', 'store'] as const;
  const reservations = modes.map((mode, index): [string, string] => [
    `/etc/berth/${mode}.conf`,
    `[Socket]\nListenStream=127.0.0.1:${8081 + index}\nFileDescriptorName=http\n[Reservation]\nHandoff=${mode}\n`,
  ]);
  const options = {
    packages: ['curl'],
    units: Object.fromEntries(modes.map((mode) => [`${mode}.service`, unit])),
    files: { '/srv/server.py': server, ...Object.fromEntries(reservations) },
  };
  await withLab(t, options, async (lab) => {
    const states = async () =>
      (await lab.json<{ name: string; state: string }[]>(['berth', '--json'])).map(({ state }) => state);
    await lab.systemctl('start', 'exec.service', 'store.service');
    for (const ending of [
      ['restart', 'berth.service'],
      ['kill', '--signal=KILL', 'berth.service'],
    ]) {
      await lab.systemctl(...ending);
      assert.deepEqual(await states(), ['active', 'active'], ending.join(' '));
      for (const index of modes.keys())
        assert.equal(
          await lab.text(['curl', '-sS', '--retry', '5', `http://127.0.0.1:${8081 + index}/`]),
          'hello from Python',
          ending.join(' '),
        );
    }
    await lab.systemctl('stop', 'exec.service', 'store.service');
    await lab.systemctl('restart', 'berth.service');
    assert.deepEqual(await states(), ['held', 'held']);
  });
});
