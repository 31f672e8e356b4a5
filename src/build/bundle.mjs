// One CommonJS file a program: 41 modules cost 45 ms more at start than one bundled file does (docs/design.md).
import { readFileSync } from 'node:fs';
import { build } from 'esbuild';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));

await build({
  entryPoints: {
    berth: 'src/bin/berth.ts',
    berthd: 'src/bin/berthd.ts',
    generator: 'src/bin/generator.ts',
    attacker: 'src/bin/attacker.ts',
  },
  outdir: 'build/lib',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  legalComments: 'linked',
  // Native packages find their binary by their own place on disk.
  external: ['sd-notify', 'node-unix-socket'],
  alias: { 'string-width': './src/build/string-width.mjs' },
  banner: { js: 'const importMetaUrl = require("node:url").pathToFileURL(__filename).href;' },
  define: { 'import.meta.url': 'importMetaUrl', BERTH_VERSION: JSON.stringify(version) },
  logLevel: 'warning',
});
