import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import * as path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { put, tree } from '../systemd/tree.js';

const guard = path.resolve('build/bin/berth-generator');
const generator = path.resolve('build/js/src/bin/generator.js');

const reservation = '[Socket]\nListenStream=631\n';
const units = {
  'usr/lib/systemd/system/cups.service': '[Service]\nExecStart=/usr/sbin/cupsd -l\n',
  'usr/lib/systemd/system/other.service': '[Service]\nExecStart=/bin/true\n',
  'etc/systemd/system/masked.service': '-> /dev/null',
  'dev/kmsg': '',
};
const files = { ...units, 'etc/berth/cups.conf': reservation };
const dropIn = 'cups.service.d/50-berth.conf';

/** A machine below a directory, its generator, and a stand-in for the program in Node that counts its runs. */
class Machine {
  readonly root: string;
  readonly #node: string;

  constructor(context: TestContext, content: Readonly<Record<string, string>>) {
    this.root = tree(context, content);
    // Older than any change that a test makes, however coarse the clock of the file system.
    for (const file of Object.keys(content)) this.age(file);
    this.#node = path.join(this.root, 'node-part');
    this.setNode(`exec ${process.execPath} ${generator} "$@"`);
  }

  age(file: string): void {
    const place = path.join(this.root, file);
    // What is not there, or is a mask, has no times to set.
    if (existsSync(place) && !readFileSync(place).equals(Buffer.alloc(0))) utimesSync(place, 1000, 1000);
  }

  setNode(script: string): void {
    writeFileSync(this.#node, `#!/bin/sh\necho run >>${this.root}/runs\n${script}\n`);
    chmodSync(this.#node, 0o755);
  }

  removeNode(): void {
    rmSync(this.#node);
  }

  /** What one run puts into its output directory. */
  run(environment: NodeJS.ProcessEnv = {}): Record<string, string> {
    const out = path.join(this.root, 'out');
    rmSync(out, { recursive: true, force: true });
    mkdirSync(out);
    const done = spawnSync(guard, ['--root', this.root, this.#node, out, out, out], {
      encoding: 'utf8',
      env: { ...process.env, ...environment },
    });
    assert.equal(done.status, 0, done.stderr);
    const entries = readdirSync(out, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    return Object.fromEntries(
      entries.map((entry) => {
        const file = path.join(entry.parentPath, entry.name);
        return [path.relative(out, file), readFileSync(file, 'utf8')];
      }),
    );
  }

  /** Runs once the inputs are old enough for their stamps to be kept. */
  async settle(): Promise<Record<string, string>> {
    const deadline = Date.now() + 10_000;
    for (;;) {
      const made = this.run();
      if (existsSync(path.join(this.root, 'run/berth/generator/manifest'))) return made;
      assert.ok(Date.now() < deadline, 'no manifest is ever kept');
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  get runs(): number {
    const file = path.join(this.root, 'runs');
    return existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0;
  }

  get log(): string[] {
    return readFileSync(path.join(this.root, 'dev/kmsg'), 'utf8').split('\n').slice(0, -1);
  }
}

describe('berth-generator', () => {
  it('does not start Node when nothing is reserved', (context) => {
    const machine = new Machine(context, { ...units, 'etc/berth/berthd.conf': 'LogLevel=info\n' });
    assert.deepEqual(machine.run(), {});
    assert.deepEqual([machine.runs, machine.log], [0, []]);
  });

  it('takes nothing for a directory that is no absolute path', () => {
    for (const line of [[], ['--help'], ['out', 'out', 'out'], ['/a', '/b']]) {
      const { status, stderr } = spawnSync(guard, line, { encoding: 'utf8' });
      assert.equal(status, 2, line.join(' '));
      assert.match(stderr, /run by systemd/);
    }
    assert.ok(!existsSync('--help'));
  });

  it('starts it for a directive in a unit or a drop-in', (context) => {
    const directive = '[Socket]\nListenDatagramNoActivate=631\n';
    for (const file of ['usr/lib/systemd/system/cups.socket', 'etc/systemd/system/cups.socket.d/x.conf']) {
      const socket = { 'usr/lib/systemd/system/cups.socket': '[Socket]\nListenStream=/run/x\n' };
      const machine = new Machine(context, { ...units, ...socket, [file]: directive });
      assert.deepEqual(Object.keys(machine.run()), [dropIn]);
    }
  });

  it("starts it for a file of portreserve's, and for no other in its directory", (context) => {
    const others = { 'etc/portreserve/cups.rpmsave': '631\n', 'etc/portreserve/cups~': '631\n' };
    const machine = new Machine(context, { ...units, ...others });
    assert.deepEqual(machine.run(), {});
    assert.equal(machine.runs, 0);
    put(machine.root, 'etc/portreserve/cups', '631\n');
    assert.deepEqual(Object.keys(machine.run()), [dropIn]);
  });

  it('answers out of what it kept while nothing changes', async (context) => {
    const machine = new Machine(context, files);
    const made = await machine.settle();
    assert.match(made[dropIn] ?? '', /^ExecStartPre=\+\/usr\/bin\/berth-claim cups$/m);
    const { runs } = machine;
    assert.deepEqual(machine.run(), made);
    assert.equal(machine.runs, runs);
  });

  it('answers out of what it kept for the next boot, when /run is new', async (context) => {
    const machine = new Machine(context, files);
    const made = await machine.settle();
    const { runs } = machine;
    rmSync(path.join(machine.root, 'run'), { recursive: true });
    assert.deepEqual(machine.run(), made);
    assert.deepEqual(machine.run(), made);
    assert.equal(machine.runs, runs);
  });

  const changes: Readonly<Record<string, (root: string) => void>> = {
    'a reservation is edited': (root) => {
      writeFileSync(path.join(root, 'etc/berth/cups.conf'), '[Socket]\nListenStream=632\n');
    },
    'a reservation is added': (root) => {
      put(root, 'run/berth/other.conf', '[Socket]\nListenStream=99\n');
    },
    'a reservation goes': (root) => {
      rmSync(path.join(root, 'etc/berth/cups.conf'));
      put(root, 'etc/berth/keep.conf', reservation);
    },
    "a file of portreserve's comes": (root) => {
      put(root, 'etc/portreserve/other', '99\n');
    },
    'a drop-in for it comes': (root) => {
      put(root, 'etc/berth/cups.conf.d/x.conf', '[Reservation]\nHandoff=exec\n');
    },
    'its unit is edited': (root) => {
      writeFileSync(path.join(root, 'usr/lib/systemd/system/cups.service'), '[Service]\nNotifyAccess=all\n');
    },
    'its unit gets a drop-in': (root) => {
      put(root, 'etc/systemd/system/cups.service.d/x.conf', '[Service]\nNotifyAccess=all\n');
    },
    'all services get a drop-in': (root) => {
      put(root, 'run/systemd/system/service.d/x.conf', '[Service]\nNotifyAccess=all\n');
    },
    'another unit is edited': (root) => {
      writeFileSync(path.join(root, 'usr/lib/systemd/system/other.service'), '[X-Berth]\nListenStream=1\n');
    },
    'a mask becomes a unit': (root) => {
      rmSync(path.join(root, 'etc/systemd/system/masked.service'));
      put(root, 'etc/systemd/system/masked.service', '[X-Berth]\nListenStream=1\n');
    },
    'a file changes without its time or size': (root) => {
      const file = path.join(root, 'usr/lib/systemd/system/other.service');
      writeFileSync(file, '[Service]\nExecStart=/bin/fals\n');
      utimesSync(file, 1000, 1000);
    },
    'a manifest is of another version': (root) => {
      for (const place of ['run', 'var/lib']) {
        const file = path.join(root, place, 'berth/generator/manifest');
        writeFileSync(file, readFileSync(file, 'utf8').replace(/^berth-generator 1 /, '$&0'));
      }
    },
    'a manifest is cut short': (root) => {
      for (const place of ['run', 'var/lib']) {
        const file = path.join(root, place, 'berth/generator/manifest');
        writeFileSync(file, readFileSync(file, 'utf8').slice(0, -2));
      }
    },
  };
  it('asks Node again when an instance of a template that reserves is enabled', async (context) => {
    const template = 'usr/lib/systemd/system/web@.service';
    const text = '[Service]\nExecStart=/bin/web\n[X-Berth]\nListenStream=127.0.0.1:%i\n';
    const enabled = (port: number) => ({
      [`etc/systemd/system/multi-user.target.wants/web@${port}.service`]: `-> /${template}`,
    });
    // The first link makes the directory, another one comes into it.
    for (const before of [{}, enabled(8001)]) {
      const machine = new Machine(context, { ...files, ...before, [template]: text });
      await machine.settle();
      for (const [link, target] of Object.entries(enabled(8002))) put(machine.root, link, target);
      assert.ok('web@8002.service.d/50-berth.conf' in machine.run());
    }
  });

  for (const [what, change] of Object.entries(changes)) {
    it(`asks Node again when ${what}`, async (context) => {
      const machine = new Machine(context, files);
      await machine.settle();
      const { runs } = machine;
      change(machine.root);
      machine.run();
      assert.equal(machine.runs, runs + 1);
    });
  }

  it('asks Node again when a file of podman comes for a unit that is in no unit file', async (context) => {
    for (const file of ['etc/containers/systemd/cups.container', 'run/containers/systemd/x.kube']) {
      const machine = new Machine(context, { 'etc/berth/cups.conf': reservation, 'dev/kmsg': '' });
      assert.match((await machine.settle())[dropIn] ?? '', /^NotifyAccess=exec$/m);
      put(machine.root, file, '[Container]\nImage=x\n[Kube]\nServiceName=cups\n');
      assert.doesNotMatch(machine.run()[dropIn] ?? '', /NotifyAccess/);
    }
  });

  it('says what is wrong once a boot, and writes what is right', async (context) => {
    const machine = new Machine(context, { ...files, 'etc/berth/bad.conf': '[Socket]\nListenStream=x y\n' });
    const made = await machine.settle();
    assert.deepEqual(Object.keys(made), [dropIn]);
    const before = machine.log.length;
    assert.match(
      machine.log.at(-1) ?? '',
      /^<3>berth-generator\[\d+\]: \/etc\/berth\/bad\.conf:2: ListenStream: /,
    );
    machine.run();
    assert.equal(machine.log.length, before);
    rmSync(path.join(machine.root, 'run'), { recursive: true });
    machine.run();
    assert.equal(machine.log.length, before + 1);
  });

  it('without Node writes nothing, whatever it kept, and says so', async (context) => {
    const machine = new Machine(context, files);
    await machine.settle();
    machine.removeNode();
    writeFileSync(path.join(machine.root, 'etc/berth/cups.conf'), '[Socket]\nListenStream=632\n');
    assert.deepEqual(machine.run(), {});
    assert.match(
      machine.log.join('\n'),
      /^<3>berth-generator\[\d+\]: .*node-part cannot be run: is Node installed\?/,
    );
    assert.equal(machine.log.length, 1);
  });

  it('uses what it kept when Node fails', async (context) => {
    const machine = new Machine(context, files);
    const made = await machine.settle();
    for (const script of ['exit 1', 'kill -9 $$', 'echo nonsense', 'printf "berth-generator 1"']) {
      machine.setNode(script);
      writeFileSync(path.join(machine.root, 'etc/berth/cups.conf'), '[Socket]\nListenStream=632\n');
      assert.deepEqual(machine.run(), made, script);
      assert.match(machine.log.at(-1) ?? '', /failed: the drop-ins of its last run are used$/);
    }
  });

  it('writes a drop-in whole or not at all', (context) => {
    const machine = new Machine(context, files);
    // A directory in its place: what is written cannot be put there.
    mkdirSync(path.join(machine.root, 'blocked', dropIn), { recursive: true });
    const blocked = path.join(machine.root, 'blocked');
    const { status } = spawnSync(guard, [
      '--root',
      machine.root,
      path.join(machine.root, 'node-part'),
      blocked,
    ]);
    assert.equal(status, 0);
    assert.deepEqual(readdirSync(path.join(blocked, path.dirname(dropIn))), [path.basename(dropIn)]);
    assert.match(machine.log.join('\n'), /cannot write .*50-berth\.conf: Is a directory/);
  });

  it('is for the system manager of the real root only', (context) => {
    const machine = new Machine(context, files);
    assert.deepEqual(machine.run({ SYSTEMD_IN_INITRD: '1' }), {});
    assert.deepEqual(machine.run({ SYSTEMD_SCOPE: 'user' }), {});
    assert.equal(machine.runs, 0);
    assert.deepEqual(Object.keys(machine.run({ SYSTEMD_IN_INITRD: '0', SYSTEMD_SCOPE: 'system' })), [dropIn]);
  });
});

describe('berth-generator, for many units', () => {
  const count = 100;
  const name = (index: number) => `many-${index}.service`;
  const many = {
    ...units,
    ...Object.fromEntries(
      Array.from({ length: count }, (_, index) => [
        `etc/berth/many-${index}.conf`,
        `[Socket]\nListenStream=${1000 + index}\n`,
      ]),
    ),
  };
  const cache = 'run/berth/generator';
  const treesOf = ({ root }: Machine) =>
    readdirSync(path.join(root, cache)).filter((entry) => entry.startsWith('tree-'));
  /** Every drop-in as systemd reads it, through links. */
  const dropInsOf = ({ root }: Machine) =>
    Array.from({ length: count }, (_, index) =>
      readFileSync(path.join(root, 'out', `${name(index)}.d/50-berth.conf`), 'utf8'),
    );
  const isLinked = ({ root }: Machine, index: number) =>
    lstatSync(path.join(root, 'out', `${name(index)}.d`)).isSymbolicLink();

  it('keeps one tree, to which the next runs link', async (context) => {
    const machine = new Machine(context, many);
    await machine.settle();
    const first = dropInsOf(machine);
    assert.match(first[0] ?? '', /berth-claim many-0$/m);
    machine.run();
    const trees = treesOf(machine);
    assert.equal(trees.length, 1);
    for (let run = 0; run < 3; run++) {
      machine.run();
      assert.deepEqual([dropInsOf(machine), treesOf(machine), isLinked(machine, 7)], [first, trees, true]);
    }

    writeFileSync(
      path.join(machine.root, 'etc/berth/many-0.conf'),
      '[Socket]\nListenStream=1\nListenStream=2\n',
    );
    await machine.settle();
    machine.run();
    assert.equal(treesOf(machine).length, 1, 'the old one has gone');
    assert.notDeepEqual(treesOf(machine), trees);
    assert.match(dropInsOf(machine)[0] ?? '', /FileDescriptorStoreMax=10/);
    for (let index = 50; index < count; index++)
      rmSync(path.join(machine.root, `etc/berth/many-${index}.conf`));
    machine.run();
    assert.deepEqual(treesOf(machine), [], 'fewer are plain files again');
  });

  it('writes beside what another generator has written, before or through a link', async (context) => {
    const machine = new Machine(context, many);
    await machine.settle();
    machine.run();
    const first = dropInsOf(machine);
    const foreign = (index: number) => path.join(machine.root, 'out', `${name(index)}.d/foreign.conf`);
    writeFileSync(foreign(3), '[Service]\n'); // through the link, into the tree
    machine.run();
    assert.deepEqual([dropInsOf(machine), isLinked(machine, 3), isLinked(machine, 4)], [first, false, true]);
    assert.equal(existsSync(foreign(3)), false, 'it is not kept');
  });

  it('writes plain files where there is no place for a tree', (context) => {
    const machine = new Machine(context, { ...many, 'run/berth/generator': 'a file' });
    machine.run();
    assert.match(dropInsOf(machine)[99] ?? '', /berth-claim many-99$/m);
    assert.equal(isLinked(machine, 99), false);
  });

  it('takes half a tree for none', async (context) => {
    const machine = new Machine(context, many);
    await machine.settle();
    machine.run();
    const [tree = ''] = treesOf(machine);
    rmSync(path.join(machine.root, cache, tree, 'complete'));
    rmSync(path.join(machine.root, cache, tree, `${name(0)}.d`), { recursive: true });
    machine.run();
    assert.match(dropInsOf(machine)[0] ?? '', /berth-claim many-0$/m);
  });
});
