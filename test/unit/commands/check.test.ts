import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { berth } from './capture.js';
import { scratch } from './fake-daemon.js';

const good = '[Socket]\nListenStream=18631\nListenDatagram=18631\n';
const bad = '[Socket]\nListenStream=70000\nListenStrem=1\n\n[Reservation]\nHandoff=throw\n';

function files(t: TestContext, contents: Readonly<Record<string, string>>): string {
  const directory = scratch(t);
  for (const [name, text] of Object.entries(contents)) {
    writeFileSync(join(directory, name), text);
  }
  return directory;
}

describe('berth check', () => {
  it('sums up when there is no mistake', async (t) => {
    const directory = files(t, {
      'a.conf': good,
      'b.conf': '[Socket]\nListenStream=18632\n',
    });
    assert.deepEqual(await berth(['check', '--config-dir', directory]), {
      status: 0,
      out: '2 reservations, 3 sockets, no mistakes\n',
      err: '',
    });
  });

  it('prints every mistake with its place on standard error, and exits 78', async (t) => {
    const directory = files(t, { 'a.conf': good, 'b.conf': bad });
    const { status, out, err } = await berth(['check', '--config-dir', directory]);
    const places = err.split('\n').map((line) => line.split(':').slice(0, 3).join(':'));
    const file = join(directory, 'b.conf');
    assert.deepEqual(places, [
      `${file}:2: ListenStream`,
      `${file}:3: ListenStrem`,
      `${file}:6: Handoff`,
      '3 mistakes',
      '',
    ]);
    assert.deepEqual({ status, out }, { status: 78, out: '' });
  });

  it('prints an array of mistakes with --json', async (t) => {
    const directory = files(t, { 'a.conf': good, 'b.conf': bad });
    const { status, out, err } = await berth(['check', '--json', '--config-dir', directory]);
    const mistakes = JSON.parse(out) as Record<string, unknown>[];
    assert.deepEqual(
      mistakes.map((mistake) => [Object.keys(mistake).sort().join(' '), mistake['line'], mistake['key']]),
      [
        ['file key line message', 2, 'ListenStream'],
        ['file key line message', 3, 'ListenStrem'],
        ['file key line message', 6, 'Handoff'],
      ],
    );
    assert.deepEqual({ status, err }, { status: 78, err: '' });
    assert.equal((await berth(['check', '--json', join(directory, 'a.conf')])).out, '[]\n');
  });

  it('reads only the files that are named', async (t) => {
    const directory = files(t, { 'a.conf': good, 'b.conf': bad });
    assert.equal(
      (await berth(['check', join(directory, 'a.conf')])).out,
      '1 reservation, 2 sockets, no mistakes\n',
    );
    assert.equal((await berth(['check', join(directory, 'b.conf'), join(directory, 'a.conf')])).status, 78);
  });

  it("reads files in a directory named portreserve as portreserve's", async (t) => {
    const directory = join(scratch(t), 'portreserve');
    mkdirSync(directory);
    for (const [name, text] of Object.entries({
      good: '18631\n18632/udp\n',
      bad: '# a comment\n18633/sctp\n70000\n',
      'good.rpmsave': '18631\n',
      'x.conf': '18631\n',
    }))
      writeFileSync(join(directory, name), text);
    assert.deepEqual(await berth(['check', join(directory, 'good')]), {
      status: 0,
      out: '1 reservation, 3 sockets, no mistakes\n',
      err: '',
    });
    const named = ['bad', 'good.rpmsave', 'x.conf', 'none'].map((name) => join(directory, name));
    const { status, err } = await berth(['check', ...named]);
    assert.equal(status, 78);
    assert.deepEqual(err.replaceAll(`${directory}/`, '').split('\n').sort(), [
      '',
      '5 mistakes',
      "bad:2: '/sctp' is neither /tcp nor /udp",
      "bad:3: '70000' is not a port (1 to 65535)",
      "good.rpmsave:1: files with a '.' or a '~' in their name do not count",
      'none:1: there is no such file',
      "x.conf:1: files with a '.' or a '~' in their name do not count",
    ]);
    const json = await berth(['check', '--json', join(directory, 'bad')]);
    assert.deepEqual(
      (JSON.parse(json.out) as { line: number }[]).map(({ line }) => line),
      [2, 3],
    );
  });

  it('lets an earlier --config-dir beat a later one', async (t) => {
    const early = files(t, { 'a.conf': good });
    const late = files(t, { 'a.conf': bad, 'b.conf': '[Socket]\nListenStream=18632\n' });
    assert.equal(
      (await berth(['check', '--config-dir', early, `--config-dir=${late}`])).out,
      '2 reservations, 3 sockets, no mistakes\n',
    );
  });

  it('says that a file or a directory that was named is not there', async (t) => {
    const directory = scratch(t);
    mkdirSync(join(directory, 'there'));
    const { status, err } = await berth(['check', join(directory, 'x.conf')]);
    assert.deepEqual(
      { status, start: err.startsWith(`${join(directory, 'x.conf')}:1: `) },
      { status: 78, start: true },
    );
    assert.deepEqual(await berth(['check', '--config-dir', join(directory, 'nowhere')]), {
      status: 3,
      out: '',
      err: `berth: cannot check ${join(directory, 'nowhere')}: no such directory\n`,
    });
    assert.equal((await berth(['check', '--config-dir', join(directory, 'there')])).status, 0);
  });

  it('takes either files or directories', async (t) => {
    const directory = files(t, { 'a.conf': good });
    const { status, err } = await berth(['check', join(directory, 'a.conf'), '--config-dir', directory]);
    assert.equal(status, 2);
    assert.match(err, /^berth: check takes either FILEs or --config-dir\n/);
  });

  it('prints no control characters of a file name or of a file', async (t) => {
    const directory = files(t, { 'a.conf': '[Socket]\nListen\u001b[2JStream=1\n' });
    const { err } = await berth(['check', '--config-dir', directory]);
    assert.ok(!err.includes('\u001b'));
  });
});
