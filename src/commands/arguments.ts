import { BerthError } from '../model/errors.js';
import { defaultControlPath } from '../protocol/messages.js';

export const verbs = ['list', 'status', 'check', 'reload', 'generate', 'import'] as const;
export type Verb = (typeof verbs)[number];

/** What the command line asks for. `control` is a path; `configDirs` is empty where the default search path counts. */
export interface Invocation {
  readonly verb: Verb;
  readonly operands: readonly string[];
  readonly control: string;
  readonly json: boolean;
  readonly legend: boolean;
  readonly configDirs: readonly string[];
  readonly diff: boolean;
  readonly precompute: boolean;
  readonly listening: boolean;
  readonly write: boolean;
  /** A tree to read instead of the machine's own; empty for that. */
  readonly root: string;
}

/** A text to print instead: the answer to --help and --version. */
export interface Notice {
  readonly text: string;
}

const flags = [
  '--json',
  '--no-legend',
  '--diff',
  '--precompute',
  '--listening',
  '--write',
  '--help',
  '-h',
  '--version',
] as const;
const valued = ['--control', '--config-dir', '--root'] as const;

/** Throws BerthError Usage. `version` is what --version prints. */
export async function readArguments(argv: readonly string[], version: string): Promise<Invocation | Notice> {
  const plain = readPlain(argv);
  if (plain !== undefined) {
    return plain;
  }
  const cut = argv.indexOf('--');
  const head = cut === -1 ? argv : argv.slice(0, cut);
  const rest = cut === -1 ? [] : argv.slice(cut + 1);
  rejectSurprises(head);
  const { parseWithYargs } = await import('./yargs.js');
  return parseWithYargs(head, rest, version);
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
  if (verb === undefined || options.some((option) => option !== '--json' && option !== '--no-legend')) {
    return undefined;
  }
  if (verb === 'import') {
    return undefined;
  }
  const fits = verb === 'check' || operands.length === (verb === 'status' ? 1 : 0);
  if (!fits || operands.includes('')) {
    return undefined;
  }
  return {
    verb,
    operands,
    control: defaultControlPath,
    json: options.includes('--json'),
    legend: !options.includes('--no-legend'),
    configDirs: [],
    diff: false,
    precompute: false,
    listening: false,
    write: false,
    root: '',
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
