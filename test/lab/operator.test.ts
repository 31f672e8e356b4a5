// What an operator has beside list and status, on a machine with systemd: berth watch and berth verify.
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import type { WatchEvent } from '../../src/protocol/messages.js';
import { peer, peerAt, reservation, reservations } from './claims.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
import { labTest } from './requirements.js';

const lend = 7303;

const options: LabOptions = {
  name: 'operator',
  programs: peerAt(),
  units: {
    'web.service': `[Service]\nType=exec\nUser=nobody\nExecStart=${peer} serve\n`,
    'lent.service': `[Service]\nType=exec\nExecStart=/usr/bin/node -e "require('net').createServer().listen(${lend},'0.0.0.0')"\n`,
  },
  files: reservations({
    web: reservation(['ListenStream=7301', 'ListenDatagram=7301', 'ListenStream=/run/web.sock']),
    mgmt: reservation(['ListenDatagram=623', 'ListenStream=127.0.0.1:664'], ['Handoff=none']),
    lent: reservation([`ListenStream=0.0.0.0:${lend}`], ['Handoff=lend']),
  }),
};

/** The events of `berth watch --json`, one after the other. */
class Watcher {
  readonly #child;
  readonly #events: AsyncIterator<string>;

  constructor(lab: Lab) {
    this.#child = lab.spawn(['timeout', '60', 'berth', 'watch', '--json']);
    this.#events = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** The next one of that kind; those before it are passed over. */
  async next(event: WatchEvent['event'], reservation?: string): Promise<WatchEvent> {
    for (;;) {
      const line = await this.#events.next();
      if (line.done === true) throw new Error(`berth watch ended before '${event}'`);
      const seen = JSON.parse(line.value) as WatchEvent;
      if (seen.event === event && (reservation === undefined || seen.reservation === reservation))
        return seen;
    }
  }

  close(): void {
    this.#child.kill();
  }
}

labTest('watches claims, stops, refusals and a restart of berthd', async (t) => {
  await withLab(t, options, async (lab) => {
    const watcher = new Watcher(lab);
    try {
      await watcher.next('watching');
      await lab.systemctl('start', 'web.service');
      const claimed = await watcher.next('claimed', 'web');
      assert.deepEqual([claimed.unit, claimed.mode], ['web.service', 'store']);
      await lab.systemctl('stop', 'web.service');
      assert.equal((await watcher.next('stopped', 'web')).unit, 'web.service');

      assert.equal(
        (await lab.run(['berth-claim', 'web', '--', 'true'], { user: 'nobody', allowFail: true })).status,
        125,
      );
      const refused = await watcher.next('refused', 'web');
      assert.deepEqual([refused.uid, refused.command], [65534, 'berth-claim']);
      assert.match(refused.message ?? '', /is reserved for web\.service/);

      await lab.systemctl('restart', 'berth.service');
      await watcher.next('disconnected');
      await watcher.next('watching');
      await lab.systemctl('start', 'web.service');
      await watcher.next('claimed', 'web');
    } finally {
      watcher.close();
    }
  });
});

labTest('verifies that nothing held can be taken, whatever the services do', async (t) => {
  await withLab(t, options, async (lab) => {
    const verify = async (): Promise<string> => {
      const { status, stdout } = await lab.run(['berth', 'verify'], { allowFail: true });
      assert.equal(status, 0, stdout);
      assert.match(stdout, /as root and nobody, .*: nothing could be taken/);
      return stdout;
    };
    assert.doesNotMatch(await verify(), /not tried/);
    await lab.systemctl('start', 'web.service', 'lent.service');
    await verify();
    await lab.systemctl('restart', 'web.service');
    await lab.systemctl('restart', 'berth.service');
    await verify();
    await lab.systemctl('stop', 'web.service', 'lent.service');
    await verify();
    const { status, stdout } = await lab.run(['berth', 'verify', '--json'], { user: 'nobody' });
    assert.equal(status, 0);
    assert.deepEqual((JSON.parse(stdout) as { tried: { users: string[] } }).tried.users, ['nobody']);
  });
});
