import { BerthError } from '../model/errors.js';
import { readArguments, wantsJson, type Invocation, type Verb } from './arguments.js';
import { safeJson, type Output } from './output.js';
import { printable } from '../model/text.js';

type Command = (invocation: Invocation, output: Output, version: string) => Promise<number>;

// Each is loaded when it is asked for: `berth list` has no use for the parser of the configuration.
const commands: Readonly<Record<Verb, () => Promise<Command>>> = {
  list: async () => (await import('./list.js')).list,
  status: async () => (await import('./status.js')).status,
  why: async () => (await import('./why.js')).why,
  watch: async () => (await import('./watch.js')).watch,
  verify: async () => (await import('./verify.js')).verify,
  check: async () => (await import('./check.js')).check,
  release: async () => (await import('./release.js')).release,
  reload: async () => (await import('./reload.js')).reload,
  generate: async () => (await import('./generate.js')).generate,
  import: async () => (await import('./import.js')).importReservations,
};

/** Those that print all at once, and nothing else meanwhile. */
const paged: readonly Verb[] = ['list', 'status', 'why', 'generate'];

/** Runs one command line and returns the exit status, section 8 of docs/design.md. Throws only for faults of berth. */
export async function run(argv: readonly string[], version: string, output: Output): Promise<number> {
  try {
    const asked = await readArguments(argv, version);
    if ('text' in asked) {
      output.out(asked.text);
      return 0;
    }
    const command = await commands[asked.verb]();
    const shown = { ...output, jsonForm: asked.jsonForm };
    if (output.page === undefined || !asked.pager || !paged.includes(asked.verb))
      return await command(asked, shown, version);
    let text = '';
    const status = await command(asked, { ...shown, out: (more) => (text += more) }, version);
    await output.page(text);
    return status;
  } catch (error) {
    if (!(error instanceof BerthError)) {
      throw error;
    }
    const json = wantsJson(argv);
    output.err(json === undefined ? inWords(error) : inJson(error, json === 'pretty' ? 2 : 0));
    return error.exitStatus;
  }
}

function inWords({ code, message }: BerthError): string {
  const help = code === 'Usage' ? "Try 'berth --help'.\n" : '';
  return `berth: ${printable(message)}\n${help}`;
}

/** On standard error as the words are: standard output has the answer that was asked for, or nothing. */
function inJson({ code, message }: BerthError, indent: number): string {
  return `${safeJson({ error: { code, message } }, indent)}\n`;
}
