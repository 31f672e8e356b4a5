// What `berth` does on a terminal: colours, tables that fit, JSON for people, and a pager where it is needed.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it, type TestContext } from 'node:test';
import { Berthd, programs } from '../support/berthd.js';
import { run } from '../support/processes.js';
import { requires } from '../support/requirements.js';
import { freePort, randomLoopback } from '../support/sockets.js';

const hasScript = spawnSync('script', ['--version']).status === 0;

/** Two reservations with long names, the second with two sockets. */
async function start(t: TestContext): Promise<Berthd> {
  const host = randomLoopback();
  const socket = (): string => `ListenStream=${host}:${freePort()}\n`;
  return Berthd.start(t, {
    'a-reservation-with-a-long-name': `[Socket]\n${socket()}[Reservation]\nHandoff=none\n`,
    'another-one-with-a-long-name': `[Socket]\n${socket()}${socket()}[Reservation]\nHandoff=exec\n`,
  });
}

/** What a terminal of this size gets to see, by script(1). */
async function onTerminal(
  t: TestContext,
  { control }: Berthd,
  args: string,
  { env = {}, rows = 24, columns = 80 }: { env?: NodeJS.ProcessEnv; rows?: number; columns?: number } = {},
): Promise<string> {
  const command = `stty rows ${rows} cols ${columns}; '${process.execPath}' '${programs.berth}' --control '${control}' ${args}`;
  const clean = { TERM: 'xterm', NO_COLOR: '', PAGER: 'cat', SYSTEMD_PAGER: undefined };
  const { out, status } = await run(t, 'script', ['-qec', command, '/dev/null'], {
    env: { ...clean, ...env },
  });
  assert.equal(status, 0, out);
  return out.replaceAll('\r', '');
}

const escape = '\u001b[';

describe('berth on a terminal', () => {
  it('colours, unless NO_COLOR or TERM=dumb is set', async (t) => {
    if (!requires(t, hasScript, 'this needs script(1)')) return;
    const berthd = await start(t);
    assert.ok((await onTerminal(t, berthd, 'list')).includes(escape));
    for (const env of [{ NO_COLOR: '1' }, { TERM: 'dumb' }])
      assert.ok(!(await onTerminal(t, berthd, 'list', { env })).includes(escape));
    assert.ok(!(await berthd.berth(['list'])).out.includes(escape));
  });

  it('fits its tables to the terminal, and cuts nothing elsewhere', async (t) => {
    if (!requires(t, hasScript, 'this needs script(1)')) return;
    const berthd = await start(t);
    const lines = (await onTerminal(t, berthd, 'list', { env: { NO_COLOR: '1' }, columns: 70 })).split('\n');
    assert.ok(
      lines.every((line) => line.length <= 70),
      lines.join('\n'),
    );
    assert.ok(lines.some((line) => line.includes('…')));
    assert.ok(!(await berthd.berth(['list'])).out.includes('…'));
  });

  it('indents JSON, as --json=short and --json=pretty have it anywhere', async (t) => {
    if (!requires(t, hasScript, 'this needs script(1)')) return;
    const berthd = await start(t);
    const linesOf = (text: string): number => text.trimEnd().split('\n').length;
    assert.ok(linesOf(await onTerminal(t, berthd, 'list --json')) > 5);
    assert.equal(linesOf(await onTerminal(t, berthd, 'list --json=short')), 1);
    assert.equal(linesOf((await berthd.berth(['list', '--json'])).out), 1);
    assert.ok(linesOf((await berthd.berth(['list', '--json=pretty'])).out) > 5);
  });

  it('starts the pager for what is longer than the terminal, and only then', async (t) => {
    if (!requires(t, hasScript, 'this needs script(1)')) return;
    const berthd = await start(t);
    const env = { PAGER: "sed 's/^/paged: /'", NO_COLOR: '1' };
    const paged = await onTerminal(t, berthd, 'list', { env, rows: 3 });
    assert.ok(
      paged.split('\n').every((line) => line === '' || line.startsWith('paged: ')),
      paged,
    );
    assert.match(paged, /2 reservations, 3 sockets/);
    const less = 'echo "$LESS"';
    assert.equal(await onTerminal(t, berthd, 'list', { env: { PAGER: less }, rows: 3 }), 'FRSXMK\n');
    for (const [args, rows] of [
      ['list --no-pager', 3],
      ['list', 24],
    ] as const)
      assert.ok(!(await onTerminal(t, berthd, args, { env, rows })).includes('paged: '));
  });
});
