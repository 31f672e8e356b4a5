import { defaultDirectories } from '../config/search.js';
import { generate, makeManifest } from '../generator/generate.js';
import { installedPrograms } from '../generator/paths.js';
import { version } from './version.js';

// Started by berth-generator when something changed; what to do with the output is its business.
const root = process.argv[2] === '--root' ? (process.argv[3] ?? '') : '';
const programs = root === '' ? installedPrograms : [];
process.stdout.write(makeManifest(generate(defaultDirectories, root), version(), programs, root));
