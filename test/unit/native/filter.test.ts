import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { root } from '../../support/processes.js';

interface Instruction {
  readonly code: number;
  readonly whenTrue: number;
  readonly whenFalse: number;
  readonly k: number;
}

/** One of struct seccomp_data; the arguments are whole registers. */
interface Call {
  readonly arch: number;
  readonly nr: number;
  readonly args?: readonly bigint[];
}

function readFilter(machine: string): Instruction[] {
  const text = execFileSync(`${root}build/bin/filter-lines`, [machine], { encoding: 'utf8' });
  return text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [code = 0, whenTrue = 0, whenFalse = 0, k = 0] = line.split(' ').map(Number);
      return { code, whenTrue, whenFalse, k };
    });
}

/** What the kernel's interpreter does with the few instructions that there are (net/core/filter.c); others are a mistake. */
function interpret(filter: readonly Instruction[], { arch, nr, args = [] }: Call): number {
  const data = Buffer.alloc(64);
  data.writeInt32LE(nr | 0, 0);
  data.writeUInt32LE(arch, 4);
  args.forEach((argument, index) => data.writeBigUInt64LE(argument, 16 + 8 * index));
  let accumulator = 0;
  for (let at = 0; at < filter.length; at++) {
    const { code, whenTrue, whenFalse, k } = filter[at] ?? assert.fail();
    if (code === 0x20) accumulator = data.readUInt32LE(k);
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (code === 0x15) at += accumulator === k ? whenTrue : whenFalse;
    else if (code === 0x45) at += (accumulator & k) !== 0 ? whenTrue : whenFalse;
    else if (code === 0x06) return k;
    else assert.fail(`instruction ${code}`);
  }
  return assert.fail('the filter has no end');
}

const allow = 0x7fff0000;
const notify = 0x7fc00000;
const fail = (errno: number) => 0x00050000 | errno;
const [enosys, eprotonosupport] = [38, 93];
const landlock = 446;
/** <linux/audit.h> */
const audit = {
  x86_64: 0xc000003e,
  i386: 0x40000003,
  aarch64: 0xc00000b7,
  arm: 0x40000028,
  riscv64: 0xc00000f3,
};

const machines = [
  {
    name: 'x86_64',
    arch: audit.x86_64,
    // <asm/unistd_64.h>, and <asm/unistd_32.h> of the other one
    calls: {
      read: 0,
      socket: 41,
      connect: 42,
      accept: 43,
      bind: 49,
      listen: 50,
      getpid: 39,
      io_uring_enter: 426,
    },
    other: { arch: audit.i386, socketcall: 102, bind: 361, listen: 363, socket: 359, getpid: 20 },
  },
  {
    name: 'aarch64',
    arch: audit.aarch64,
    // <asm-generic/unistd.h>, and arch/arm/tools/syscall.tbl
    calls: {
      read: 63,
      socket: 198,
      connect: 203,
      accept: 202,
      bind: 200,
      listen: 201,
      getpid: 172,
      io_uring_enter: 426,
    },
    other: { arch: audit.arm, socketcall: 102, bind: 282, listen: 284, socket: 281, getpid: 20 },
  },
] as const;

for (const { name, arch, calls, other } of machines) {
  describe(`the filter on ${name}`, () => {
    const filter = readFilter(name);
    const verdict = (call: Call) => interpret(filter, call);
    const socket = (domain: number, type: number, protocol: number) =>
      verdict({ arch, nr: calls.socket, args: [BigInt(domain), BigInt(type), BigInt(protocol)] });

    it('is one that the kernel takes: it only goes forward, and ends', () => {
      filter.forEach(({ code, whenTrue, whenFalse }, at) => {
        if (code === 0x15 || code === 0x45) assert.ok(at + 1 + Math.max(whenTrue, whenFalse) < filter.length);
      });
      assert.equal(filter.at(-1)?.code, 0x06);
    });

    it('has bind, listen and what restricts the program wait for berthd', () => {
      for (const nr of [calls.bind, calls.listen, landlock]) {
        assert.equal(verdict({ arch, nr }), notify);
        assert.equal(verdict({ arch, nr, args: Array.from({ length: 6 }, () => 2n ** 64n - 1n) }), notify);
      }
    });

    it('lets all other calls through, whatever their arguments are', () => {
      const waiting = new Set<number>([calls.bind, calls.listen, landlock]);
      for (let nr = 0; nr < 1024; nr++) {
        if (waiting.has(nr) || nr === calls.socket) continue;
        assert.equal(verdict({ arch, nr }), allow, `call ${nr}`);
        assert.equal(verdict({ arch, nr, args: [2n, 1n, 262n] }), allow, `call ${nr}`);
      }
      assert.equal(verdict({ arch, nr: -1 }), allow);
    });

    it('refuses a socket of MPTCP, and no other', () => {
      const [unix, inet, inet6, stream, datagram, mptcp] = [1, 2, 10, 1, 2, 262];
      const [nonBlocking, closeOnExec] = [0o4000, 0o2000000];
      for (const domain of [inet, inet6])
        for (const flags of [0, nonBlocking, closeOnExec, nonBlocking | closeOnExec])
          assert.equal(socket(domain, stream | flags, mptcp), fail(eprotonosupport));
      for (const protocol of [0, 6, 132]) assert.equal(socket(inet, stream, protocol), allow);
      assert.equal(socket(inet, datagram, mptcp), allow);
      assert.equal(socket(unix, stream, mptcp), allow);
      // The kernel takes the lower half of a register for an int.
      const high = 2n ** 32n;
      assert.equal(
        verdict({ arch, nr: calls.socket, args: [high + 2n, high + 1n, high + 262n] }),
        fail(eprotonosupport),
      );
    });

    it('refuses them on another architecture, where their numbers are others', () => {
      for (const nr of [other.bind, other.listen, other.socketcall, landlock])
        assert.equal(verdict({ arch: other.arch, nr }), fail(enosys), `call ${nr}`);
      for (const nr of [other.socket, other.getpid, calls.bind, calls.listen])
        assert.equal(verdict({ arch: other.arch, nr }), allow, `call ${nr}`);
    });

    it('takes the other machine for a foreign one', () => {
      for (const machine of machines) {
        if (machine.arch === arch) continue;
        assert.equal(verdict({ arch: machine.arch, nr: machine.calls.bind }), allow);
        assert.equal(verdict({ arch: machine.arch, nr: landlock }), fail(enosys));
      }
      assert.equal(verdict({ arch: audit.riscv64, nr: landlock }), fail(enosys));
    });
  });
}

describe('the filter on x86_64, of x32', () => {
  const filter = readFilter('x86_64');
  const verdict = (nr: number, arch = audit.x86_64) => interpret(filter, { arch, nr: 0x40000000 + nr });

  it('refuses what would have to wait, and lets the rest through', () => {
    for (const nr of [49, 50, landlock]) assert.equal(verdict(nr), fail(enosys));
    for (const nr of [0, 41, 42, 512, 547]) assert.equal(verdict(nr), allow);
  });

  it('knows no such bit elsewhere', () => {
    assert.equal(verdict(361, audit.i386), allow);
    assert.equal(interpret(readFilter('aarch64'), { arch: audit.aarch64, nr: 0x40000000 + 200 }), allow);
  });
});
