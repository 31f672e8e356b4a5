import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { disk, readServicesText } from '../../../src/config/disk.js';
import { loadConfiguration } from '../../../src/config/load.js';
import { parseServices } from '../../../src/config/services.js';
import { ReadError } from '../../../src/config/source.js';
import { fileLimit } from '../../../src/config/syntax.js';

let directory = '';
const at = (name: string) => path.join(directory, name);

before(() => {
  directory = fs.mkdtempSync(path.join(tmpdir(), 'berth-disk-'));
});

after(() => {
  fs.rmSync(directory, { recursive: true });
});

function refusal(file: string): string {
  try {
    disk.read(file);
  } catch (error) {
    assert.ok(error instanceof ReadError);
    return error.message;
  }
  return 'read';
}

describe('disk.read', () => {
  it('reads a file, and through a link', () => {
    fs.writeFileSync(at('plain'), 'hello');
    fs.symlinkSync('plain', at('link'));
    assert.equal(Buffer.from(disk.read(at('plain')) ?? []).toString(), 'hello');
    assert.equal(Buffer.from(disk.read(at('link')) ?? []).toString(), 'hello');
  });

  it('takes a link to /dev/null for an empty file', () => {
    fs.symlinkSync('/dev/null', at('mask'));
    assert.equal(disk.read(at('mask'))?.length, 0);
  });

  it('has nothing for what does not exist', () => {
    assert.equal(disk.read(at('missing')), undefined);
    assert.equal(disk.read(at('missing/either')), undefined);
  });

  const odd: [what: string, make: (file: string) => unknown, message: RegExp][] = [
    [
      'a FIFO, without waiting for its writer',
      (file) => execFileSync('mkfifo', [file]),
      /a FIFO, not a regular file/,
    ],
    [
      'a directory',
      (file) => {
        fs.mkdirSync(file);
      },
      /a directory/,
    ],
    [
      'a link in a circle',
      (file) => {
        fs.symlinkSync(path.basename(file), file);
      },
      /in a circle \(ELOOP\)/,
    ],
    [
      'a dangling link',
      (file) => {
        fs.symlinkSync('nowhere', file);
      },
      /link to a file that does not exist \(ENOENT\)/,
    ],
    [
      'a device',
      (file) => {
        fs.symlinkSync('/dev/zero', file);
      },
      /a device, not a regular file/,
    ],
    ['a file beyond all measure', (file) => { fs.writeFileSync(file, ''); fs.truncateSync(file, fileLimit + 1); }, /larger than 16 MiB/], // prettier-ignore
  ];
  odd.forEach(([what, make, message], index) => {
    it(`refuses ${what}`, () => {
      make(at(`odd${index}`));
      assert.match(refusal(at(`odd${index}`)), message);
    });
  });

  it('refuses a socket', async () => {
    const server = createServer().listen(at('socket'));
    await once(server, 'listening');
    assert.match(refusal(at('socket')), /a socket/);
    server.close();
  });

  it('refuses a path through a file', () => {
    fs.writeFileSync(at('file'), '');
    assert.match(refusal(at('file/x')), /not a directory \(ENOTDIR\)/);
  });

  it('leaves no descriptor open', () => {
    const count = () => fs.readdirSync('/proc/self/fd').length;
    const start = count();
    for (const name of fs.readdirSync(directory)) refusal(at(name));
    assert.equal(count(), start);
  });
});

describe('disk.list', () => {
  it('names what is there, and nothing where there is no directory', () => {
    fs.mkdirSync(at('many'));
    fs.writeFileSync(at('many/a.conf'), '');
    assert.deepEqual(disk.list(at('many')), ['a.conf']);
    assert.deepEqual(disk.list(at('nowhere')), []);
  });

  it('refuses a file', () => {
    fs.writeFileSync(at('nodir'), '');
    assert.throws(() => disk.list(at('nodir')), /not a directory \(ENOTDIR\)/);
  });
});

describe('readServicesText', () => {
  it('is empty where there is no such file', () => {
    assert.equal(readServicesText(at('no-services')), '');
  });

  it('is the text where there is one', () => {
    fs.writeFileSync(at('services'), 'x 1/tcp\n');
    assert.equal(readServicesText(at('services')), 'x 1/tcp\n');
  });
});

describe('a directory of ten thousand reservations', () => {
  it('is read in well under the time of a boot', () => {
    const many = at('ten-thousand');
    fs.mkdirSync(many);
    for (let index = 0; index < 10_000; index++) {
      const address = `127.${index >> 8}.0.${index & 255}:80`;
      fs.writeFileSync(`${many}/r${index}.conf`, `[Socket]\nListenStream=${address}\nKeepAlive=yes\n`);
    }
    const start = performance.now();
    const { reservations, mistakes } = loadConfiguration(disk, [many], parseServices(''));
    const took = performance.now() - start;
    assert.equal(reservations.length, 10_000);
    assert.deepEqual(mistakes, []);
    // 0.2 to 0.5 s on two shared cores; the limit leaves room for a busy machine, and none for anything quadratic.
    assert.ok(took < 10_000, `${took} ms`);
  });
});
