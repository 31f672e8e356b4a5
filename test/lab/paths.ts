import { fileURLToPath } from 'node:url';

/** The project's top folder: this runs as build/js/test/lab/paths.js. */
export const projectRoot = fileURLToPath(new URL('../../../..', import.meta.url));

/** A shell script of this folder; they are not compiled and stay where they are. */
export function script(name: string): string {
  return `${projectRoot}test/lab/${name}`;
}
