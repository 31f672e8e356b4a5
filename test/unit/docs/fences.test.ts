import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { root } from '../../support/processes.js';
import { blocks, readDocument } from './markdown.js';

/** Who runs, or checks, the fenced blocks of a document, by what stands behind their language. */
const checked: Readonly<Record<string, readonly (readonly [RegExp, string])[]>> = {
  'README.md': [
    [/^file=\S+$/, 'test/integration/docs/readme.test.ts'],
    [/^session$/, 'test/integration/docs/readme.test.ts'],
    [/^(?:demo|list|bench|install)$/, 'test/unit/docs/transcripts.test.ts'],
    [/^lab=cups$/, 'test/lab/docs.test.ts'],
  ],
  'docs/guide.md': [
    [/^(?:file|drop-in)=\S+$/, 'test/integration/docs/guide.test.ts'],
    [/^session$/, 'test/integration/docs/guide.test.ts'],
  ],
  'docs/protocol.md': [
    [/^(?:request|error)$/, 'test/unit/docs/protocol.test.ts'],
    [/^(?:answer|claim):\S/, 'test/unit/docs/protocol.test.ts'],
  ],
};

const documents = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync(join(root, 'docs')).flatMap((name) => (name.endsWith('.md') ? [`docs/${name}`] : [])),
];

describe('the examples of the documents', () => {
  for (const document of documents) {
    it(`of ${document} are all run or checked by a test`, () => {
      for (const { language, info, text } of blocks(readDocument(document))) {
        const [, test] = checked[document]?.find(([pattern]) => pattern.test(info)) ?? [];
        assert.ok(test !== undefined, `nobody knows '${language} ${info}': ${text}`);
        assert.ok(readDocument(test).includes('blocks(') || readDocument(test).includes('blocks,'), test);
      }
    });

    it(`of ${document} are closed`, () => {
      const fences = readDocument(document).match(/^ *```/gm) ?? [];
      assert.equal(fences.length, 2 * blocks(readDocument(document)).length);
    });
  }
});
