import { ValueError } from '../config/values.js';
import { splitWords } from '../config/words.js';
import { excerpt } from '../config/syntax.js';

/** One command of an ExecStart= value, by the rules of systemd.service(5), "Command lines". */
export interface CommandLine {
  /** The prefixes that stand before the path, without `@`. */
  readonly prefixes: string;
  /** The path as it can stand among the arguments. */
  readonly path: string;
  /** The path with quotes and escapes resolved; specifiers are still in it. */
  readonly plainPath: string;
  /** What `@` makes the zeroth argument, as written; undefined without `@`. */
  readonly argv0: string | undefined;
  /** All further arguments, as written. */
  readonly rest: string;
  /** The same with quotes and escapes resolved. */
  readonly words: readonly string[];
}

interface RawWord {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** The commands of one ExecStart= value: several when a lone `;` separates them. Throws ValueError. */
export function parseCommandLines(value: string): CommandLine[] {
  // No file can say this, and a drop-in that did would take in the line below.
  if (/(?<!\\)(?:\\\\)*\\$/.test(value)) throw new ValueError('a backslash stands at the end');
  const commands: RawWord[][] = [[]];
  for (const word of rawWords(value)) {
    if (word.text === ';') commands.push([]);
    else commands.at(-1)?.push(word);
  }
  return commands.flatMap((words) => {
    const [first, ...args] = words;
    return first === undefined ? [] : [parseCommand(value, first, args)];
  });
}

function parseCommand(value: string, first: RawWord, args: readonly RawWord[]): CommandLine {
  const unquoted = resolve(first);
  const prefixes = readPrefixes(unquoted);
  const plainPath = unquoted.slice(prefixes.length);
  if (plainPath === '' || plainPath.endsWith('/') || (plainPath.includes('/') && !/^[/%]/.test(plainPath)))
    throw new ValueError(`'${excerpt(plainPath)}' is neither an absolute path nor a file's name`);
  // eslint-disable-next-line no-control-regex -- control characters are what this is about
  if (/[\u0000-\u001f\u007f\\]/.test(plainPath))
    throw new ValueError(`'${excerpt(plainPath)}' has control characters or backslashes in it`);
  if (prefixes.includes('|'))
    throw new ValueError("what '|' gives to the shell cannot be wrapped: name the program itself");
  // The prefixes may stand inside the quotes of the path.
  const written = first.text.startsWith(prefixes) ? first.text.slice(prefixes.length) : '';
  // A semicolon by itself would separate commands.
  const raw = ['', ';'].includes(written) ? requote(plainPath) : written;
  const zeroth = prefixes.includes('@') ? args[0] : undefined;
  if (prefixes.includes('@') && zeroth === undefined)
    throw new ValueError("'@' wants a word after the path: the zeroth argument");
  // Its quotes must end in it: what is written stands among other words later.
  if (zeroth !== undefined) resolve(zeroth);
  const further = zeroth === undefined ? args : args.slice(1);
  const last = further.at(-1);
  return {
    prefixes: prefixes.replace('@', ''),
    // systemd replaces no variables in the path, but it does in arguments (unless ':' forbids it).
    path: prefixes.includes(':') ? raw : raw.replaceAll('$', '$$$$'),
    plainPath,
    argv0: zeroth?.text,
    rest: last === undefined ? '' : value.slice(further[0]?.start, last.end),
    // `\;` as a word of its own is no escape sequence, but a semicolon that separates nothing.
    words: further.map((word) => (word.text === '\\;' ? ';' : resolve(word))),
  };
}

/** The prefixes in the order in which config_parse_exec() of systemd takes them: each once, one of + ! !! at the most. */
function readPrefixes(text: string): string {
  let found = '';
  for (const char of text) {
    const privilege = /[+!]/.test(found);
    const fits =
      char === '!'
        ? found.split('!').length <= 2 && !found.includes('+')
        : char === '+'
          ? !privilege
          : !found.includes(char);
    if (!'-@:+!|'.includes(char) || !fits) break;
    found += char;
  }
  return found;
}

/** systemd warns of escape sequences that it does not know, and leaves them as they are. */
function resolve({ text }: RawWord): string {
  return splitWords(text, { escapes: 'relaxed' })[0]?.text ?? '';
}

function requote(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}

/** Words with their quotes and escapes as they are. */
function rawWords(value: string): RawWord[] {
  const words: RawWord[] = [];
  let quote = '';
  let start = -1;
  for (let at = 0; at <= value.length; at++) {
    const char = value.charAt(at);
    if (char === '' || (quote === '' && ' \t\n\r'.includes(char))) {
      if (start !== -1) words.push({ text: value.slice(start, at), start, end: at });
      start = -1;
      continue;
    }
    if (start === -1) start = at;
    if (char === '\\' && at + 1 < value.length) at++;
    else if (char === quote) quote = '';
    else if (quote === '' && (char === '"' || char === "'")) quote = char;
  }
  return words;
}

/**
 * The command, run by berth-claim with the sockets of the reservations `exec`, and supervised for those of `bind`. Of
 * several berth-claims, each of which runs the next, the last one runs the command.
 */
export function wrapCommand(
  command: CommandLine,
  { exec, bind }: { readonly exec: readonly string[]; readonly bind: readonly string[] },
  claim: string,
): string {
  const { prefixes, path, argv0, rest } = command;
  const forms = [...exec, ...(bind.length === 0 ? [] : [`--bind ${bind.join(' ')}`])];
  const claims = forms.map((form, index) => {
    const inner = index === forms.length - 1 && argv0 !== undefined ? `--argv0 ${argv0} ` : '';
    return `${claim} ${inner}${form} -- `;
  });
  return `${prefixes}${claims.join('')}${path}${rest === '' ? '' : ` ${rest}`}`;
}
