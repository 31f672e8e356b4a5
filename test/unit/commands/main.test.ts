import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { exitStatuses, type ErrorCode } from '../../../src/model/errors.js';
import { berth } from './capture.js';
import { fakeDaemon, listen, reservation, scratch } from './fake-daemon.js';

const program = fileURLToPath(new URL('../../../src/bin/berth.js', import.meta.url));

interface Exit {
  readonly status: unknown;
  readonly out: string;
  readonly err: string;
}

/** Runs a shell command with `$berth` and `$control` for the program and its `--control`. */
function shell(script: string, control: string, uid?: number): Promise<Exit> {
  const env = { ...process.env, berth: `${process.execPath} ${program}`, control };
  return new Promise((resolve) => {
    execFile(
      'bash',
      ['-c', script],
      { env, timeout: 20_000, ...(uid === undefined ? {} : { uid }) },
      (error, out, err) => {
        resolve({ status: error === null ? 0 : error.code, out, err });
      },
    );
  });
}

describe('berth', () => {
  it('exits 6 without a berthd, and says where it looked', async (t) => {
    const control = join(scratch(t), 'control');
    const { status, out, err } = await shell('$berth --control "$control"', control);
    assert.deepEqual({ status, out }, { status: 6, out: '' });
    assert.equal(
      err,
      `berth: cannot reach berthd at ${control}: no such file; is berth.service running? (systemctl status berth.service)\n`,
    );
  });

  const refusals: readonly [string, number][] = [
    ['Failed', 1],
    ['NotFound', 3],
    ['Busy', 4],
    ['Denied', 5],
    ['Configuration', 78],
  ];
  for (const [error, status] of refusals) {
    it(`exits ${status} when berthd answers ${error}`, async (t) => {
      const control = fakeDaemon(t, () => ({ error, parameters: { message: 'not \u001bso' } }));
      assert.deepEqual(await berth(['reload', '--control', control]), {
        status,
        out: '',
        err: 'berth: not \\x1bso\n',
      });
    });
  }

  it('tells its errors as JSON where JSON was asked for', async (t) => {
    const control = join(scratch(t), 'control');
    const answers = fakeDaemon(t, () => ({ error: 'Denied', parameters: { message: 'not \u001bso\u202e' } }));
    const lines: readonly (readonly [string, readonly string[], ErrorCode, RegExp])[] = [
      ...['list', 'status x', 'watch', 'verify', 'release x', 'reload'].map(
        (verb) =>
          [verb, [...verb.split(' '), '--json', '--control', control], 'NoDaemon', /^cannot reach /] as const,
      ),
      ['refused', ['reload', '--json', '--control', answers], 'Denied', /^not .so.$/],
      ['why', ['why', '70000', '--json'], 'Usage', /70000/],
      ['check', ['check', '--json', '--config-dir', `${control}/none`], 'NotFound', /no such directory/],
      ['generate', ['generate', '--json', '--root'], 'Usage', /--root needs a value/],
      ['import', ['import', '--json', 'nothing'], 'Usage', /cannot import 'nothing'/],
      ['no verb', ['--json=short', 'lits'], 'Usage', /did you mean list/],
      ['a form that is none', ['list', '--json=maybe'], 'Usage', /short or pretty/],
    ];
    for (const [what, argv, code, message] of lines) {
      const { status, out, err } = await berth(argv);
      assert.deepEqual({ status, out }, { status: exitStatuses[code], out: '' }, what);
      assert.match(err, /^[ -~]+\n$/, what);
      const told = JSON.parse(err) as { error: { code: string; message: string } };
      assert.deepEqual(Object.keys(told), ['error'], what);
      assert.deepEqual(Object.keys(told.error), ['code', 'message'], what);
      assert.equal(told.error.code, code, what);
      assert.match(told.error.message, message, what);
    }
    assert.match(
      (await berth(['lits', '--json=pretty'])).err,
      /^\{\n {2}"error": \{\n {4}"code": "Usage",\n/,
    );
    // What follows -- is no option.
    assert.match((await berth(['status', '--control', control, '--', '--json'])).err, /^berth: cannot reach/);
  });

  it('exits 5 when the control socket is closed to the user', async (t) => {
    const control = fakeDaemon(t, () => ({ parameters: { reservations: [], more: false } }));
    chmodSync(control, 0);
    if (process.getuid?.() !== 0) {
      assert.equal((await berth(['--control', control])).status, 5);
      return;
    }
    chmodSync(dirname(control), 0o755);
    // The checkout need not be readable to others, so berth itself starts as root.
    process.seteuid?.(65534);
    try {
      assert.equal((await berth(['--control', control])).status, 5);
    } finally {
      process.seteuid?.(0);
    }
  });

  it('exits 2 on a wrong command line, with the way to help', async () => {
    assert.deepEqual(await berth(['lits']), {
      status: 2,
      out: '',
      err: "berth: unknown command 'lits'; did you mean list?\nTry 'berth --help'.\n",
    });
    const { status } = await shell('$berth --json=maybe', '');
    assert.equal(status, 2);
  });

  it('exits 1 when what answers is not berthd', async (t) => {
    const control = listen(t, (_, connection) => {
      connection.sendPacket(Buffer.from('220 mail.example.org'));
      connection.end();
    });
    const { status, out, err } = await berth(['--control', control]);
    assert.deepEqual({ status, out }, { status: 1, out: '' });
    assert.match(
      err,
      /^berth: .* gave no valid answer to List: it is not berthd, or berthd of another version\n$/,
    );
  });

  it('knows its version', async () => {
    const { version } = JSON.parse(
      readFileSync(new URL('../../../../../package.json', import.meta.url), 'utf8'),
    ) as { version: string };
    assert.deepEqual(await shell('$berth --version', ''), { status: 0, out: `berth ${version}\n`, err: '' });
  });

  it('ends in peace when nobody reads on', async (t) => {
    const many = Array.from({ length: 150 }, (_, i) =>
      reservation(`name-${i}`, { sockets: Array.from({ length: 15 }, (_, port) => `tcp *:${port}`) }),
    );
    const page = 75;
    const control = fakeDaemon(t, ({ parameters }) => {
      const start = many.findIndex(({ name }) => name === parameters['after']) + 1;
      return {
        parameters: { reservations: many.slice(start, start + page), more: start + page < many.length },
      };
    });
    const script = 'set -o pipefail; $berth --no-legend --control "$control" | head -c 6';
    assert.deepEqual(await shell(script, control), { status: 0, out: 'name-0', err: '' });
    assert.deepEqual(await shell('$berth list --control "$control" | (exec <&-; sleep 0.3)', control), {
      status: 0,
      out: '',
      err: '',
    });
  });

  it('says that the output could not be written', async (t) => {
    const control = fakeDaemon(t, () => ({ parameters: { reservations: [], more: false } }));
    assert.ok(openSync('/dev/full', 'w') > 0);
    const { status, err } = await shell('$berth --control "$control" >/dev/full', control);
    assert.deepEqual({ status, err }, { status: 1, err: 'berth: cannot write the output: ENOSPC\n' });
  });

  it('keeps its exit status when nobody reads the errors', async (t) => {
    const control = join(scratch(t), 'control');
    assert.equal((await shell('$berth --control "$control" 2>/dev/full', control)).status, 6);
  });
});
