import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import ts from 'typescript';
import { exitStatuses } from '../../../src/model/errors.js';
import { readDocument, rows, section } from './markdown.js';

const document = readDocument('docs/errors.md');
const codes = Object.keys(exitStatuses);

/** A message, and the code under which it is thrown; what differs in it is `…`. */
interface Thrown {
  readonly file: string;
  readonly code: string;
  readonly message: string;
}

function parsed(file: string): ts.SourceFile {
  return ts.createSourceFile(file, readDocument(file), ts.ScriptTarget.Latest, true);
}

function sources(folder: string, extension: string): string[] {
  return readdirSync(new URL(`../../../../../${folder}`, import.meta.url), {
    recursive: true,
    encoding: 'utf8',
  })
    .filter((name) => name.endsWith(extension))
    .map((name) => `${folder}/${name}`);
}

function textOf(node: ts.Expression | undefined): string | undefined {
  if (node === undefined) return undefined;
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return node.text;
  if (!ts.isTemplateExpression(node)) return undefined;
  return node.head.text + node.templateSpans.map(({ literal }) => `…${literal.text}`).join('');
}

/** What is thrown as a BerthError with a text of its own; those that only pass another's on are left out. */
function thrownIn(file: string): Thrown[] {
  const found: Thrown[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isNewExpression(node) && node.expression.getText() === 'BerthError') {
      const [code, message] = (node.arguments ?? []).map(textOf);
      if (code !== undefined && message !== undefined && /\w/.test(message))
        found.push({ file, code, message });
    }
    ts.forEachChild(node, visit);
  };
  visit(parsed(file));
  return found;
}

/** The values of an object literal that is called `hints`. */
function hintsIn(file: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isVariableDeclaration(node) && node.name.getText() === 'hints' && node.initializer !== undefined) {
      if (ts.isObjectLiteralExpression(node.initializer)) {
        for (const property of node.initializer.properties)
          if (ts.isPropertyAssignment(property)) found.push(textOf(property.initializer) ?? '');
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(parsed(file));
  return found;
}

/** The reasons that berth-claim gives: the formats of refuse(), whose strings may be in several pieces. */
function refusals(): string[] {
  return sources('src/native/claim', '.c').flatMap((file) =>
    [...readDocument(file).matchAll(/refuse\([\w*>-]+,\s*((?:"(?:[^"\\]|\\.)*"\s*)+)/g)].flatMap(
      ([, strings = '']) => {
        const format = [...strings.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, piece = '']) => piece).join('');
        return format === '%s' ? [] : [format.replaceAll(/%(?:\.\*)?z?[sudl]+/g, '…')];
      },
    ),
  );
}

/** The first cells of the tables below a heading, but for those of its own headings. */
function messages(heading: string): string[] {
  const [own = ''] = section(document, heading).split(/^#/m);
  return rows(own).map(([message = '']) => message);
}

const all = sources('src', '.ts').flatMap(thrownIn);
/** What comes from berthd, or keeps berth from it; a verb's own words are on the screen of who typed it. */
const owed = all.filter(({ file, code }) => /^src\/(?:daemon|protocol)\//.test(file) && code !== 'Usage');

describe('docs/errors.md', () => {
  it('lists every code with its exit status, and no other', () => {
    const [own = ''] = section(document, '## Codes').split(/^#/m);
    const listed = rows(own).map(([code, status]) => [code, Number(status)]);
    assert.deepEqual(listed, Object.entries(exitStatuses));
  });

  it('has a section for every code, and no other', () => {
    const headings = [...section(document, '## Codes').matchAll(/^### (.*)$/gm)].map(([, title]) => title);
    assert.deepEqual(headings, codes);
  });

  for (const code of codes) {
    it(`has all messages of ${code}, and none that nobody sends`, () => {
      const listed = messages(`### ${code}`);
      assert.deepEqual(listed, [...new Set(listed)]);
      for (const { message, file } of owed.filter((each) => each.code === code))
        assert.ok(listed.includes(message), `${file}: ${message}`);
      const sent = new Set(all.filter((each) => each.code === code).map(({ message }) => message));
      for (const message of listed) assert.ok(sent.has(message), `nobody says '${message}'`);
    });
  }

  it('has every hint, and no other', () => {
    const listed = rows(section(document, '## What the kernel says')).flatMap(([, hint = '']) =>
      hint === '' ? [] : [hint],
    );
    const hints = sources('src/daemon', '.ts').flatMap(hintsIn);
    assert.ok(hints.length > 2);
    assert.deepEqual(listed.toSorted(), hints.toSorted());
  });

  it("has every exit status of berth-claim's, and no other", () => {
    const statuses = [...readDocument('src/native/claim/claim.h').matchAll(/\bEXIT_\w+ = (\d+)/g)].map(
      ([, status]) => status,
    );
    const listed = messages('## berth-claim').filter((cell) => /^\d+$/.test(cell));
    assert.ok(statuses.length > 0);
    assert.deepEqual(listed, statuses);
  });

  it('has every reason of berth-claim, and no other', () => {
    const listed = messages('## berth-claim').filter((cell) => !/^\d+$/.test(cell));
    assert.deepEqual(listed.toSorted(), [...new Set(refusals())].toSorted());
  });

  it('has no reason of portrelease that it does not give', () => {
    const source = readDocument('src/native/claim/release.c');
    const listed = messages('## portrelease');
    assert.ok(listed.length > 0);
    for (const message of listed) assert.ok(source.includes(message), message);
    for (const [, reason = ''] of source.matchAll(/give_up\(control, "([^"]+)"\)/g))
      assert.ok(listed.includes(reason), reason);
  });

  it('says of everything why, and what to do', () => {
    for (const cells of rows(document)) {
      assert.notEqual(cells.at(-1), '', cells[0]);
      assert.ok(cells.length >= 2);
    }
  });
});
