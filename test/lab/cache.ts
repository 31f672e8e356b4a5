import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { mustRun, runCommand } from './process.js';
import { script } from './paths.js';

/** What takes long to make and is kept between runs: package layers and debootstrapped trees. */
export const cacheDirectory = join(process.env['XDG_CACHE_HOME'] ?? '/var/cache', 'berth-lab');

/** A tree to boot: the machine's own files, or a debootstrapped one. */
export interface Root {
  readonly name: string;
  readonly path: string;
}

/** Runs a script of this folder with the cache to itself, in a mount namespace that takes its mounts along. */
async function makeInCache(name: string, args: readonly string[]): Promise<void> {
  await mkdir('/run/berth-lab', { recursive: true });
  await mkdir(cacheDirectory, { recursive: true });
  const environment = { ...process.env };
  // The certificates it names need not exist in the tree, and Node in there must start as it would anywhere.
  delete environment['NODE_EXTRA_CA_CERTS'];
  const unshared = ['unshare', '--mount', '--propagation', 'private', 'sh', script(name), ...args];
  await mustRun(['flock', join(cacheDirectory, 'lock'), ...unshared], { env: environment });
}

export async function findRoot(name: 'host' | 'trixie'): Promise<Root> {
  if (name === 'host') return { name, path: '/' };
  const path = join(cacheDirectory, name);
  await makeInCache('debootstrap.sh', [name, path]);
  return { name, path };
}

function digest(text: string | Buffer): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

async function missingPackages(root: Root, packages: readonly string[]): Promise<string[]> {
  const { stdout } = await runCommand([
    'dpkg-query',
    `--admindir=${join(root.path, 'var/lib/dpkg')}`,
    '--show',
    '--showformat=${db:Status-Abbrev} ${Package}\n',
    ...packages,
  ]);
  const installed = new Set(
    stdout.split('\n').flatMap((line) => (line.startsWith('ii ') ? [line.slice(3).trim()] : [])),
  );
  return packages.filter((name) => !installed.has(name));
}

/**
 * The tar that holds Debian packages as a layer over a root, made when it is not there yet; undefined when the root
 * has them all. A layer counts only for the packages that the root has right now: one made for another state goes.
 */
export async function packageLayer(root: Root, packages: readonly string[]): Promise<string | undefined> {
  if ((await missingPackages(root, packages)).length === 0) return undefined;
  const state = digest(await readFile(join(root.path, 'var/lib/dpkg/status')));
  const name = `${root.name}-${state}-${digest([...packages].sort().join(' '))}.tar`;
  await makeInCache('layer.sh', [root.path, join(cacheDirectory, name), ...packages]);
  for (const entry of await readdir(cacheDirectory)) {
    const stale = entry.startsWith(`${root.name}-`) && !entry.startsWith(`${root.name}-${state}-`);
    if (stale) await rm(join(cacheDirectory, entry), { force: true });
  }
  return join(cacheDirectory, name);
}
