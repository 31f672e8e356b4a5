import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { mustRun } from '../lab/process.js';
import { projectRoot } from '../lab/paths.js';

/** Makes the Debian package of this build in `directory`; answers its path. */
export async function makePackage(
  directory: string,
  root = projectRoot,
  environment: NodeJS.ProcessEnv = {},
): Promise<string> {
  const env = { ...process.env, SOURCE_DATE_EPOCH: '1750000000', ...environment };
  const said = await mustRun(['sh', join(root, 'src/build/deb.sh'), directory], { env });
  return join(directory, basename(said.trim()));
}

/** The same of the same sources under another version, which the programs, too, have in them. */
export async function makePackageOfVersion(directory: string, version: string): Promise<string> {
  const root = join(directory, `berth-${version}`);
  await mkdir(join(root, 'test'), { recursive: true });
  for (const name of ['src', 'units', 'generators', 'docs', 'README.md', 'CHANGELOG.md', 'LICENSE'])
    await cp(join(projectRoot, name), join(root, name), { recursive: true });
  await symlink(join(projectRoot, 'node_modules'), join(root, 'node_modules'));
  const description = JSON.parse(await readFile(join(projectRoot, 'package.json'), 'utf8')) as object;
  await writeFile(join(root, 'package.json'), `${JSON.stringify({ ...description, version }, null, 2)}\n`);
  await mustRun(['sh', 'src/build/native.sh'], { cwd: root });
  await mustRun(['node', 'src/build/bundle.mjs'], { cwd: root });
  const made = await makePackage(directory, root);
  await rm(root, { recursive: true });
  return made;
}

/** A package of a few files, which is not berth's: path → text; those below /etc are conffiles, those in bin programs. */
export async function makeSimplePackage(
  directory: string,
  fields: Readonly<Record<string, string>>,
  files: Readonly<Record<string, string>> = {},
): Promise<string> {
  const tree = await mkdtemp(join(tmpdir(), 'berth-package-'));
  try {
    const control = { Architecture: 'all', Maintainer: 'Nobody <nobody@packages.invalid>', ...fields };
    const lines = Object.entries(control).map(([field, value]) => `${field}: ${value}\n`);
    const configuration = Object.keys(files).filter((path) => path.startsWith('/etc/'));
    const all = {
      ...files,
      '/DEBIAN/control': `${lines.join('')}Description: for a test of berth\n`,
      '/DEBIAN/conffiles': configuration.map((path) => `${path}\n`).join(''),
    };
    for (const [path, text] of Object.entries(all)) {
      await mkdir(join(tree, path, '..'), { recursive: true });
      await writeFile(join(tree, path), text, { mode: /\/s?bin\//.test(path) ? 0o755 : 0o644 });
    }
    const made = join(directory, `${fields['Package'] ?? ''}.deb`);
    await mustRun([
      'sh',
      '-c',
      'chmod -R go=u-w "$1" && dpkg-deb --root-owner-group --build "$1" "$2"',
      'sh',
      tree,
      made,
    ]);
    return made;
  } finally {
    await rm(tree, { recursive: true });
  }
}
