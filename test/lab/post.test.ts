import assert from 'node:assert/strict';
import {
  askPeer,
  failureToAsk,
  inodesOf,
  peer,
  peerAt,
  reservation,
  reservations,
  statusOf,
  type PeerAnswer,
} from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';
import { listenersOn } from './sockets.js';

/** The whole service: it knows nothing of berth. */
const service = `[Service]\nExecStart=${peer} serve\n`;

/** systemd 252 and 257, which have the fd store in common and little else that matters here. */
const roots = [
  { root: 'host', of: 'the system' },
  { root: 'trixie', of: 'Debian 13' },
] as const;

const debootstrap = { programs: { debootstrap: 'debootstrap' } };

/** Several of them, on IPv4 and IPv6, which nobody answers. */
async function sendDatagrams(lab: Lab, port: number): Promise<void> {
  const send = `for n in 1 2 3 4 5; do for to in 127.0.0.1 ::1; do ${peer} ask udp $to ${port} 1; done; done 2>&1`;
  const said = await lab.run(send, { allowFail: true });
  assert.deepEqual(new Set(said.stdout.trim().split('\n')), new Set(['EAGAIN']));
}

/** When the unit last left the state inactive; 0 is never. */
function startOf(lab: Lab, unit: string): Promise<string> {
  return lab.property(unit, 'InactiveExitTimestampMonotonic');
}

/** Which kinds of socket a server was given under a name, in any order: that of stored ones is not stable. */
function kindsOf({ sockets }: PeerAnswer, name: string): string[] {
  return sockets
    .filter((socket) => socket.name === name)
    .map(({ type }) => type)
    .sort();
}

for (const { root, of } of roots) {
  labTest(
    `a datagram never starts the service of a socket unit, a connection does, and it has both sockets (${of})`,
    async (t) => {
      const cases = [
        { socket: 'post', service: 'post', port: 7601, name: 'post.socket' },
        { socket: 'front', service: 'back', port: 7602, name: 'ipp' },
        { socket: 'tpl@one', service: 'tpl@one', port: 7603, name: 'tpl@one.socket' },
        { socket: 'port@7604', service: 'port@7604', port: 7604, name: 'port@7604.socket' },
      ];
      const options = {
        root,
        units: {
          'post.socket': '[Socket]\nListenStream=7601\nListenDatagramNoActivate=7601\n',
          'post.service': service,
          'front.socket':
            '[Socket]\nListenStream=7602\nX-ListenDatagramNoActivate=7602\nService=back.service\nFileDescriptorName=ipp\n',
          'back.service': service,
          'tpl@.socket': '[Socket]\nListenStream=7603\n',
          'tpl@one.socket.d/udp.conf': '[Socket]\nListenDatagramNoActivate=7603\n',
          'tpl@.service': service,
          'port@.socket':
            '[Socket]\nListenStream=%i\nListenDatagramNoActivate=%i\n[Install]\nWantedBy=sockets.target\n',
          'port@.service': service,
          // Started by a datagram, as systemd does it.
          'witness.socket': '[Socket]\nListenDatagram=7609\n',
          'witness.service': service,
          'sockets.target.d/all.conf':
            '[Unit]\nWants=post.socket front.socket tpl@one.socket witness.socket\n',
        },
        enable: ['port@7604.socket'],
        programs: peerAt(),
      };
      await withLab(t, options, async (lab) => {
        /** Datagrams to all of them, then one that starts its service: what the others start, they start before. */
        const assertAsleep = async (when: string): Promise<void> => {
          const before = await Promise.all(cases.map((each) => startOf(lab, `${each.service}.service`)));
          for (const { port } of cases) await sendDatagrams(lab, port);
          await askPeer(lab, 'udp', '127.0.0.1', 7609);
          await lab.systemctl('stop', 'witness.service');
          const after = await Promise.all(cases.map((each) => startOf(lab, `${each.service}.service`)));
          assert.deepEqual(after, before, when);
        };

        await assertAsleep('at boot');
        for (const each of cases) assert.equal(await startOf(lab, `${each.service}.service`), '0');
        for (const { socket, service, port, name } of cases) {
          const unit = `${service}.service`;
          const [udp] = await inodesOf(lab, socket);
          const [tcp] = (await listenersOn(lab, port)).filter(({ protocol }) => protocol === 'tcp');
          for (const when of ['first', 'again']) {
            // It is the connection that is answered which starts the service.
            const answer = await askPeer(lab, 'tcp', '127.0.0.1', port);
            assert.deepEqual(kindsOf(answer, name), ['tcp', 'udp'], `${socket}, ${when}`);
            assert.deepEqual(
              new Set(answer.sockets.map(({ inode }) => inode)),
              new Set([tcp?.inode, udp]),
              `${socket}, ${when}`,
            );
            assert.deepEqual(await askPeer(lab, 'udp', '::1', port), answer);
            assert.equal((await statusOf(lab, socket)).state, 'active');
            await lab.systemctl('stop', unit);
            assert.equal((await statusOf(lab, socket)).state, 'held');
          }
          assert.deepEqual(await inodesOf(lab, socket), [udp]);
          assert.equal(
            await lab.property(unit, 'DropInPaths'),
            `/run/systemd/generator/${unit}.d/50-berth.conf`,
          );
        }
        await assertAsleep('after a stop');
      });
    },
    debootstrap,
  );

  labTest(
    `an admin writes a reservation, reloads systemd, and the service gets its sockets (${of})`,
    async (t) => {
      const options = {
        root,
        units: {
          'plain.service': service,
          'dropped.service': service,
          'dropped.service.d/other.conf': '[Unit]\nDescription=Has drop-ins\n',
          'file.service': service,
          'typo.service': service,
          'turn.service': `[Service]\nType=notify\nExecStart=${peer} serve --notify\n`,
          'tpl@.service': service,
        },
        programs: peerAt(),
      };
      await withLab(t, options, async (lab) => {
        const listen = (port: number): string => `ListenStream=${port}\nListenDatagram=${port}\n`;
        const assertServed = async (name: string, port: number): Promise<void> => {
          await lab.systemctl('daemon-reload');
          await lab.systemctl('restart', `${name}.service`);
          const answer = await askPeer(lab, 'tcp', '::1', port);
          assert.deepEqual(kindsOf(answer, name), ['tcp', 'udp'], name);
          assert.equal(answer.sockets.length, 2, name);
          assert.deepEqual(await askPeer(lab, 'udp', '127.0.0.1', port), answer, name);
          assert.deepEqual(
            new Set(answer.sockets.map(({ inode }) => inode)),
            new Set(await inodesOf(lab, name)),
            name,
          );
        };
        const berthd = await lab.property('berth.service', 'MainPID');

        // Edited in its place, which no directory tells of.
        await lab.run('cat >>/etc/systemd/system/plain.service', { input: `[X-Berth]\n${listen(7611)}` });
        await assertServed('plain', 7611);
        // A file more in a directory that berth does not list by itself.
        await lab.write('/etc/systemd/system/dropped.service.d/berth.conf', `[X-Berth]\n${listen(7612)}`);
        await assertServed('dropped', 7612);
        await lab.write('/etc/berth/file.conf', `[Socket]\n${listen(7613)}`);
        await assertServed('file', 7613);
        await lab.write('/etc/systemd/system/tpl@two.service.d/berth.conf', `[X-Berth]\n${listen(7614)}`);
        await assertServed('tpl@two', 7614);
        await lab.write('/etc/berth/tpl@three.conf', `[Socket]\n${listen(7615)}`);
        await assertServed('tpl@three', 7615);

        // With a mistake the service starts as it would without berth; corrected in its place, it counts.
        await lab.write('/etc/berth/typo.conf', `[Socket]\n${listen(7616).replace('ListenD', 'LisstenD')}`);
        await lab.systemctl('daemon-reload');
        await lab.systemctl('start', 'typo.service');
        assert.equal(await failureToAsk(lab, 'tcp', '127.0.0.1', 7616), 'ECONNREFUSED');
        await lab.run('cat >/etc/berth/typo.conf', { input: `[Socket]\n${listen(7616)}` });
        await assertServed('typo', 7616);

        // Another Handoff=, by which the unit asks in another way than berthd knows.
        for (const handoff of ['exec', 'store', 'none', 'store']) {
          await lab.write(
            '/etc/berth/turn.conf',
            `[Socket]\n${listen(7617)}[Reservation]\nHandoff=${handoff}\n`,
          );
          if (handoff !== 'none') await assertServed('turn', 7617);
          else await lab.run(['berth', 'reload']);
        }

        assert.equal(await lab.property('berth.service', 'MainPID'), berthd);
      });
    },
    debootstrap,
  );

  labTest(
    `a file of berth's goes before a unit of the same name, and the log says so (${of})`,
    async (t) => {
      const options = {
        root,
        units: {
          'web.socket': '[Socket]\nListenStream=7621\nListenDatagramNoActivate=7621\n',
          'web.service': service,
        },
        programs: peerAt(),
        files: reservations({ web: reservation(['ListenDatagram=7622', 'FileDescriptorName=own']) }),
      };
      await withLab(t, options, async (lab) => {
        await lab.waitForJournal(
          /^\/etc\/systemd\/system\/web\.socket:3: .*'web' does not count: \/etc\/berth\/web\.conf does$/,
          { unit: 'berth.service' },
        );
        const [ours] = await inodesOf(lab, 'web');
        await lab.systemctl('start', 'web.socket');
        const { sockets } = await askPeer(lab, 'tcp', '127.0.0.1', 7621);
        assert.deepEqual(
          sockets.map(({ name, type, inode }) => [name, type, inode === ours]),
          [
            ['web.socket', 'tcp', false],
            ['own', 'udp', true],
          ],
        );
        await askPeer(lab, 'udp', '127.0.0.1', 7622);
        assert.equal(await failureToAsk(lab, 'udp', '127.0.0.1', 7621), 'ECONNREFUSED');

        // Without the file, the unit counts again. A mere restart would keep what is in the unit's fd store as 'own'.
        await lab.systemctl('stop', 'web.service');
        await lab.run(['rm', '/etc/berth/web.conf']);
        await lab.systemctl('daemon-reload');
        await lab.run(['berth', 'reload']);
        const answer = await askPeer(lab, 'tcp', '127.0.0.1', 7621);
        assert.deepEqual(kindsOf(answer, 'web.socket'), ['tcp', 'udp']);
        assert.deepEqual(await askPeer(lab, 'udp', '127.0.0.1', 7621), answer);
        assert.equal(await failureToAsk(lab, 'udp', '127.0.0.1', 7622), 'ECONNREFUSED');
      });
    },
    debootstrap,
  );
}
