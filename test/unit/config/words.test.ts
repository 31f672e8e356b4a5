import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ValueError } from '../../../src/config/values.js';
import { splitWords } from '../../../src/config/words.js';

type Escapes = 'c' | 'relaxed' | 'plain';
const words = (text: string, escapes: Escapes) => splitWords(text, { escapes }).map((word) => word.text);

const good: [Escapes, string, string[]][] = [
  ['c', '', []],
  ['c', ' \t ', []],
  ['c', 'a  b\tc', ['a', 'b', 'c']],
  ['c', `"a b" 'c d'`, ['a b', 'c d']],
  ['c', `a"b c"d`, ['ab cd']],
  ['c', `"" ''`, ['', '']],
  ['c', `"it's" 'a "b"'`, ["it's", 'a "b"']],
  ['c', String.raw`\a\b\f\n\r\t\v\\\"\'\s`, ['\x07\b\f\n\r\t\v\\"\' ']],
  ['c', String.raw`\x41\102\u00e9\U0001F600`, ['AB\u00e9\u{1F600}']],
  ['c', String.raw`\xc3\xa9\303\251`, ['éé']],
  ['c', String.raw`"a\x20b"`, ['a b']],
  ['relaxed', String.raw`\d+ \x4 \u12 end\ `.trimEnd() + '\\', [String.raw`\d+`, String.raw`\x4`, String.raw`\u12`, 'end\\']], // prettier-ignore
  ['plain', String.raw`a\ b "c\"d" \n`, ['a b', 'c"d', 'n']],
];

const bad: [Escapes, string, RegExp][] = [
  ['c', '"a', /never closed/],
  ['plain', "a 'b", /never closed/],
  ['c', 'a\\', /backslash stands at the end/],
  ['plain', 'a\\', /backslash stands at the end/],
  ['relaxed', '"a\\', /never closed/],
  ['c', '\\d', /'\\d' is not an escape sequence/],
  ['c', '\\x00', /not an escape sequence/],
  ['c', '\\ud800', /not an escape sequence/],
  ['c', '\\xff', /do not make up UTF-8/],
  ['c', '\\constructor', /not an escape sequence/],
];

describe('splitWords', () => {
  for (const [escapes, text, expected] of good) {
    it(`reads <${text}> (${escapes})`, () => {
      assert.deepEqual(words(text, escapes), expected);
    });
  }
  for (const [escapes, text, message] of bad) {
    it(`refuses <${text}> (${escapes})`, () => {
      assert.throws(
        () => words(text, escapes),
        (error) => error instanceof ValueError && message.test(error.message),
      );
    });
  }

  it('tells where each word was written, so that it can be copied as it stands', () => {
    const text = ` /bin/x  "a b"c \\; `;
    const written = splitWords(text, { escapes: 'plain' }).map(({ start, end }) => text.slice(start, end));
    assert.deepEqual(written, ['/bin/x', '"a b"c', '\\;']);
  });
});
