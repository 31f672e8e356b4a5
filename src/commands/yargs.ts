import yargs, { type Argv } from 'yargs';
import { closest } from '../config/spelling.js';
import { BerthError, messageOf } from '../model/errors.js';
import { defaultControlPath } from '../protocol/messages.js';
import { operandCounts, verbs, type Invocation, type Notice, type Verb } from './arguments.js';

// Operands are marked with a byte that no argument can hold where yargs would not take them for operands: what follows
// `--`, a lone dash, which it loses, and the word "help", which it answers even as the name of a reservation.
const operandMark = '\0';
const misread: readonly string[] = ['-', 'help'];

/** `head` and `rest` are the arguments before and after the first `--`. */
export async function parseWithYargs(
  head: readonly string[],
  rest: readonly string[],
  version: string,
): Promise<Invocation | Notice> {
  const args = [
    ...head.map((argument) => (misread.includes(argument) ? operandMark + argument : argument)),
    ...rest.map((operand) => operandMark + operand),
  ];
  let text = '';
  const parser: Argv = declare(version).fail((message: string | null, error: Error | undefined) => {
    if (error !== undefined && error.name !== 'YError') {
      throw error;
    }
    const seen = parser.parsed;
    const word = seen === false ? undefined : seen.argv._[0];
    throw new BerthError('Usage', unmark(explain(message ?? messageOf(error), word, args)));
  });
  const parsed = await parser.parse(args, {}, (_error, _argv, output) => {
    text = output;
  });
  return text === '' ? invocation(parsed) : { text: `${text}\n` };
}

function declare(version: string): Argv {
  return yargs()
    .scriptName('berth')
    .locale('en')
    .updateStrings(messages as unknown as Record<string, string>)
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    })
    .usage(
      'berth [OPTION…] [COMMAND]\n\nShows and checks the sockets that berthd holds. Without a command: list.',
    )
    .command('list', 'List the reservations')
    .command('status <NAME>', 'Show one reservation with its sockets and claimants', (y) =>
      y.positional('NAME', { describe: 'The reservation' }),
    )
    .command('why <PORT>', 'Say who has a port, and whether it could be taken', (y) =>
      y.positional('PORT', {
        describe: 'PORT, PORT/tcp, PORT/udp, ADDRESS:PORT or a name of services(5)',
      }),
    )
    .command('watch', 'Print what happens as it happens', (y) =>
      y.option('count', { type: 'string', requiresArg: true, describe: 'End after so many events' }),
    )
    .command('verify [NAME..]', 'Try to take what is held, and print that nothing could be', (y) =>
      y.positional('NAME', { describe: 'Only these reservations', defaultDescription: 'all' }),
    )
    .command('check [FILE..]', 'Check the configuration without berthd', (y) =>
      y
        .positional('FILE', { describe: 'Only these files, else all', defaultDescription: 'all' })
        .option('config-dir', {
          type: 'string',
          requiresArg: true,
          describe: 'Read the files of this directory; may repeat',
        }),
    )
    .command('release <NAME>', 'Let go of the ports of a reservation with Handoff=release', (y) =>
      y.positional('NAME', { describe: "The reservation; '*' for all of them" }),
    )
    .command('reload', 'Make berthd re-read its files')
    .command('generate', 'Show the drop-ins that units get, without writing them', (y) =>
      y
        .option('diff', { type: 'boolean', describe: 'Show what the next daemon-reload changes' })
        .option('precompute', {
          type: 'boolean',
          describe: 'Show nothing, keep them for the next daemon-reload',
        })
        .option('root', {
          type: 'string',
          requiresArg: true,
          describe: 'Read the files below this directory',
        })
        .option('config-dir', {
          type: 'string',
          requiresArg: true,
          describe: 'Read the files of this directory; may repeat',
        })
        .conflicts('precompute', ['diff', 'json', 'config-dir']),
    )
    .command('import [WHAT..]', 'Propose files for what is reserved or used otherwise', (y) =>
      y
        .positional('WHAT', { describe: 'portreserve [FILE…], socket UNIT…, or with --listening PORT…' })
        .option('listening', { type: 'boolean', describe: 'Take what listens now' })
        .option('write', { type: 'boolean', describe: 'Write the files, where there are none yet' })
        .option('root', {
          type: 'string',
          requiresArg: true,
          describe: 'Read the files below this directory',
        })
        .option('config-dir', {
          type: 'string',
          requiresArg: true,
          describe: 'Read the files of this directory; may repeat',
        }),
    )
    .option('control', {
      type: 'string',
      requiresArg: true,
      describe: `berthd's socket, else ${defaultControlPath}`,
    })
    .option('json', { type: 'boolean', describe: 'Print JSON; --json=short or --json=pretty says how' })
    .option('no-legend', { type: 'boolean', describe: 'Print no header and no summary' })
    .option('no-pager', { type: 'boolean', describe: 'Never start a pager' })
    .help('help', 'Show this help')
    .alias('help', 'h')
    .version('version', 'Show the version', `berth ${version}`)
    .epilogue('See berth(1).')
    .strict()
    .wrap(80)
    .exitProcess(false);
}

/** What a verb cannot do without. */
const needs: Readonly<Partial<Record<Verb, string>>> = {
  status: 'the NAME of a reservation',
  release: 'the NAME of a reservation',
  why: 'a PORT',
};

const messages = {
  'Unknown argument: %s': { one: "unexpected argument '%s'", other: 'unexpected arguments: %s' },
  'Not enough arguments following: %s': 'option --%s needs a value',
  'Arguments %s and %s are mutually exclusive': '--%s and --%s cannot be combined',
} as const;

/** Says better what yargs says in a text that cannot be replaced. `word` is the first argument that is no option. */
function explain(message: string, word: string | number | undefined, args: readonly string[]): string {
  if (message.startsWith('Not enough non-option arguments')) {
    const verb = verbs.find((each) => operandCounts[each][0] > 0 && args.includes(each));
    return `${verb ?? 'it'} needs ${(verb && needs[verb]) ?? 'an operand'}`;
  }
  if (word === undefined || verbs.some((verb) => verb === word)) {
    return message;
  }
  if (unmark(String(word)) === 'help') {
    return "unknown command 'help'; did you mean --help?";
  }
  if (/^\d+(\/(tcp|udp))?$/.test(String(word)))
    return `unknown command '${word}'; did you mean berth why ${word}?`;
  // yargs finds every short word like every other.
  const meant = closest(unmark(String(word)), verbs);
  return `unknown command '${word}'${meant === undefined ? '' : `; did you mean ${meant}?`}`;
}

function unmark(text: string): string {
  return text.replaceAll(operandMark, '');
}

type Parsed = Readonly<Record<string, unknown>> & { readonly _: readonly (string | number)[] };

function invocation(parsed: Parsed): Invocation {
  const verb = verbs.find((each) => each === parsed._[0]) ?? 'list';
  const operands = ['NAME', 'FILE', 'PORT', 'WHAT'].flatMap((operand) => strings(parsed[operand]));
  if (operands.includes('')) {
    throw new BerthError('Usage', `${verb} cannot take an empty argument`);
  }
  return {
    verb,
    operands,
    // Of a repeated option yargs makes an array; the last one counts.
    control: value('control', parsed).at(-1) ?? defaultControlPath,
    json: parsed['json'] === true,
    jsonForm: 'auto',
    legend: parsed['no-legend'] !== true,
    pager: parsed['no-pager'] !== true,
    configDirs: value('config-dir', parsed),
    diff: parsed['diff'] === true,
    precompute: parsed['precompute'] === true,
    listening: parsed['listening'] === true,
    write: parsed['write'] === true,
    root: (value('root', parsed).at(-1) ?? '').replace(/\/+$/, ''),
    count: eventCount(value('count', parsed).at(-1) ?? '0'),
  };
}

function eventCount(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new BerthError('Usage', 'option --count needs a number of events');
}

function value(option: string, parsed: Parsed): readonly string[] {
  const values = strings(parsed[option]);
  if (values.includes('')) {
    throw new BerthError('Usage', `option --${option} needs a value`);
  }
  return values;
}

function strings(value: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.filter((each) => typeof each === 'string').map(unmark);
}
