import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { native } from '../../../src/native/index.js';
import { createNotifier } from '../../../src/systemd/notify.js';
import { scratch } from '../../support/files.js';
import { run } from '../../support/processes.js';
import { receiveText, serve } from '../../support/sockets.js';

const module = JSON.stringify(new URL('../../../src/systemd/notify.js', import.meta.url).href);

/** How the package is loaded: as it is, and as it fails under another version of Node than the one it was built with. */
const loads = { 'with the package': '', 'without it': ", () => { throw new Error('ERR_DLOPEN_FAILED'); }" };

/** What a manager receives, datagram by datagram, while `program` uses `notifier` in a process of its own. */
async function told(
  t: TestContext,
  program: string,
  environment: NodeJS.ProcessEnv = {},
  load = '',
): Promise<{ messages: string[]; out: string; err: string; status: number | null }> {
  const path = join(scratch(t), 'notify');
  const manager = serve(t, 'datagram', { family: 'unix', path });
  native.adopt(manager);
  const { out, err, status } = await run(
    t,
    'sh',
    [
      '-c',
      'WATCHDOG_PID=$$ exec "$0" --input-type=module -e "$1"',
      process.execPath,
      `const { createNotifier } = await import(${module});
       const notifier = createNotifier(process.env${load});
       ${program}`,
    ],
    { env: { NOTIFY_SOCKET: path, ...environment } },
  );
  const messages: string[] = [];
  for (let text = receiveText(manager); text !== undefined; text = receiveText(manager)) messages.push(text);
  return { messages, out, err, status };
}

for (const [how, load] of Object.entries(loads))
  describe(`createNotifier, ${how}`, () => {
    it('sends one datagram a call, in the words of sd_notify(3)', async (t) => {
      const before = process.hrtime.bigint() / 1000n;
      const { messages, err } = await told(
        t,
        `notifier.ready('Holding 3 sockets');
       notifier.status('half way');
       notifier.reloading();
       notifier.watchdog();
       notifier.stopping();`,
        {},
        load,
      );
      assert.equal(err, '');
      const [ready, status, reloading, ...rest] = messages;
      assert.equal(ready, 'READY=1\nSTATUS=Holding 3 sockets');
      assert.equal(status, 'STATUS=half way');
      const time = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(reloading ?? '')?.[1];
      assert.ok(time !== undefined, reloading);
      // The same clock here and there: CLOCK_MONOTONIC.
      assert.ok(BigInt(time) > before && BigInt(time) < process.hrtime.bigint() / 1000n);
      assert.deepEqual(rest, ['READY=1\nWATCHDOG=1', 'STOPPING=1']);
    });

    it('lets no text begin another assignment, nor be a format', async (t) => {
      const { messages } = await told(
        t,
        `notifier.ready('a\\nREADY=0\\r\\nMAINPID=1');
       notifier.status('%s%n%d 100 %');
       notifier.status('é日本');`,
        {},
        load,
      );
      assert.deepEqual(messages, [
        'READY=1\nSTATUS=a READY=0 MAINPID=1',
        'STATUS=%s%n%d 100 %',
        'STATUS=é日本',
      ]);
    });

    it('knows the interval of the watchdog in milliseconds, and that there is none', async (t) => {
      const print = 'console.log(notifier.watchdogInterval)';
      assert.equal((await told(t, print, { WATCHDOG_USEC: '3000000' }, load)).out, '3000\n');
      assert.equal((await told(t, print, {}, load)).out, '0\n');
    });

    it('goes on when the manager has gone', async (t) => {
      const { out, err } = await told(
        t,
        `notifier.ready('x'); notifier.watchdog(); console.log('alive');`,
        {
          NOTIFY_SOCKET: join(scratch(t), 'nobody'),
        },
        load,
      );
      assert.deepEqual({ out, err }, { out: 'alive\n', err: '' });
    });
  });

describe('createNotifier', () => {
  it('does nothing outside systemd, and does not even load the package', () => {
    const notifier = createNotifier({});
    notifier.ready('x');
    notifier.status('x');
    notifier.reloading();
    notifier.watchdog();
    notifier.stopping();
    assert.equal(notifier.watchdogInterval, 0);
  });
});
