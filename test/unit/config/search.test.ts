import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defaultDirectories, search } from '../../../src/config/search.js';
import { memory, unreadable } from './memory.js';

const found = (
  files: Record<string, string | Error>,
  directories: readonly string[] = ['/e', '/r', '/u'],
) => {
  const result = search(memory(files), directories);
  return {
    files: result.found.map(({ name, main, dropIns }) => [
      name,
      main.file,
      ...dropIns.map(({ file }) => file),
    ]),
    mistakes: [...result.mistakes, ...result.found.flatMap(({ mistakes }) => mistakes)],
  };
};

const table: [what: string, files: Record<string, string | Error>, expected: string[][]][] = [
  ['nothing', {}, []],
  ['one file from each directory, by name', { '/u/b.conf': 'x', '/e/c.conf': 'x', '/r/a.conf': 'x' }, [['a', '/r/a.conf'], ['b', '/u/b.conf'], ['c', '/e/c.conf']]], // prettier-ignore
  [
    'the earlier directory first',
    { '/u/a.conf': 'x', '/r/a.conf': 'x', '/e/a.conf': 'x' },
    [['a', '/e/a.conf']],
  ],
  [
    'a mask, which hides all below it',
    { '/e/a.conf': '', '/u/a.conf': 'x', '/u/b.conf': 'x' },
    [['b', '/u/b.conf']],
  ],
  ['a mask below, which hides nothing', { '/e/a.conf': 'x', '/u/a.conf': '' }, [['a', '/e/a.conf']]],
  ['drop-ins of all directories, by file name', { '/u/a.conf': 'x', '/e/a.conf.d/20.conf': 'x', '/u/a.conf.d/10.conf': 'x', '/r/a.conf.d/30.conf': 'x' }, [['a', '/u/a.conf', '/u/a.conf.d/10.conf', '/e/a.conf.d/20.conf', '/r/a.conf.d/30.conf']]], // prettier-ignore
  ['a drop-in of the same name in an earlier directory', { '/u/a.conf': 'x', '/u/a.conf.d/10.conf': 'u', '/e/a.conf.d/10.conf': 'e' }, [['a', '/u/a.conf', '/e/a.conf.d/10.conf']]], // prettier-ignore
  ['drop-ins without a reservation, which mean nothing', { '/e/a.conf.d/10.conf': 'x' }, []],
  ['files that are no reservations', { '/e/.a.conf': 'x', '/e/a.conf~': 'x', '/e/README': 'x', '/e/.conf': 'x', '/e/a.conf': 'x', '/e/a.conf.d/README': 'x', '/e/a.conf.d/.x.conf': 'x' }, [['a', '/e/a.conf']]], // prettier-ignore
  ['names in the order of their bytes', { '/e/b.conf': 'x', '/e/B.conf': 'x', '/e/a-.conf': 'x', '/e/a.conf': 'x' }, [['B', '/e/B.conf'], ['a', '/e/a.conf'], ['a-', '/e/a-.conf'], ['b', '/e/b.conf']]], // prettier-ignore
  ['instances of a template, and not the template', { '/e/w@.conf': 'x', '/e/w@1.conf': 'x', '/e/w@.conf.d/20.conf': 'x', '/u/w@1.conf.d/30.conf': 'x' }, [['w@1', '/e/w@1.conf', '/e/w@.conf.d/20.conf', '/u/w@1.conf.d/30.conf']]], // prettier-ignore
  ['a name of the object prototype', { '/e/__proto__.conf': 'x' }, [['__proto__', '/e/__proto__.conf']]],
];

describe('search', () => {
  for (const [what, files, expected] of table) {
    it(`finds ${what}`, () => {
      assert.deepEqual(found(files), { files: expected, mistakes: [] });
    });
  }

  it('masks a drop-in by an empty one of the same name', () => {
    const { found: all } = search(
      memory({ '/u/a.conf': 'x', '/u/a.conf.d/1.conf': 'x', '/e/a.conf.d/1.conf': '' }),
      ['/e', '/u'],
    );
    assert.deepEqual(
      all[0]?.dropIns.map(({ bytes }) => bytes?.length),
      [0],
    );
  });

  it('reports what cannot be read, and does not fall back to what it hides', () => {
    const { files, mistakes } = found({ '/e/a.conf': unreadable, '/u/a.conf': 'x', '/u/b.conf': 'x' });
    assert.deepEqual(files, [
      ['a', '/e/a.conf'],
      ['b', '/u/b.conf'],
    ]);
    assert.deepEqual(mistakes, [{ file: '/e/a.conf', line: 1, key: '', message: unreadable.message }]);
  });

  it('reports a directory that cannot be read, and reads the others', () => {
    const { files, mistakes } = found({ '/e': unreadable, '/u/b.conf': 'x' });
    assert.deepEqual(files, [['b', '/u/b.conf']]);
    assert.deepEqual(mistakes, [{ file: '/e', line: 1, key: '', message: unreadable.message }]);
  });

  it('reads each file once', () => {
    const source = memory({ '/e/a.conf': 'x', '/u/a.conf': 'x', '/u/a.conf.d/1.conf': 'x' });
    search(source, ['/e', '/u']);
    assert.deepEqual(source.reads, ['/e/a.conf', '/u/a.conf.d/1.conf']);
  });

  it('does not double a slash that a directory ends in', () => {
    assert.deepEqual(found({ '/e/a.conf': 'x' }, ['/e/']).files, [['a', '/e/a.conf']]);
    assert.deepEqual(search(memory({ '/e/a.conf': 'x' }), ['/e//']).found[0]?.main.file, '/e/a.conf');
  });

  it('has the order of systemd', () => {
    assert.deepEqual(defaultDirectories, ['/etc/berth', '/run/berth', '/usr/lib/berth']);
  });
});
