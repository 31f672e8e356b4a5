import * as fs from 'node:fs';
import * as path from 'node:path';
import { defaultDirectories } from '../config/search.js';
import { generate, makeManifest, type Generated } from './generate.js';
import { installedPrograms } from './paths.js';

/** Where berth-generator looks for what it kept: in this boot, and in the one before. */
const places = ['/run/berth/generator/manifest', '/var/lib/berth/generator/manifest'];

/**
 * Does what the next daemon-reload and the next boot would start Node for. False when it has to be done then all the
 * same: an input changed this very moment. Throws the error of Node's file system calls. `root` is for a tree that is
 * not the machine's own.
 */
export function precompute(version: string, root = ''): { kept: boolean; generated: Generated } {
  const generated = generate(defaultDirectories, root);
  const text = makeManifest(generated, version, root === '' ? installedPrograms : [], root);
  const kept = !text.includes('\nU\n');
  for (const place of kept ? places : []) {
    const file = root + place;
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o755 });
    fs.writeFileSync(`${file}.new`, text, { mode: 0o644 });
    fs.renameSync(`${file}.new`, file);
  }
  return { kept, generated };
}
