import assert from 'node:assert/strict';
import { closeSync, readdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { recover, Vault } from '../../src/daemon/vault.js';
import { constant, maxFdsPerMessage, native } from '../../src/native/index.js';
import { reservation, spec } from '../support/holds.js';
import { openSocket } from '../support/sockets.js';
import { counted, runsOf } from './fuzz.js';

interface Packet {
  readonly data: Buffer;
  readonly fds: readonly number[];
}

/** The packets of a real vault, with descriptors of the caller's. */
function packetsOf(names: readonly string[]): Packet[] {
  let kept = -1;
  const store = {
    store: (_name: string, fd: number) => (kept = native.duplicate(fd)),
    remove: () => undefined,
    settled: () => Promise.resolve(),
  };
  const stored = names.map((name, index) => ({
    reservation: reservation(name, [
      spec('stream', { family: 'inet', host: '127.0.0.1', port: index + 1 }),
      spec('datagram', { family: 'unix', path: `/run/${name}` }),
    ]),
    fds: [openSocket('stream', 'inet'), openSocket('datagram', 'unix')],
  }));
  const stamps = native.keepStamps(Buffer.from('M /nonexistent\n'));
  new Vault(store, []).save(stored, 'what it remembers', undefined, stamps);
  closeSync(stamps);
  for (const { fds } of stored) fds.forEach(closeSync);
  const packets: Packet[] = [];
  for (;;) {
    const packet = native.receive(kept, maxFdsPerMessage, 0);
    if (packet === undefined || packet.data.length === 0) break;
    packets.push({ data: Buffer.from(packet.data), fds: packet.fds });
  }
  closeSync(kept);
  return packets;
}

/** One damage: a packet that is gone, there twice, out of its place, cut, or with another bit or byte, or more of them. */
const damage = fc.record({
  kind: fc.constantFrom('none', 'drop', 'twice', 'swap', 'cut', 'bit', 'byte', 'append', 'empty'),
  packet: fc.nat(),
  at: fc.nat(),
  byte: fc.integer({ min: 1, max: 255 }),
});
type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;

function damaged(packets: readonly Packet[], { kind, packet, at, byte }: Damage): Packet[] {
  const index = packet % packets.length;
  const one = packets[index];
  if (one === undefined) return [...packets];
  const place = at % one.data.length;
  const data = Buffer.from(one.data);
  switch (kind) {
    case 'none':
      return [...packets];
    case 'drop':
      return packets.toSpliced(index, 1);
    case 'twice':
      return packets.toSpliced(index, 0, one);
    case 'swap':
      return packets.toSpliced(index, 1).toSpliced(place % packets.length, 0, one);
    case 'cut':
      return packets.with(index, { ...one, data: data.subarray(0, place) });
    case 'append':
      return packets.with(index, { ...one, data: Buffer.concat([data, Buffer.from([byte])]) });
    case 'empty':
      return [];
    default:
      data[place] = (data[place] ?? 0) ^ (kind === 'bit' ? 1 << (byte % 8) : byte);
      return packets.with(index, { ...one, data });
  }
}

describe('a vault that is damaged', () => {
  it('is refused as a whole, but for its descriptors', (t) => {
    // Names that make two packets, between the first and that of the memory.
    const packets = packetsOf(Array.from({ length: 127 }, (_, index) => `r${index}`));
    t.after(() => {
      for (const { fds } of packets) fds.forEach(closeSync);
    });
    assert.equal(packets.length, 4);
    const whole = packets.map(({ data }) => data.toString());
    const runs = runsOf(300, 10_000);
    const inode = (fd: number) => native.inode(fd);
    const open = () => readdirSync('/proc/self/fd').length;
    const before = open();
    fc.assert(
      fc.property(damage, (wound) => {
        const sent = damaged(packets, wound);
        const [vault, writer] = native.socketpair(constant('SOCK_SEQPACKET'));
        native.setOption(writer, constant('SOL_SOCKET'), constant('SO_SNDBUFFORCE'), 1 << 24);
        for (const { data, fds } of sent) if (data.length > 0) native.send(writer, data, fds);
        closeSync(writer);
        const same =
          sent.length >= whole.length && whole.every((text, index) => sent[index]?.data.toString() === text);
        if (same) {
          const { stored, memory, stamps } = recover([{ name: 'vault-1', fd: vault }]);
          assert.deepEqual([stored.length, memory], [127, 'what it remembers']);
          assert.ok(stamps !== undefined && native.stampsHold(stamps));
          for (const fd of [stamps, ...stored.flatMap(({ fds }) => fds)]) closeSync(fd);
        } else {
          const { stored, pages, unread = [] } = recover([{ name: 'vault-1', fd: vault }]);
          assert.deepEqual([stored, pages], [[], []]);
          // An empty packet is not sent.
          const there = sent.filter(({ data }) => data.length > 0).flatMap(({ fds }) => fds);
          assert.deepEqual(unread.map(inode), there.map(inode));
          unread.forEach(closeSync);
        }
        assert.equal(open(), before, wound.kind);
      }),
      { numRuns: runs },
    );
    counted(t, 'vault', runs);
  });
});
