import assert from 'node:assert/strict';
import { failureToAsk, killBerthd, peer, peerAt, reservation, reservations, statusOf } from './claims.js';
import { withLab } from './lab.js';
import { labTest } from './requirements.js';
import { thiefAtBoot, type ThiefReport } from './thief.js';

const ports = { ready: 7721, open: 7722, dies: 7723, hangs: 7724 } as const;
type Name = keyof typeof ports;

const services: Readonly<Record<Name, readonly string[]>> = {
  // It binds nothing, so that only the loan could let anybody in.
  ready: [
    'Type=notify',
    'NotifyAccess=all',
    "ExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep infinity'",
  ],
  open: ['Type=exec', `ExecStart=${peer} serve --share 127.0.0.1 ${ports.open}`],
  dies: ['Type=notify', "ExecStart=/bin/sh -c 'exit 3'"],
  hangs: ['Type=notify', 'ExecStart=/bin/sleep infinity'],
};

labTest('a loan ends when the service is ready, and however else its start or it ends', async (t) => {
  const names = Object.keys(ports) as Name[];
  const options = {
    units: Object.fromEntries(
      names.map((name) => [`${name}.service`, `[Service]\n${services[name].join('\n')}\n`]),
    ),
    programs: { ...thiefAtBoot('', []).programs, ...peerAt() },
    files: reservations(
      Object.fromEntries(
        names.map((name) => [name, reservation([`ListenStream=127.0.0.1:${ports[name]}`], ['Handoff=lend'])]),
      ),
    ),
  };
  await withLab(t, options, async (lab) => {
    /** Whether a process that sets SO_REUSEADDR can bind beside the hold. */
    const isOpen = async (name: Name): Promise<boolean> => {
      const thief = [
        '/usr/local/bin/thief',
        '--port',
        `${ports[name]}`,
        '--stdin',
        '--tcp',
        '-4',
        '--reuseaddr',
      ];
      const said = await lab.text([...thief, '--address', '127.0.0.1'], { input: '' });
      const { thefts, attempts } = JSON.parse(said.split('\n').at(-1) ?? '') as ThiefReport;
      assert.ok(attempts > 0);
      return thefts > 0;
    };
    const assertBack = async (name: Name): Promise<void> => {
      assert.equal((await statusOf(lab, name)).state, 'held', name);
      assert.equal(await isOpen(name), false, name);
      assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', ports[name]), 'ECONNREFUSED', name);
    };
    for (const name of names) await assertBack(name);

    await lab.systemctl('start', 'ready.service');
    assert.equal(await isOpen('ready'), false);
    assert.equal((await statusOf(lab, 'ready')).state, 'active');
    await lab.systemctl('stop', 'ready.service');
    await assertBack('ready');

    // Nobody says when this one is ready, so the loan is as long as its life, also over a crash of berthd.
    await lab.systemctl('start', 'open.service');
    await lab.until('an answer', async () =>
      (await failureToAsk(lab, 'tcp', '127.0.0.1', ports.open)).startsWith('answered') ? true : undefined,
    );
    // Beside a socket that listens there is no room.
    assert.equal(await isOpen('open'), false);
    await killBerthd(lab);
    assert.equal((await statusOf(lab, 'open')).state, 'active');
    await lab.systemctl('stop', 'open.service');
    await assertBack('open');

    const { status } = await lab.run(['systemctl', 'start', 'dies.service'], { allowFail: true });
    assert.equal(status, 1);
    await assertBack('dies');

    await lab.systemctl('start', '--no-block', 'hangs.service');
    await lab.until('the start', async () =>
      (await lab.property('hangs.service', 'SubState')) === 'start' ? true : undefined,
    );
    assert.equal(await isOpen('hangs'), true);
    await lab.systemctl('kill', '--signal=KILL', 'hangs.service');
    await lab.waitForUnit('hangs.service', 'failed');
    await assertBack('hangs');
  });
});
