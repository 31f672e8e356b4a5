import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileLimit, lineLimit, parseSyntax, strip } from '../../../src/config/syntax.js';

function parse(text: string | Buffer) {
  const { assignments, mistakes, sections } = parseSyntax('f', Buffer.from(text));
  return {
    sections: sections.map(({ section, line }) => [line, section]),
    assignments: assignments.map(({ line, section, key, value }) => [line, section, key, value]),
    mistakes: mistakes.map(({ line, message }) => [line, message] as const),
  };
}

const readable: [what: string, text: string, assignments: [number, string, string, string][]][] = [
  ['an empty file', '', []],
  ['an assignment', '[S]\nA=b\n', [[2, 'S', 'A', 'b']]],
  ['no newline at the end', '[S]\nA=b', [[2, 'S', 'A', 'b']]],
  ['space around everything', '  [S]\t\n \tA \t=  b c \n', [[2, 'S', 'A', 'b c']]],
  ["more '=' in the value", '[S]\nA=b=c\n', [[2, 'S', 'A', 'b=c']]],
  ['an empty assignment', '[S]\nA=\n', [[2, 'S', 'A', '']]],
  ['comments of both kinds, indented too', '# c\n;c\n[S]\n  # A=1\n\t;A=2\nA=3\n', [[6, 'S', 'A', '3']]],
  ['what looks like a comment behind a value', '[S]\nA=b # c ; d\n', [[2, 'S', 'A', 'b # c ; d']]],
  ['a continuation, at the line where it starts', '[S]\nA=b\\\nc\nB=d\n', [[2, 'S', 'A', 'b c'], [4, 'S', 'B', 'd']]], // prettier-ignore
  ['the indentation of a continued line', '[S]\nA=b \\\n  c\n', [[2, 'S', 'A', 'b    c']]],
  ['comments inside a continuation', '[S]\nA=b\\\n# no\n ; no\\\nc\n', [[2, 'S', 'A', 'b c']]],
  ['an empty line that ends a continuation', '[S]\nA=b\\\n\nB=c\n', [[2, 'S', 'A', 'b'], [4, 'S', 'B', 'c']]], // prettier-ignore
  ['a continuation at the end of the file', '[S]\nA=b\\', [[2, 'S', 'A', 'b']]],
  ['escaped backslashes at the end', '[S]\nA=b\\\\\nB=c\\\\\\\nd', [[2, 'S', 'A', 'b\\\\'], [3, 'S', 'B', 'c\\\\ d']]], // prettier-ignore
  ['line ends of DOS', '[S]\r\nA=b\\\r\nc\r\n', [[2, 'S', 'A', 'b c']]],
  ['a byte order mark', '\uFEFF[S]\nA=b', [[2, 'S', 'A', 'b']]],
  ['a section that comes twice', '[S]\nA=1\n[T]\nA=2\n[S]\nA=3', [[2, 'S', 'A', '1'], [4, 'T', 'A', '2'], [6, 'S', 'A', '3']]], // prettier-ignore
  ['a no-break space, which is not space', '[S]\nA=\u00A0b\u00A0', [[2, 'S', 'A', '\u00A0b\u00A0']]],
  ['names of the object prototype', '[__proto__]\nconstructor=__proto__', [[2, '__proto__', 'constructor', '__proto__']]], // prettier-ignore
];

const wrong: [what: string, text: string | Buffer, mistakes: [number, RegExp][], keys: string[]][] = [
  ['a line before any section', 'A=b\n[S]\nB=c', [[1, /before the first \[section\]/]], ['B']],
  ['a line without =', '[S]\nA\nB=c', [[2, /'A' has no '='/]], ['B']],
  ['a line without a key', '[S]\n = b\nB=c', [[2, /no key before/]], ['B']],
  [
    'a broken header, once for all below it',
    '[S\nA=b\nwhat\n[T]\nB=c',
    [[1, /'\[S' is not a section header/]],
    ['B'],
  ],
  ['an empty header', '[]\nA=b', [[1, /not a section header/]], []],
  ['a NUL byte', '[S]\nA=b\0c\nB=c', [[2, /NUL/]], ['B']],
  ['a line that is not UTF-8', Buffer.from('[S]\nA=\xff\nB=c', 'latin1'), [[2, /not UTF-8/]], ['B']],
  ['a line too long', `[S]\nA=${'x'.repeat(lineLimit)}\nB=c`, [[2, /longer than 1 MiB/]], ['B']],
  ['a continuation too long', `[S]\nA=\\\n${'x'.repeat(5000)}\\\n`.padEnd(9000, 'y') + `\\\n${'x'.repeat(lineLimit)}\nB=c`, [[2, /longer/]], ['B']], // prettier-ignore
  [
    'control characters, not repeated at a terminal',
    '[S]\n\x1b[2J\nB=c',
    [[2, /'\?\[2J' has no '='/]],
    ['B'],
  ],
];

describe('parseSyntax', () => {
  for (const [what, text, assignments] of readable) {
    it(`reads ${what}`, () => {
      const parsed = parse(text);
      assert.deepEqual(parsed.assignments, assignments);
      assert.deepEqual(parsed.mistakes, []);
    });
  }

  for (const [what, text, mistakes, keys] of wrong) {
    it(`reports ${what}, and reads the rest`, () => {
      const parsed = parse(text);
      assert.deepEqual(
        parsed.mistakes.map(([line]) => line),
        mistakes.map(([line]) => line),
      );
      mistakes.forEach(([, message], index) => {
        assert.match(parsed.mistakes[index]?.[1] ?? '', message);
      });
      assert.deepEqual(
        parsed.assignments.map(([, , key]) => key),
        keys,
      );
    });
  }

  it('reads good UTF-8 beside a line that is not', () => {
    const text = Buffer.concat([Buffer.from('\uFEFF[S]\nA=é\nB='), Buffer.from([0xc3, 0x28, 10])]);
    assert.deepEqual(parse(text).assignments, [[2, 'S', 'A', 'é']]);
  });

  it('stops at the hundredth mistake and says so', () => {
    const { mistakes, assignments } = parse(`[S]\n${'x\n'.repeat(5000)}A=b`);
    assert.equal(mistakes.length, 101);
    assert.match(mistakes.at(-1)?.[1] ?? '', /too many mistakes/);
    assert.deepEqual(assignments, []);
  });

  it('refuses a file that is too large without reading it', () => {
    const { mistakes, assignments } = parse(Buffer.alloc(fileLimit + 1, 'A=b\n'));
    assert.deepEqual(mistakes, [[1, 'the file is larger than 16 MiB']]);
    assert.deepEqual(assignments, []);
  });

  it('lists the sections with their lines', () => {
    assert.deepEqual(parse('[A]\n\n[B]\n[A]\n').sections, [
      [1, 'A'],
      [3, 'B'],
      [4, 'A'],
    ]);
  });
});

describe('strip', () => {
  it('takes linear time on a long run of spaces within', () => {
    const text = `a${' '.repeat(1e6)}b`;
    const start = performance.now();
    assert.equal(strip(text), text);
    assert.ok(performance.now() - start < 500);
  });
});
