import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { cacheDirectory } from './cache.js';
import { bootLab, withLab } from './lab.js';
import { labTest } from './requirements.js';

labTest('boots with Debian packages that the machine does not get', async (t) => {
  const onMachine = existsSync('/usr/bin/memcached');
  const options = { berth: false, packages: ['memcached'], keep: ['memcached.service'] };
  await withLab(t, options, async (lab) => {
    await lab.waitForUnit('memcached.service', 'active');
    const listens = async () => (await lab.text(['ss', '-Hlnt', 'sport', '=', '11211'])) || undefined;
    assert.match(await lab.until('memcached on its port', listens), /127\.0\.0\.1:11211/);
  });
  assert.equal(existsSync('/usr/bin/memcached'), onMachine);

  // What a package enables is masked like everything else, unless it is kept.
  await withLab(t, { berth: false, packages: ['memcached'] }, async (lab) => {
    assert.equal(await lab.property('memcached.service', 'LoadState'), 'masked');
  });
});

labTest(
  'says what apt says about a package that it cannot install, and keeps nothing half-made',
  async () => {
    await mkdir(cacheDirectory, { recursive: true });
    const before = await readdir(cacheDirectory);
    const impossible = bootLab({ berth: false, packages: ['berth-no-such-package'] });
    await assert.rejects(impossible, /Unable to locate package berth-no-such-package/);
    const layers = (await readdir(cacheDirectory)).filter(
      (name) => !before.includes(name) && name !== 'lock',
    );
    assert.deepEqual(layers, []);
  },
);
