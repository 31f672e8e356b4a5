import assert from 'node:assert/strict';
import {
  askPeer,
  failureToAsk,
  inodesOf,
  killBerthd,
  peer,
  peerAt,
  reservation,
  reservations,
} from './claims.js';
import { withLab, type Lab, type LabOptions } from './lab.js';
import { labTest } from './requirements.js';

const preserve = ['no', 'restart', 'yes'] as const;
const port = (index: number): number => 7601 + index;

function file(index: number, ...lines: string[]): string {
  return reservation([`ListenStream=${port(index)}`, `ListenDatagram=${port(index)}`, ...lines]);
}

/** A unit for each FileDescriptorStorePreserve=, which systemd 252 does not know. */
const options: LabOptions & { units: object } = {
  units: Object.fromEntries(
    preserve.map((value) => [
      `${value}.service`,
      `[Unit]\nStartLimitIntervalSec=0\n[Service]\nFileDescriptorStorePreserve=${value}\nExecStart=${peer} serve\n[Install]\nWantedBy=multi-user.target\n`,
    ]),
  ),
  // systemd 257 forgets a stopped unit that nothing refers to, and its store with it.
  enable: preserve.map((value) => `${value}.service`),
  programs: peerAt(),
  files: reservations(Object.fromEntries(preserve.map((value, index) => [value, file(index)]))),
};

/** The service has what is held, each once, by the name. */
async function assertNamed(lab: Lab, value: string, index: number, name: string): Promise<void> {
  const { sockets } = await askPeer(lab, 'tcp', '127.0.0.1', port(index));
  assert.deepEqual(
    sockets.map((socket) => socket.name),
    [name, name],
    `FileDescriptorStorePreserve=${value}`,
  );
  const inodes = new Set(sockets.map(({ inode }) => inode));
  assert.deepEqual(inodes, new Set(await inodesOf(lab, value)));
}

async function rename(lab: Lab, value: string, index: number, name: string): Promise<void> {
  await lab.write(`/etc/berth/${value}.conf`, file(index, `FileDescriptorName=${name}`));
  await lab.run(['berth', 'reload']);
}

async function assertNames(lab: Lab): Promise<void> {
  for (const [index, value] of preserve.entries()) {
    const unit = `${value}.service`;
    await assertNamed(lab, value, index, value);
    for (let round = 0; round < 3; round++) {
      await lab.systemctl('restart', unit);
      await assertNamed(lab, value, index, value);
      await lab.systemctl('stop', unit);
      assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', port(index)), 'ECONNREFUSED', value);
      await lab.systemctl('start', unit);
      await assertNamed(lab, value, index, value);
    }

    // While it runs, while berthd is not the one that handed it the old name, and while it is stopped.
    await rename(lab, value, index, 'second');
    await lab.systemctl('restart', unit);
    await assertNamed(lab, value, index, 'second');
    await rename(lab, value, index, 'third');
    await killBerthd(lab);
    await lab.systemctl('restart', unit);
    await assertNamed(lab, value, index, 'third');
    await lab.systemctl('stop', unit);
    await rename(lab, value, index, 'fourth');
    await lab.systemctl('start', unit);
    await assertNamed(lab, value, index, 'fourth');
    await rename(lab, value, index, value);
    await lab.systemctl('restart', unit);
    await assertNamed(lab, value, index, value);
  }
}

const what = 'no name is passed twice or too long, whatever a unit keeps and however it is renamed';

labTest(what, (t) => withLab(t, options, assertNames));

labTest(
  `${what}, with systemd 257`,
  (t) =>
    withLab(t, { ...options, root: 'trixie' }, async (lab) => {
      await assertNames(lab);
      // This is the store that outlives the unit.
      await lab.systemctl('stop', 'yes.service', 'no.service');
      assert.equal(await lab.property('yes.service', 'NFileDescriptorStore'), '2');
      assert.equal(await lab.property('no.service', 'NFileDescriptorStore'), '0');
    }),
  { programs: { debootstrap: 'debootstrap' } },
);
