// `berth why` on a staged machine: one situation for each answer that it can give.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { reservation, reservations } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';
import { nodeForAddon } from './sanitized.js';

interface Process {
  readonly pid: number;
  readonly command: string;
  readonly unit?: string;
  readonly user?: string;
  readonly since?: number;
}

interface Answer {
  readonly protocol: string;
  readonly verdict: string;
  readonly occupants: readonly {
    readonly kind: string;
    readonly address: string;
    readonly peer?: string;
    readonly user: string;
    readonly processes: readonly Process[];
    readonly reservation?: string;
    readonly namespace?: number;
  }[];
  readonly reservations: readonly { readonly name: string; readonly unit: string }[];
  readonly ranges: { readonly ephemeral: boolean; readonly spared: boolean; readonly bindresvport: boolean };
  readonly unseen: readonly string[];
}

async function ask(lab: Lab, port: string, user?: string): Promise<Answer> {
  const { answers } = await lab.json<{ answers: Answer[] }>(
    ['berth', 'why', '--json', port],
    user === undefined ? {} : { user },
  );
  assert.equal(answers.length, 1);
  const [answer] = answers;
  assert.ok(answer);
  return answer;
}

/** What `berth why` says to a person, the first line of it, and all. */
async function tell(lab: Lab, port: string, user?: string): Promise<{ first: string; text: string }> {
  const text = await lab.text(['berth', 'why', port], user === undefined ? {} : { user });
  return { first: text.split('\n')[0] ?? '', text };
}

/** A service that runs a line of JavaScript with the addon as `n` and its constants as `c`. */
function service(script: string): string {
  const prelude = `const n=require('/usr/lib/berth/berth.node'),c=n.constants;`;
  return `[Service]\nType=exec\nUser=nobody\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nExecStart=${nodeForAddon} -e "${prelude}${script};setInterval(()=>0,1e6)"\n`;
}

const listener = service(`require('net').createServer().listen(7101)`);
const receiver = service(`require('dgram').createSocket('udp4').bind(7101,'127.0.0.1')`);
const silent = service(
  `const f=n.socket(c.AF_INET6,c.SOCK_STREAM,0);n.bind(f,{family:'inet6',host:'::',port:700})`,
);
// Both ends, so that the connection has somewhere to lead to.
const client = service(
  `require('net').createServer().listen(7102,()=>require('net').connect({port:7102,host:'127.0.0.1',localPort:50123}))`,
);
// The end that closes first is left in TIME_WAIT.
const closing = service(
  `const s=require('net').createServer((x)=>x.resume()).listen(7103,()=>{const k=require('net').connect({port:7103,host:'127.0.0.1',localPort:7104},()=>k.end())});s.on('connection',(x)=>x.on('end',()=>x.end()))`,
);
const elsewhere = listener.replace('7101', '7105').replace('[Service]\n', '[Service]\nPrivateNetwork=yes\n');

const staged = {
  'listener.service': listener,
  'receiver.service': receiver,
  'silent.service': silent,
  'client.service': client,
  'closing.service': closing,
  'elsewhere.service': elsewhere,
} as const;

async function stage(lab: Lab, unit: keyof typeof staged): Promise<number> {
  await lab.systemctl('start', unit);
  return Number(await lab.property(unit, 'MainPID'));
}

/** Asks until the service, which systemd takes for started at its exec, has done its part. */
async function settled(lab: Lab, port: string, verdict: string): Promise<Answer> {
  return lab.until(`${port} to be ${verdict}`, async () => {
    const answer = await ask(lab, port);
    return answer.verdict === verdict || answer.occupants.some(({ kind }) => kind === verdict)
      ? answer
      : undefined;
  });
}

labTest('berth why tells who has a port, in eight situations', async (t) => {
  const options = {
    name: 'why',
    units: { ...staged, 'web.service': '[Service]\nExecStart=/bin/sleep 1000\n' },
    files: reservations({
      web: reservation(
        ['ListenStream=631', 'ListenDatagram=631', 'ListenDatagram=127.0.0.1:632'],
        ['Handoff=exec'],
      ),
    }),
  };
  await withLab(t, options, async (lab) => {
    const situation = (name: string, body: (t: TestContext) => Promise<void>): Promise<void> =>
      t.test(name, body);

    await situation('held by berth, and for whom', async () => {
      const answer = await ask(lab, '631/tcp');
      assert.equal(answer.verdict, 'held');
      assert.deepEqual(
        answer.occupants.map(({ reservation }) => reservation),
        ['web'],
      );
      assert.equal(answer.occupants[0]?.processes[0]?.unit, 'berth.service');
      assert.equal(answer.reservations[0]?.unit, 'web.service');
      const { first, text } = await tell(lab, 'ipp/tcp');
      assert.equal(first, 'tcp 631 (ipp): held by berth for web.service');
      assert.match(text, /→ berth status web/);
    });

    await situation('held by berth, whose guards are not told of', async () => {
      await lab.text(['berth-claim', 'web', '--', '/bin/true']);
      for (const [port, address] of [
        ['631/tcp', '[::]:631'],
        ['631/udp', '[::]:631'],
        ['632/udp', '127.0.0.1:632'],
      ] as const) {
        const { verdict, occupants } = await ask(lab, port);
        assert.equal(verdict, 'held');
        assert.deepEqual(
          occupants.map((occupant) => [occupant.kind, occupant.address, occupant.reservation]),
          [['held', address, 'web']],
        );
      }
    });

    await situation('a listener, with pid, command, unit, user and since', async () => {
      const pid = await stage(lab, 'listener.service');
      const answer = await settled(lab, '7101/tcp', 'listener');
      const [process] = answer.occupants[0]?.processes ?? [];
      assert.deepEqual(
        { ...process, since: 0 },
        { pid, command: 'node', unit: 'listener.service', uid: 65534, user: 'nobody', since: 0 },
      );
      const started = Number(await lab.text(['stat', '-c', '%Y', `/proc/${pid}`]));
      assert.ok(Math.abs((process?.since ?? 0) / 1000 - started) < 5);
      const { first, text } = await tell(lab, '7101/tcp');
      assert.match(first, /: taken: pid \d+ node \(listener\.service\) listens$/);
      assert.match(text, /→ systemctl stop listener\.service/);
      await stage(lab, 'receiver.service');
      assert.equal((await settled(lab, '7101/udp', 'listener')).occupants[0]?.address, '127.0.0.1:7101');
    });

    await situation('bound but silent, as bindresvport(3) leaves it', async () => {
      await stage(lab, 'silent.service');
      const answer = await settled(lab, '700/tcp', 'bound');
      assert.equal(answer.occupants[0]?.processes[0]?.unit, 'silent.service');
      assert.equal(answer.ranges.bindresvport, true);
      assert.match((await tell(lab, '700/tcp')).first, /has bound it and does not listen$/);
    });

    await situation("a client's local port", async () => {
      await stage(lab, 'client.service');
      const answer = await settled(lab, '50123/tcp', 'client');
      assert.equal(answer.occupants[0]?.peer, '127.0.0.1:7102');
      assert.match((await tell(lab, '50123/tcp')).first, /taken as the local port of a connection of pid/);
      // From the other side it is a connection of the listener, which is what has the port.
      assert.equal((await ask(lab, '7102/tcp')).verdict, 'listener');
    });

    await situation("the kernel's own", async () => {
      // As NFS and lockd do, the kernel opens this socket itself, and no process has it.
      await lab.run(
        'ip link set lo up && ip link add vx type vxlan id 5 dstport 4790 dev lo && ip link set vx up',
      );
      const answer = await ask(lab, '4790/udp');
      assert.equal(answer.verdict, 'kernel');
      assert.deepEqual(answer.occupants[0]?.processes, []);
      const { first, text } = await tell(lab, '4790/udp');
      assert.match(first, /taken by the kernel itself/);
      assert.match(text, /findmnt -t nfs,nfs4/);
    });

    await situation('in the ephemeral range, and taken out of it', async () => {
      const answer = await ask(lab, '45678/tcp');
      assert.deepEqual([answer.verdict, answer.ranges.ephemeral], ['free', true]);
      assert.match((await tell(lab, '45678/tcp')).text, /An outgoing connection may take it at any moment/);
      await lab.run('echo 45600-45700 >/proc/sys/net/ipv4/ip_local_reserved_ports');
      const { ephemeral, spared } = (await ask(lab, '45678/tcp')).ranges;
      assert.deepEqual({ ephemeral, spared }, { ephemeral: false, spared: true });
      assert.equal((await ask(lab, '8080/tcp')).ranges.ephemeral, false);
    });

    await situation('in another network namespace', async () => {
      const pid = await stage(lab, 'elsewhere.service');
      const answer = await settled(lab, '7105/tcp', 'elsewhere');
      assert.equal(answer.verdict, 'free');
      assert.equal(answer.occupants[0]?.processes[0]?.pid, pid);
      assert.equal(
        `net:[${answer.occupants[0].namespace ?? 0}]`,
        await lab.text(['readlink', `/proc/${pid}/ns/net`]),
      );
      assert.match((await tell(lab, '7105/tcp')).first, /free in this network namespace$/);
    });

    await situation('what is left of a connection', async () => {
      await stage(lab, 'closing.service');
      const answer = await settled(lab, '7104/tcp', 'closing');
      assert.equal(answer.occupants[0]?.peer, '127.0.0.1:7103');
      assert.match((await tell(lab, '7104/tcp')).text, /SO_REUSEADDR/);
    });

    await situation('for another user, who is told what was not seen', async () => {
      const answer = await ask(lab, '631/tcp', 'daemon');
      assert.equal(answer.verdict, 'held');
      const other = await ask(lab, '7101/tcp', 'daemon');
      assert.equal(other.verdict, 'hidden');
      assert.equal(other.occupants[0]?.user, 'nobody');
      assert.ok(other.unseen.some((gap) => gap.includes('only root')));
      assert.match((await tell(lab, '7101/tcp', 'daemon')).text, /→ sudo berth why 7101\/tcp/);
    });

    await situation('without berthd, by the files and by what the kernel has', async () => {
      // The vault of PID 1 keeps the sockets (or not, by its version); either way the files tell whose they are.
      await lab.systemctl('stop', 'berth.socket', 'berth.service');
      const { stdout, stderr, status } = await lab.run(['berth', 'why', '631/tcp']);
      assert.equal(status, 0);
      assert.match(
        stdout,
        /reservation 'web' \(\/etc\/berth\/web\.conf:\d+, Handoff=exec\): reserved in a file/,
      );
      assert.match(stdout, /→ systemctl start berth\.service/);
      assert.match(stderr, /cannot reach berthd/);
    });

    await situation('a port and a name that are none', async () => {
      for (const port of ['0', 'nosuchservice', '631/sctp'])
        assert.equal((await lab.run(['berth', 'why', port], { allowFail: true })).status, 2);
    });
  });
});
