import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { daemons } from '../../../src/generator/daemon-table.js';
import { daemonOfCommand, guessDaemon } from '../../../src/generator/daemons.js';

const commands: readonly (readonly [string, string | undefined])[] = [
  ['/usr/sbin/cupsd -l', 'cupsd'],
  ['/usr/sbin/nginx -g', 'nginx'],
  ['nginx: master process /usr/sbin/nginx', 'nginx'],
  ['sshd: /usr/sbin/sshd -D [listener]', 'sshd'],
  ['/usr/sbin/php-fpm8.2 --nodaemonize', 'php-fpm'],
  ['/usr/bin/python3 -m gunicorn app:app', 'gunicorn'],
  ['/usr/bin/python3 /srv/venv/bin/gunicorn app:app', 'gunicorn'],
  ['/usr/bin/perl -T -w /usr/sbin/spamd', 'spamd'],
  ['/usr/bin/env TZ=UTC /usr/sbin/named -f', 'named'],
  ['/usr/bin/java -jar app.jar', 'Java'],
  ['/opt/nginx-exporter', undefined],
  ['/usr/bin/python3 /srv/app.py nginx', undefined],
  ['/bin/sh -c nginx\\x20-g', undefined],
  ['/usr/bin/vim /etc/nginx', undefined],
  ['', undefined],
];

describe('daemonOfCommand', () => {
  for (const [command, name] of commands) {
    it(`finds ${name ?? 'nothing'} in '${command}'`, () => {
      assert.equal(daemonOfCommand(command.split(' ').filter((word) => word !== ''))?.name, name);
    });
  }

  it('stops at runners without an end', () => {
    assert.equal(daemonOfCommand(['env', 'env', 'env', 'sh', '-c']), undefined);
  });
});

describe('guessDaemon', () => {
  it('goes by the unit where the command does not tell', () => {
    assert.equal(guessDaemon('memcached@one.service', ['/opt/start.sh'])?.name, 'memcached');
    assert.equal(guessDaemon('php8.2-fpm.service', ['/opt/start'])?.name, 'php-fpm');
    assert.equal(guessDaemon('nginx.service', ['/usr/bin/redis-server'])?.name, 'redis');
    assert.equal(guessDaemon('web.service', ['/opt/start']), undefined);
  });
});

describe('the table', () => {
  it('names each daemon once', () => {
    const names = daemons.map(({ name }) => name);
    assert.deepEqual(names, [...new Set(names)]);
  });

  it('says of none that takes nothing that it should be passed something', () => {
    for (const { name, handoff, takes, variable, argument } of daemons) {
      assert.equal(handoff === 'bind', takes === 'nothing', name);
      if (handoff === 'bind') assert.deepEqual([variable, argument], [undefined, undefined], name);
    }
  });

  it('has texts that stand in the middle of a sentence', () => {
    for (const { name, configure, skip, never, variable } of daemons)
      for (const text of [configure, skip, never?.because, variable?.because])
        if (text !== undefined) assert.doesNotMatch(text, /[.]$/, name);
  });
});
