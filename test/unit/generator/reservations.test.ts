import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { diskBelow } from '../../../src/config/disk.js';
import { defaultDirectories } from '../../../src/config/search.js';
import { parseServices } from '../../../src/config/services.js';
import { formatMistake } from '../../../src/model/reservation.js';
import { loadReservations } from '../../../src/generator/reservations.js';
import { UnitSearch } from '../../../src/systemd/unit-search.js';
import { tree } from '../systemd/tree.js';

const system = 'usr/lib/systemd/system';
const directive = '[Socket]\nListenStreamNoActivate=1000\n';

describe('loadReservations', () => {
  it('has what files and units reserve, each for the unit as systemd calls it', (context) => {
    const root = tree(context, {
      'etc/berth/web.conf': '[Socket]\nListenStream=80\n\n[Reservation]\nService=httpd.service\n',
      'etc/berth/inst.conf': '[Socket]\nListenStream=81\n\n[Reservation]\nService=alias@one.service\n',
      [`${system}/apache2.service`]: '[Service]\nExecStart=/bin/a\n',
      'etc/systemd/system/httpd.service': `-> /${system}/apache2.service`,
      [`${system}/tmpl@.service`]: '[Service]\nExecStart=/bin/a\n',
      [`${system}/alias@.service`]: '-> tmpl@.service',
      [`${system}/own.socket`]: directive,
    });
    const search = new UnitSearch(diskBelow(root));
    const { reservations, mistakes, notes } = loadReservations(search, defaultDirectories, parseServices(''));
    assert.deepEqual([mistakes, notes], [[], []]);
    assert.deepEqual(
      reservations.map(({ name, unit }) => `${name} ${unit}`),
      ['inst tmpl@one.service', 'web apache2.service', 'own own.service'],
    );
  });

  it('prefers a file, be it broken or a mask, to a unit', (context) => {
    const root = tree(context, {
      'run/berth/good.conf': '[Socket]\nListenStream=80\n',
      'etc/berth/bad.conf': '[Socket]\nListenStream=x y\n',
      'etc/berth/masked.conf': '-> /dev/null',
      'usr/lib/berth/masked.conf': '[Socket]\nListenStream=82\n',
      [`${system}/good.socket`]: directive,
      [`${system}/bad.socket`]: directive,
      [`${system}/masked.socket`]: directive,
    });
    const search = new UnitSearch(diskBelow(root));
    const { reservations, broken, notes } = loadReservations(search, defaultDirectories, parseServices(''));
    assert.deepEqual(
      reservations.map(({ name, at }) => `${name} ${at.file}`),
      ['good /run/berth/good.conf'],
    );
    assert.deepEqual(broken, ['bad']);
    assert.deepEqual(notes.map(formatMistake), [
      `/${system}/bad.socket:2: what is reserved here as 'bad' does not count: bad.conf does`,
      `/${system}/good.socket:2: what is reserved here as 'good' does not count: /run/berth/good.conf does`,
      `/${system}/masked.socket:2: what is reserved here as 'masked' does not count: the mask masked.conf does`,
    ]);
  });

  it('finds one socket reserved in a file and in a unit', (context) => {
    const root = tree(context, {
      'etc/berth/a.conf': '[Socket]\nListenStream=1000\n',
      [`${system}/b.socket`]: directive,
    });
    const search = new UnitSearch(diskBelow(root));
    const { reservations, broken, mistakes } = loadReservations(
      search,
      defaultDirectories,
      parseServices(''),
    );
    assert.deepEqual([reservations.map(({ name }) => name), broken, mistakes.length], [['a'], ['b'], 1]);
  });
});
