import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { run } from '../../support/processes.js';
import { openFds } from '../../support/files.js';
import { takeListenFds } from '../../../src/systemd/listen-fds.js';

const module = JSON.stringify(new URL('../../../src/systemd/listen-fds.js', import.meta.url).href);

describe('takeListenFds', () => {
  it('takes nothing that was meant for another process, and removes the variables all the same', () => {
    const fds = openFds();
    const environment = {
      LISTEN_PID: '1',
      LISTEN_FDS: '3',
      LISTEN_FDNAMES: 'a:b:c',
      LISTEN_PIDFDID: '7',
      X: 'y',
    };
    assert.deepEqual(takeListenFds(environment), []);
    assert.deepEqual(environment, { X: 'y' });
    assert.deepEqual(openFds(), fds);
  });

  it('takes nothing where nothing was passed', () => {
    assert.deepEqual(takeListenFds({}), []);
    assert.deepEqual(takeListenFds({ LISTEN_PID: String(process.pid) }), []);
    assert.deepEqual(takeListenFds({ LISTEN_PID: String(process.pid), LISTEN_FDS: 'x' }), []);
    assert.deepEqual(takeListenFds({ LISTEN_PID: '', LISTEN_FDS: '1' }), []);
  });

  it('gives the descriptors their names, and keeps them from children', async (t) => {
    // A descriptor 3 and 4 of a shell, as systemd leaves them: open across exec.
    const program = `
      import { readFileSync } from 'node:fs';
      const { takeListenFds } = await import(${module});
      const passed = takeListenFds(process.env);
      const flags = passed.map(({ fd }) => /flags:\\t(\\d+)/.exec(readFileSync('/proc/self/fdinfo/' + fd, 'utf8'))[1]);
      console.log(JSON.stringify({ passed, flags, left: Object.keys(process.env).filter((k) => k.startsWith('LISTEN')) }));`;
    const script = 'exec 3</dev/null 4</dev/null; LISTEN_PID=$$ exec "$0" --input-type=module -e "$1"';
    for (const [names, expected] of [
      ['berth.socket:control', ['berth.socket', 'control']],
      ['only', ['only', 'unknown']],
      [undefined, ['unknown', 'unknown']],
    ] as const) {
      const { out, err } = await run(t, 'sh', ['-c', script, process.execPath, program], {
        env: { LISTEN_FDS: '2', ...(names === undefined ? {} : { LISTEN_FDNAMES: names }) },
      });
      assert.equal(err, '');
      const { passed, flags, left } = JSON.parse(out) as {
        passed: { fd: number; name: string }[];
        flags: string[];
        left: string[];
      };
      assert.deepEqual(
        passed,
        expected.map((name, index) => ({ fd: 3 + index, name })),
      );
      for (const flag of flags) assert.notEqual(parseInt(flag, 8) & 0o2000000, 0);
      assert.deepEqual(left, []);
    }
  });
});
