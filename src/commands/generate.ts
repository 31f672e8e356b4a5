import * as path from 'node:path';
import { diskBelow } from '../config/disk.js';
import { defaultDirectories } from '../config/search.js';
import { ReadError } from '../config/source.js';
import { generate as plan, type Generated } from '../generator/generate.js';
import { dropInName, lateDropInName } from '../generator/paths.js';
import { precompute } from '../generator/precompute.js';
import { BerthError, exitStatuses, isSystemError } from '../model/errors.js';
import { formatMistake, type Mistake } from '../model/reservation.js';
import { count, printable } from '../model/text.js';
import type { Invocation } from './arguments.js';
import { diffLines } from './diff.js';
import { printJson, type Output } from './output.js';

/** Where systemd has what the generators wrote at the last daemon-reload. */
const generatorDirectory = '/run/systemd/generator';

/** A drop-in as it would be and as it is; undefined where there is none. */
interface Change {
  readonly path: string;
  readonly text: string | undefined;
  readonly current: string | undefined;
}

/** Shows the drop-ins that the units of the reservations get, and what is wrong with some. */
export function generate(invocation: Invocation, output: Output, version: string): Promise<number> {
  const generated = invocation.precompute
    ? keep(invocation.root, output, version)
    : plan(invocation.configDirs.length > 0 ? invocation.configDirs : defaultDirectories, invocation.root);
  const mistakes = [...generated.configuration.mistakes, ...generated.plan.mistakes];
  if (!invocation.precompute) show(invocation, generated, mistakes, output);
  if (!invocation.json || invocation.precompute) {
    for (const mistake of mistakes) output.err(`${printable(formatMistake(mistake))}\n`);
    if (mistakes.length > 0) output.err(`${count(mistakes.length, 'mistake')}\n`);
  }
  return Promise.resolve(mistakes.length > 0 ? exitStatuses.Configuration : 0);
}

function keep(root: string, output: Output, version: string): Generated {
  try {
    const { kept, generated } = precompute(version, root);
    if (!kept) output.err('berth: a file changed just now, so nothing is kept for the next daemon-reload\n');
    return generated;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const code = error.code === 'EACCES' || error.code === 'EPERM' ? 'Denied' : 'Failed';
    throw new BerthError(code, `cannot keep the drop-ins: ${error.message}`);
  }
}

function show(
  invocation: Invocation,
  generated: Generated,
  mistakes: readonly Mistake[],
  output: Output,
): void {
  const notes = [
    ...[...generated.configuration.notes, ...generated.plan.warnings].map(formatMistake),
    ...generated.plan.units.flatMap(({ unit, notes }) => notes.map((note) => `${unit}: ${note}`)),
  ];
  const changes = changesOf(generated, invocation.root);
  if (invocation.json) {
    const dropIns = changes.map(({ path, text, current }) => ({
      path,
      text: text ?? null,
      ...(invocation.diff ? { current: current ?? null } : {}),
    }));
    printJson(output, {
      dropIns: invocation.diff ? dropIns : dropIns.filter(({ text }) => text !== null),
      notes,
      mistakes,
    });
    return;
  }
  const blocks = changes.flatMap((change) => (invocation.diff ? showDiff(change, output) : showFile(change)));
  const remarks = notes.map((note) => `# ${printable(note)}\n`).join('');
  output.out([...blocks, ...(remarks === '' ? [] : [remarks])].join('\n'));
  if (blocks.length === 0) output.err(invocation.diff ? 'no change\n' : 'no drop-ins\n');
}

function showFile({ path, text }: Change): string[] {
  return text === undefined ? [] : [`# ${generatorDirectory}/${path}\n${lines(text)}`];
}

function showDiff({ path, text, current }: Change, output: Output): string[] {
  if (text === current) return [];
  const name = `${generatorDirectory}/${path}`;
  const body = diffLines(current ?? '', text ?? '').map((line) => {
    const shown = printable(line);
    return `${line.startsWith('+') ? output.paint('green', shown) : line.startsWith('-') ? output.paint('red', shown) : shown}\n`;
  });
  const heads = [
    `--- ${current === undefined ? '/dev/null' : name}\n`,
    `+++ ${text === undefined ? '/dev/null' : name}\n`,
  ];
  return [`${heads.join('')}${body.join('')}`];
}

function lines(text: string): string {
  return text
    .split('\n')
    .map((line) => printable(line))
    .join('\n');
}

/** What would be there beside what is there now, by their paths. */
function changesOf({ plan }: Generated, root: string): Change[] {
  const wanted = new Map(
    plan.units.flatMap(({ file }) => (file === undefined ? [] : [[file.path, file.text] as const])),
  );
  const present = currentDropIns(root);
  return [...new Set([...wanted.keys(), ...present.keys()])]
    .sort()
    .map((path) => ({ path, text: wanted.get(path), current: present.get(path) }));
}

/** The drop-ins of berth's that systemd has now. */
function currentDropIns(root: string): Map<string, string> {
  const source = diskBelow(root);
  const found = new Map<string, string>();
  try {
    for (const directory of source.list(generatorDirectory)) {
      if (!directory.endsWith('.service.d')) continue;
      for (const name of [dropInName, lateDropInName]) {
        const place = path.join(directory, name);
        const bytes = source.read(path.join(generatorDirectory, place));
        if (bytes !== undefined) found.set(place, Buffer.from(bytes).toString('utf8'));
      }
    }
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    throw new BerthError('Failed', `${generatorDirectory} ${error.message}`);
  }
  return found;
}
