import { stringify } from 'ini';
import { parseSyntax } from '../config/syntax.js';
import { BerthError } from '../model/errors.js';
import { printable } from '../model/text.js';

export type Assignments = readonly (readonly [key: string, value: string])[];

/** A reservation file that `berth import` proposes. */
export interface Proposal {
  /** Of the reservation: the file is NAME.conf. */
  readonly name: string;
  /** The unit whose restart puts it to use. */
  readonly unit: string;
  /** Why the file is as it is, paragraph by paragraph. */
  readonly comments: readonly string[];
  readonly socket: Assignments;
  readonly reservation: Assignments;
}

const width = 110;

/** The text of the file. Throws BerthError where it would not read back as what it is meant to say. */
export function proposalText({ name, comments, socket, reservation }: Proposal): string {
  const sections = [
    ['Socket', socket],
    ['Reservation', reservation],
  ] as const;
  const body = sections
    .filter(([, assignments]) => assignments.length > 0)
    .map(([section, assignments]) => `[${section}]\n${assignments.map(assignmentLine).join('')}`)
    .join('\n');
  const text = `${comments.map(commentLines).join('')}${body}`;
  const read = parseSyntax(`${name}.conf`, Buffer.from(text));
  const meant = sections.flatMap(([section, assignments]) =>
    assignments.map(([key, value]) => [section, key, value]),
  );
  const said = read.assignments.map((each) => [each.section, each.key, each.value]);
  if (read.mistakes.length > 0 || JSON.stringify(said) !== JSON.stringify(meant))
    throw new BerthError('Failed', `cannot write '${name}': a value of it has no form in systemd.syntax(7)`);
  return text;
}

/**
 * One assignment a call: ini would gather the repeated keys, and the order of sockets counts. It quotes `[::1]:631` and
 * escapes `#` and `;`, which systemd.syntax(7) takes as they stand, so the value is put back as it is.
 */
function assignmentLine([key, value]: readonly [string, string]): string {
  const line = stringify({ [key]: value }, { platform: 'linux' }).trimEnd();
  return `${line.slice(0, line.indexOf('='))}=${value}\n`;
}

/** A paragraph as comment lines. */
export function commentLines(paragraph: string): string {
  let text = '';
  let line = '#';
  for (const word of printable(paragraph).split(' ')) {
    if (line.length + 1 + word.length > width) {
      text += `${line}\n`;
      line = '#';
    }
    line += ` ${word}`;
  }
  return `${text}${line}\n`;
}
