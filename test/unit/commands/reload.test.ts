import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { berth } from './capture.js';
import { fakeDaemon } from './fake-daemon.js';

function daemon(t: TestContext, mistakes: readonly string[], failures: readonly string[]): string {
  return fakeDaemon(t, ({ method }) => {
    assert.equal(method, 'Reload');
    return { parameters: { reservations: 3, sockets: 5, mistakes, failures } };
  });
}

const mistake = '/etc/berth/x.conf:3: Listen\u001bStream: not a port';
const failure = "cannot bind 'tcp *:22': address in use (EADDRINUSE, held by pid 812 sshd)";

describe('berth reload', () => {
  it('says what is held', async (t) => {
    assert.deepEqual(await berth(['reload', '--control', daemon(t, [], [])]), {
      status: 0,
      out: 'holding 5 sockets of 3 reservations\n',
      err: '',
    });
  });

  it('prints mistakes and failures; mistakes decide the exit status', async (t) => {
    assert.deepEqual(await berth(['reload', '--control', daemon(t, [mistake], [failure])]), {
      status: 78,
      out: 'holding 5 sockets of 3 reservations\n',
      err: `/etc/berth/x.conf:3: Listen\\x1bStream: not a port\n${failure}\n`,
    });
  });

  it('fails when a socket could not be held', async (t) => {
    const { status, err } = await berth(['reload', '--control', daemon(t, [], [failure])]);
    assert.deepEqual({ status, err }, { status: 1, err: `${failure}\n` });
  });

  it('prints the answer with --json, with the same exit status', async (t) => {
    const { status, out, err } = await berth(['reload', '--json', '--control', daemon(t, [mistake], [])]);
    assert.deepEqual(JSON.parse(out), { reservations: 3, sockets: 5, mistakes: [mistake], failures: [] });
    assert.deepEqual({ status, err }, { status: 78, err: '' });
  });
});
