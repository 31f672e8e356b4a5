import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Address } from '../model/reservation.js';

/** An address that the kernel can bind: a bare port has been resolved. */
export type BoundAddress = Exclude<Address, { family: 'any' }>;

/** Who called connect(2) on the other end, as the kernel noted it then. */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** One packet. The descriptors belong to the receiver; `discarded` says that uninvited ones were closed by the kernel. */
export interface Packet {
  readonly data: Buffer;
  readonly fds: readonly number[];
  readonly truncated: boolean;
  readonly discarded: boolean;
}

/** A datagram and who sent it. The pidfd, where the kernel tells it (SO_PASSPIDFD, Linux 6.5), is the receiver's. */
export interface Datagram extends Credentials {
  readonly data: Buffer;
  readonly truncated: boolean;
  readonly pidfd?: number;
}

/**
 * A socket that stands on a port, by sock_diag(7). `state` is one of <netinet/tcp.h>; `inode` 0 has no process; `device`
 * is the number of the interface that it is bound to, or 0. `v6only` is known of those alone that have no `peer`.
 */
export interface DiagSocket {
  readonly address: BoundAddress;
  readonly peer?: BoundAddress;
  readonly device: number;
  readonly v6only: boolean;
  readonly inode: number;
  readonly uid: number;
  readonly state: number;
}

/** What decides whether a call on a socket is berthd's affair. */
export interface SocketFacts {
  readonly domain: number;
  readonly type: number;
  readonly protocol: number;
  /** Tells network namespaces apart; 0 where the kernel cannot (before 5.14). */
  readonly netns: bigint;
  /** The index of the interface that it is bound to, or 0. */
  readonly device: number;
  readonly v6only: boolean;
  readonly listening: boolean;
  /** Closing it could wait. */
  readonly lingers: boolean;
  /** What getsockname(2) gives, as bytes. */
  readonly name: Buffer;
}

declare const watchBrand: unique symbol;
/** An opaque wait for a descriptor. Close it with unwatch before the descriptor. */
export interface Watch {
  readonly [watchBrand]: never;
}

/** What a watch waits for: libuv's uv_poll_event. */
export const Readable = 1;
export const Writable = 2;
export const Disconnected = 4;
export const Prioritized = 8;

/** The bits of Native.acceptRequest. */
export const HasText = 1;
export const Discarded = 2;
export const TooLong = 4;

/** The bits of Native.sharing. */
export const ReuseAddr = 1;
export const ReusePort = 2;
export const Listening = 4;

/**
 * The calls that Node has no face for. A failed one throws a SystemError. Descriptors are plain numbers, all
 * close-on-exec; whoever gets one from here owns it and closes it with fs.closeSync.
 */
export interface Native {
  readonly constants: Readonly<Record<string, number>>;
  socket(domain: number, type: number, protocol: number): number;
  socketpair(type: number): [number, number];
  bind(fd: number, address: BoundAddress): void;
  /** Binds where `fd` overlaps with sockets of ours that stay bound: see src/native/addon/hold.c. */
  bindBeside(fd: number, address: BoundAddress, siblings: readonly number[]): void;
  /** A socket that keeps others from an address while SO_REUSEADDR is set on `fd`; undefined where that cannot be. */
  guardDatagrams(fd: number, siblings: readonly number[]): number | undefined;
  /** The same beside a TCP socket, for when the service shuts its duplicate down. */
  guardStream(fd: number, siblings: readonly number[]): number | undefined;
  /** Lets no uid's sockets share the port by SO_REUSEPORT, where berthd may do that: see src/native/addon/hold.c. */
  disown(fd: number): void;
  connect(fd: number, address: BoundAddress): void;
  /** Undoes a connect(2), and on TCP that does not listen a shutdown(2); true when there was something to undo. */
  disconnect(fd: number): boolean;
  listen(fd: number, backlog: number): void;
  /**
   * Makes a held socket listen, leaving no moment in which somebody else could: see src/native/addon/hold.c. `guard` is
   * its guardStream, or -1.
   */
  listenHeld(fd: number, backlog: number, guard: number): void;
  shutdownRead(fd: number): void;
  /** Returns once no bind(2) to the port of an IP socket that is bound there can be under way that began before. */
  outwaitBinds(fd: number): void;
  accept(fd: number): number | undefined;
  getsockname(fd: number): BoundAddress;
  setOption(fd: number, level: number, name: number, value: number): void;
  getOption(fd: number, level: number, name: number): number;
  /** What /proc calls a socket by. */
  inode(fd: number): number;
  /** SO_REUSEADDR, SO_REUSEPORT and SO_ACCEPTCONN, as the bits ReuseAddr, ReusePort and Listening. */
  sharing(fd: number): number;
  /** The inodes of sockets, and the indices of those of which `sharing` is not 0: of thousands in one call. */
  socketStates(fds: readonly number[]): { readonly inodes: number[]; readonly stirring: number[] };
  setTextOption(fd: number, level: number, name: number, value: string): void;
  /** Drops all datagrams before they are queued, until detachDrop. */
  attachDrop(fd: number): void;
  /** The backlog of a TCP socket that is as a service is handed it: it listens, shares, has no filter and blocks. Else -1. */
  readiness(fd: number): number;
  /** Takes off any filter; true when there was one. EPERM: it is locked (SO_LOCK_FILTER). */
  detachDrop(fd: number): boolean;
  setBlocking(fd: number): void;
  /** Makes an inherited descriptor close-on-exec and non-blocking. */
  adopt(fd: number): void;
  pollNow(fd: number): number;
  interfaceIndex(name: string): number;
  /** The file that a bound AF_UNIX socket is, opened with O_PATH. EPERM without CAP_NET_ADMIN. */
  boundFile(fd: number): number;
  /** False when the peer has to read first. The descriptors, at most 253, stay the caller's. */
  send(fd: number, data: Buffer, fds: readonly number[]): boolean;
  /**
   * Accepts a connection, and looks at the packet that has come with it, which stays to be received: the text of it, empty
   * when there is none yet or it has more than `most` bytes; undefined when nobody waits. `facts` are the connection and the
   * bits HasText, Discarded and TooLong.
   */
  acceptRequest(listener: number, facts: Int32Array, most: number): string | undefined;
  /**
   * Sends the only answer and closes the connection; false, with it open, when the peer has to read first. `unread`: the
   * request is still to be received, and brought no descriptors. `trusted`: nothing else is in the connection.
   */
  answerRequest(fd: number, data: Buffer, fds: readonly number[], unread: boolean, trusted: boolean): boolean;
  /** Makes what the next two need, while there are descriptors for it. */
  prepareDiscard(): void;
  /** Closes a connection, without waiting for what a stranger may have put into it: see src/native/addon/discard.c. */
  closeConnection(fd: number): void;
  /**
   * Drops the next datagram, in the same way; undefined when it has gone, or else a descriptor that becomes readable then,
   * for the caller to close.
   */
  discardDatagram(fd: number): number | undefined;
  /** Whether there is something to read, looked for so many microseconds without going to sleep. */
  lookFor(fd: number, microseconds: number): boolean;
  /** Waits until the peer takes it, which only the service manager is trusted to do. */
  sendWaiting(fd: number, data: Buffer, fds: readonly number[]): void;
  /** Undefined when nothing is there; empty data at the end. There is room for that many descriptors. */
  receive(fd: number, room: number, flags: number): Packet | undefined;
  /**
   * A datagram of 256 bytes at most from a socket with SO_PASSCRED; undefined when nothing is there, false when descriptors
   * came with it, which only discardDatagram takes. A sender that the kernel does not name has the uid 65534 and the pid 0.
   */
  receiveDatagram(fd: number): Datagram | false | undefined;
  duplicate(fd: number): number;
  /**
   * Begins on a thread to make room for descriptors up to that number at once; `fd` is any open one. It is faster, nothing
   * more: who needs the room before it is there waits for it. roomMade() has to be called afterwards.
   */
  makeRoom(fd: number, count: number): void;
  roomMade(): void;
  peer(fd: number): Credentials;
  /**
   * Who connected: [pid, uid, pidfd, number of the cgroup] into `facts`; false when it is gone. The pidfd is the caller's.
   * The number is never given to another cgroup; it is 0 where the kernel does not tell it (before 6.13).
   */
  identify(fd: number, facts: Float64Array): boolean;
  /** The text of /proc/PID/cgroup; undefined when the process of the pidfd, which tells a reused number, has ended. */
  cgroupText(pid: number, pidfd: number): string | undefined;
  pidfdOpen(pid: number): number | undefined;
  /**
   * Pairs of pid and inode, flat: a pair for each descriptor of one of these sockets that may be seen in /proc, but for
   * those of the process `except` (0 for none). No more than `most` descriptors are looked at (0: all).
   */
  socketHolders(inodes: readonly number[], except: number, most: number): number[];
  /** Makes memory, by its descriptor or with -1 new, the place where received calls are noted. Before all below. */
  journal(fd: number): number;
  /**
   * For src/native/calls.ts, which names what is put into `room`. The next call that waits at a seccomp listener (1), none
   * at this moment (0), or none for ever (-1). One of each listener at a time: it is answered before the next is received.
   */
  receiveCall(listener: number, room: Buffer): -1 | 0 | 1;
  /** Whether the journal tells of a call that still waits there. All are recalled before one is received. */
  recallCall(listener: number, room: Buffer): boolean;
  callWaits(listener: number, slot: number): boolean;
  /** 0 or an errno; -1 lets the kernel do the call. */
  answerCall(listener: number, slot: number, error: number): void;
  /** Instead of an answer, once the listener is closed. */
  forgetCall(slot: number): void;
  /** Has the kernel wake berthd on the processor of the program that calls. */
  wakeHere(listener: number): void;
  /** For src/native/calls.ts: looks at a call, for so long; false when that has not ended by then. */
  lookAt(slot: number, microseconds: number, room: Buffer): boolean;
  /** Whether a look that lookAt did not wait for has ended; asked when the eventfd lookSignal is readable. */
  lookEnded(slot: number, room: Buffer): boolean;
  lookSignal(): number;
  /** Undefined when it is no socket. */
  socketFacts(fd: number): SocketFacts | undefined;
  /** bind(2) and listen(2) of a program's socket beside held ones, for the call in that slot (or -1): 0 or an errno. */
  bindFor(slot: number, fd: number, address: Buffer, held: readonly number[]): number;
  listenFor(slot: number, fd: number, backlog: number, held: readonly number[]): number;
  /**
   * Binds to a path, in `directory`, in the place of whatever socket has it, with no moment without either. That one's file
   * is called `aside` from then on, or goes (''). A user or group of -1 is berthd's own.
   */
  bindOver(
    fd: number,
    directory: number,
    path: string,
    mode: number,
    uid: number,
    gid: number,
    aside: string,
  ): void;
  /**
   * Whether a process that calls a directory `text` means that one, and has it where it is not read-only. Undefined after a
   * second: the text may lead into a file system that does not answer.
   */
  means(pid: number, text: string, directory: number): boolean | undefined;
  /** Notes of the call in that slot that a path is about to be bound: its socket is not to be undone. */
  noteBegun(slot: number): void;
  /** Makes a program's socket what it was before the call that the journal tells of. */
  undoBegun(slot: number, fd: number): void;
  /** Binds `fd` like the first held datagram socket, behind a program's (or -1): see src/native/addon/beside.c. */
  bindBehind(fd: number, held: readonly number[], program: number): void;
  /** The index of an interface, or 0; -1 makes the socket get nothing, though it is in the way of others. */
  setDevice(fd: number, index: number): void;
  isDeaf(fd: number): boolean;
  userId(name: string): number | undefined;
  groupId(name: string): number | undefined;
  userName(uid: number): string | undefined;
  watch(fd: number, events: number, callback: (events: number) => void): Watch;
  rewatch(watch: Watch, events: number): void;
  unwatch(watch: Watch): void;
  /** Port 0: all ports, of sockets that listen or have no peer. */
  socketsOn(protocol: number, port: number): DiagSocket[];
  /** Puts the text of src/generator/stamps.ts into a file in memory. */
  keepStamps(stamps: Buffer): number;
  /** Begins on a thread with what stampsHold of the same file is called for afterwards, before it is closed. */
  beginStamps(file: number): void;
  /** Whether all that it tells of is still so. */
  stampsHold(file: number): boolean;
}

/** The most descriptors that one message carries (SCM_MAX_FD). */
export const maxFdsPerMessage = 253;

/** The addon lies beside the file that loads it: this one, or the bundle that this one is part of. */
export const native = createRequire(import.meta.url)(
  fileURLToPath(new URL('./berth.node', import.meta.url)),
) as Native;

/** A constant of the C headers by its name; throws when the addon does not know it, which is a mistake in the caller. */
export function constant(name: string): number {
  const value = native.constants[name];
  if (value === undefined) throw new Error(`the addon has no constant ${name}`);
  return value;
}
