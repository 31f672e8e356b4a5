import * as fs from 'node:fs';
import * as path from 'node:path';
import { resolveLinks, disk } from '../config/disk.js';
import { portreserveDirectory } from '../config/portreserve.js';
import { ReadError } from '../config/source.js';
import type { Inputs } from './inputs.js';

/**
 * A file that changed this shortly before it was read may change again within one tick of the kernel's clock, and keep
 * its times and its size (the "racy" files of git).
 */
const settledMs = 50;

/**
 * The stamps of all inputs, one a line, as berth-generator.c compares them: `D HASH COUNT PATH` for a directory,
 * `F MTIME CTIME SIZE INODE PATH` for a file or a link, `M PATH` for what is not there. Undefined when one of them has
 * changed so recently that a stamp would prove nothing, or cannot be written on a line. `root` goes before each path;
 * `since` is when the first of them was read, in milliseconds.
 */
export function stamps(inputs: Inputs, root: string, since: number): string | undefined {
  const lines: string[] = [];
  const files = new Set(inputs.files);
  for (const directory of inputs.directories) lines.push(`D ${directoryHash(root, directory)} ${directory}`);
  for (const file of files) {
    const stat = fs.lstatSync(root + file, { bigint: true, throwIfNoEntry: false });
    if (stat === undefined) {
      lines.push(`M ${file}`);
      continue;
    }
    // A directory on the way to a file was looked at because it could be a link. What is in it comes and goes.
    if (stat.isDirectory()) continue;
    // The set grows while it is walked through.
    if (stat.isSymbolicLink()) addTarget(files, file, root);
    if (Math.max(Number(stat.mtimeMs), Number(stat.ctimeMs)) > since - settledMs) return undefined;
    lines.push(`F ${stat.mtimeNs} ${stat.ctimeNs} ${stat.size} ${stat.ino} ${file}`);
  }
  return lines.some((line) => line.includes('\n')) ? undefined : lines.map((line) => `${line}\n`).join('');
}

/** Adds where a link leads, at once and in the end, but for /dev/null, whose times are those of the boot. */
function addTarget(files: Set<string>, link: string, root: string): void {
  try {
    const next = path.resolve(path.dirname(link), disk.link(root + link) ?? '');
    for (const target of [next, resolveLinks(disk, link, root)])
      if (target !== '/dev/null') files.add(target);
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
  }
}

/** Which entries a directory has, of those that can mean something: a sum of hashes, in any order, and their number. */
function directoryHash(root: string, directory: string): string {
  // portreserve's files have no ending.
  const meaning =
    directory === portreserveDirectory
      ? /\.(conf|service|socket|container|kube|d|wants|requires|upholds)$|^[^.~]+$/
      : /\.(conf|service|socket|container|kube|d|wants|requires|upholds)$/;
  let sum = 0;
  let count = 0;
  for (const name of entries(root + directory)) {
    if (name.startsWith('.') || !meaning.test(name)) continue;
    count++;
    let hash = 0x811c9dc5; // FNV-1a
    for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193);
    sum = (sum + hash) | 0;
  }
  return `${(sum >>> 0).toString(16).padStart(8, '0')} ${count}`;
}

function entries(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch {
    // A directory that is not there is as good as an empty one: /run is new at each boot.
    return [];
  }
}
