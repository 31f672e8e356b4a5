import { defaultDirectories } from '../config/search.js';
import { generate, makeManifest } from '../generator/generate.js';
import { claimProgram } from '../generator/paths.js';
import { version } from './version.js';

// Started by berth-generator when something changed; what to do with the output is its business.
const root = process.argv[2] === '--root' ? (process.argv[3] ?? '') : '';
// Without Node there is no berthd, and a unit that waits for it is worse off than one without drop-in.
const programs = root === '' ? [process.execPath, claimProgram, '/usr/sbin/berthd'] : [];
process.stdout.write(makeManifest(generate(defaultDirectories, root), version(), programs, root));
