import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../support/processes.js';

export function readDocument(name: string): string {
  return readFileSync(join(root, name), 'utf8');
}

/** A fenced block; `info` is what stands behind its language. */
export interface Block {
  readonly language: string;
  readonly info: string;
  readonly text: string;
}

/** The fenced blocks of a document in their order, also those that are indented with a list. */
export function blocks(document: string): Block[] {
  return [...document.matchAll(/^( *)```(\S*) ?(.*)\n([\s\S]*?)^\1```$/gm)].map(
    ([, indent = '', language = '', info = '', text = '']) => ({
      language,
      info: info.trim(),
      text: text
        .split('\n')
        .map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line))
        .join('\n'),
    }),
  );
}

/** What stands below a heading, up to the next one of its rank or a higher one. */
export function section(document: string, heading: string): string {
  const rank = /^#+/.exec(heading)?.[0].length ?? 0;
  const [, rest] = document.split(`\n${heading}\n`);
  if (rest === undefined) throw new Error(`there is no '${heading}'`);
  return rest.split(new RegExp(`^#{1,${rank}} `, 'm'))[0] ?? '';
}

/** The cells of the rows of all tables, without the backquotes of code; headings and rules are left out. */
export function rows(text: string): string[][] {
  const lines = text.split('\n').filter((line) => line.startsWith('|'));
  return lines
    .filter((line, index) => !isRule(line) && !isRule(lines[index + 1] ?? ''))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll('`', '')),
    );
}

function isRule(line: string): boolean {
  return /^[|\s:-]+$/.test(line) && line.includes('-');
}
