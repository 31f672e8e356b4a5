// What src/commands/yargs.ts and arguments.ts rely on in yargs 18, and the faults that they work around. A test of a
// fault that fails after an update says that its workaround can go.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import yargs, { type Argv } from 'yargs';

function declare(): Argv {
  return yargs()
    .scriptName('berth')
    .locale('en')
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    })
    .command('check [FILE..]', 'Check', (y) =>
      y.positional('FILE', {}).option('config-dir', { type: 'string', requiresArg: true }),
    )
    .command('status <NAME>', 'Show')
    .option('json', { type: 'boolean' })
    .option('no-legend', { type: 'boolean' })
    .option('control', { type: 'string', requiresArg: true })
    .help('help', 'Show this help')
    .version('version', 'Show the version', '1.2.3')
    .strict()
    .exitProcess(false)
    .fail((message: string | null, error: Error | undefined) => {
      throw error ?? new Error(`refused: ${message ?? ''}`);
    });
}

async function parse(...args: string[]): Promise<Record<string, unknown>> {
  let text = '';
  const parsed = await declare().parse(args, {}, (_error, _argv, output) => {
    text = output;
  });
  return text === '' ? parsed : { ...parsed, text };
}

describe('yargs', () => {
  it('parses strictly, and says through fail() what it refuses', async () => {
    await assert.rejects(parse('--nope'), /^Error: refused: Unknown argument: nope$/);
    await assert.rejects(parse('status', 'a', 'b'), /^Error: refused: Unknown argument: b$/);
    await assert.rejects(parse('status'), /^Error: refused: Not enough non-option arguments: got 0, need/);
    await assert.rejects(parse('chek'), /^Error: refused: Unknown argument: chek$/);
    await assert.rejects(parse('status', 'a', '--config-dir', 'x'), /Unknown argument: config-dir/);
    await assert.rejects(parse('--noLegend'), /Unknown argument: noLegend/);
    await assert.rejects(parse('--no-json'), /Unknown argument: no-json/);
    await assert.rejects(parse('--control.x', 'y'), /Unknown argument: control\.x/);
  });

  it('throws a YError for an option without its value', async () => {
    await assert.rejects(parse('--control'), {
      name: 'YError',
      message: 'Not enough arguments following: control',
    });
    await assert.rejects(parse('--control', '--json'), { name: 'YError' });
  });

  it('replaces its texts, in the plural too', () => {
    const strings = { 'Unknown argument: %s': { one: 'one %s', other: 'many %s' } };
    const parser = declare().updateStrings(strings as unknown as Record<string, string>);
    assert.throws(() => parser.parse(['--x'], {}, () => undefined), /refused: one x/);
    assert.throws(() => parser.parse(['--x', '--y'], {}, () => undefined), /refused: many x, y/);
  });

  it('tells in `parsed` how far it got when it refuses', () => {
    const parser = declare();
    assert.throws(() => parser.parse(['--json', 'chek'], {}, () => undefined));
    assert.ok(parser.parsed !== false);
    assert.deepEqual(parser.parsed.argv._, ['chek']);
  });

  it('leaves operands the strings that they are', async () => {
    assert.deepEqual((await parse('status', '0x10'))['NAME'], '0x10');
    assert.deepEqual((await parse('check', '1e3', '007', 'a=b'))['FILE'], ['1e3', '007', 'a=b']);
  });

  it('takes one value for each occurrence of an option, and no operands with it', async () => {
    const parsed = await parse('check', '--config-dir', 'a', 'x.conf', '--config-dir=b');
    assert.deepEqual(parsed['config-dir'], ['a', 'b']);
    assert.deepEqual(parsed['FILE'], ['x.conf']);
    assert.equal((await parse('--control', 'a'))['control'], 'a');
  });

  it('hands --help and --version to the callback instead of printing and exiting', async () => {
    assert.match(String((await parse('--help'))['text']), /berth status <NAME> {3}Show\n[^]*--json/);
    assert.match(String((await parse('check', '--help'))['text']), /--config-dir/);
    assert.equal((await parse('--version'))['text'], '1.2.3');
  });

  it('passes operands that begin with a NUL through untouched', async () => {
    assert.equal((await parse('status', '\0--json'))['NAME'], '\0--json');
    assert.deepEqual((await parse('check', '\0-x', '\x0012'))['FILE'], ['\0-x', '\x0012']);
  });

  it('loses an operand that is a lone dash (hence the mark)', async () => {
    assert.deepEqual((await parse('check', 'a', '-', 'b'))['FILE'], ['a', 'b']);
  });

  it('answers an operand "help" with the help (hence the mark)', async () => {
    assert.match(String((await parse('status', 'help'))['text']), /^berth status <NAME>/);
  });

  it('takes what follows -- for options (hence the mark)', async () => {
    const parsed = await parse('check', '--', '--json').catch(() => undefined);
    assert.notDeepEqual(parsed?.['FILE'], ['--json']);
  });

  it('lets nonsense through in silence (hence rejectSurprises)', async () => {
    assert.equal((await parse('--json=maybe'))['json'], false);
    assert.deepEqual(await parse('--$0', 'x'), { _: [], $0: 'berth' });
    assert.match(String((await parse('--get-yargs-completions'))['text']), /check/);
  });
});
