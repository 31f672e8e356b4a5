import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import type { TestContext } from 'node:test';

/** Writes files below a new directory, which goes with the test. A content of `-> TARGET` makes a link. */
export function tree(context: TestContext, files: Readonly<Record<string, string | Uint8Array>>): string {
  const root = mkdtempSync(path.join(tmpdir(), 'berth-tree-'));
  context.after(() => {
    rmSync(root, { recursive: true, force: true });
  });
  for (const [file, content] of Object.entries(files)) put(root, file, content);
  return root;
}

export function put(root: string, file: string, content: string | Uint8Array): void {
  const place = path.join(root, file);
  mkdirSync(path.dirname(place), { recursive: true });
  if (typeof content === 'string' && content.startsWith('-> ')) symlinkSync(content.slice(3), place);
  else writeFileSync(place, content);
}
