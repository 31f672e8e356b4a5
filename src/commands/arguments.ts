import { BerthError } from '../model/errors.js';
import { defaultControlPath } from '../protocol/messages.js';
import type { JsonForm } from './output.js';

export const verbs = [
  'list',
  'status',
  'why',
  'watch',
  'verify',
  'check',
  'release',
  'reload',
  'generate',
  'import',
] as const;
export type Verb = (typeof verbs)[number];

/** What the command line asks for. `control` is a path; `configDirs` is empty where the default search path counts. */
export interface Invocation {
  readonly verb: Verb;
  readonly operands: readonly string[];
  readonly control: string;
  readonly json: boolean;
  /** How JSON is set: as it suits a terminal or a program unless it was said. */
  readonly jsonForm: JsonForm;
  readonly legend: boolean;
  readonly pager: boolean;
  readonly configDirs: readonly string[];
  readonly diff: boolean;
  readonly precompute: boolean;
  readonly listening: boolean;
  readonly write: boolean;
  /** A tree to read instead of the machine's own; empty for that. */
  readonly root: string;
  /** After how many events to end; 0 for never. */
  readonly count: number;
}

/** How many operands a verb takes: at least, and at most. */
export const operandCounts: Readonly<Record<Verb, readonly [number, number]>> = {
  list: [0, 0],
  status: [1, 1],
  why: [1, 1],
  watch: [0, 0],
  verify: [0, Infinity],
  check: [0, Infinity],
  release: [1, 1],
  reload: [0, 0],
  generate: [0, 0],
  import: [0, Infinity],
};

/** A text to print instead: the answer to --help and --version. */
export interface Notice {
  readonly text: string;
}

const flags = [
  '--json',
  '--no-legend',
  '--no-pager',
  '--diff',
  '--precompute',
  '--listening',
  '--write',
  '--help',
  '-h',
  '--version',
] as const;
const valued = ['--control', '--config-dir', '--root', '--count'] as const;

const plainOptions: readonly string[] = ['--json', '--no-legend', '--no-pager'];

/** Throws BerthError Usage. `version` is what --version prints. */
export async function readArguments(argv: readonly string[], version: string): Promise<Invocation | Notice> {
  const plain = readPlain(argv);
  if (plain !== undefined) {
    return plain;
  }
  const cut = argv.indexOf('--');
  const { head, jsonForm } = takeJsonForm(cut === -1 ? argv : argv.slice(0, cut));
  const rest = cut === -1 ? [] : argv.slice(cut + 1);
  rejectSurprises(head);
  const { parseWithYargs } = await import('./yargs.js');
  const parsed = await parseWithYargs(head, rest, version);
  return 'text' in parsed ? parsed : { ...parsed, jsonForm };
}

/** Which form of JSON is asked for, if any: also by a command line that makes no sense, whose error is to be JSON, too. */
export function wantsJson(argv: readonly string[]): JsonForm | undefined {
  const cut = argv.indexOf('--');
  const head = cut === -1 ? argv : argv.slice(0, cut);
  const last = head.findLast((argument) => /^--json(?:=|$)/.test(argument));
  if (last === undefined) return undefined;
  return last === '--json=pretty' ? 'pretty' : last === '--json=short' ? 'short' : 'auto';
}

/** yargs has no options with an optional value: `--json=short` becomes `--json`. */
function takeJsonForm(head: readonly string[]): { head: readonly string[]; jsonForm: JsonForm } {
  let jsonForm: JsonForm = 'auto';
  const plain = head.map((argument) => {
    const value = /^--json=(.*)$/s.exec(argument)?.[1];
    if (value === undefined) return argument;
    if (value !== 'short' && value !== 'pretty')
      throw new BerthError('Usage', 'option --json takes no value but short or pretty');
    jsonForm = value;
    return '--json';
  });
  return { head: plain, jsonForm };
}

/**
 * The everyday command lines, `berth list --json` and the like, without yargs: it takes 45 ms to load, as long as all
 * the rest. Undefined where yargs has to judge. A test holds that both say the same.
 */
export function readPlain(argv: readonly string[]): Invocation | undefined {
  const words = argv.filter((argument) => !argument.startsWith('-'));
  const options = argv.filter((argument) => argument.startsWith('-'));
  const [first = 'list', ...operands] = words;
  const verb = verbs.find((each) => each === first);
  if (verb === undefined || options.some((option) => !plainOptions.includes(option))) {
    return undefined;
  }
  if (verb === 'import') return undefined;
  const [least, most] = operandCounts[verb];
  if (operands.length < least || operands.length > most || operands.includes('')) {
    return undefined;
  }
  return {
    verb,
    operands,
    control: defaultControlPath,
    json: options.includes('--json'),
    jsonForm: 'auto',
    legend: !options.includes('--no-legend'),
    pager: !options.includes('--no-pager'),
    configDirs: [],
    diff: false,
    precompute: false,
    listening: false,
    write: false,
    root: '',
    count: 0,
  };
}

/** What yargs' strict mode lets through in silence: `--json=maybe` means false to it, `--$0 x` nothing at all. */
function rejectSurprises(head: readonly string[]): void {
  for (const argument of head) {
    if (!argument.startsWith('-') || argument === '-') {
      continue;
    }
    const [name = '', value] = argument.split('=', 2);
    if (flags.some((flag) => flag === name)) {
      if (value !== undefined) {
        throw new BerthError('Usage', `option ${name} takes no value`);
      }
    } else if (!valued.some((option) => option === name)) {
      throw new BerthError('Usage', `unknown option ${name}`);
    }
  }
}
