import type { ErrorCode } from '../model/errors.js';
import type { Handoff, WhileStopped } from '../model/reservation.js';

/** Where berthd listens unless `--control` says otherwise. */
export const defaultControlPath = '/run/berth/control';

/**
 * The control protocol: SOCK_SEQPACKET, one JSON object a packet. A request is `{"method":…,"parameters":{…}}`; it is
 * answered by `{"parameters":{…}}` or by `{"error":…,"parameters":{"message":…}}`. docs/protocol.md has it whole.
 */
export interface Request {
  readonly method: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

export interface ErrorReply {
  readonly error: ErrorCode;
  readonly parameters: { readonly message: string };
}

/** No packet is longer, either way: node-unix-socket cuts at 256 KiB, and a stranger's packet is bounded by it. */
export const maxPacket = 64 * 1024;

/** `active` while a claimant holds duplicates, `failed` when a socket could not be held, `released` while one is. */
export type ReservationState = 'held' | 'active' | 'released' | 'failed';

/** Who has claimed a reservation and still lives. `unit` where systemd knows one; `since` is milliseconds of the epoch. */
export interface ClaimantInfo {
  readonly pid: number;
  readonly command: string;
  readonly unit?: string;
  readonly since: number;
}

/** One socket of a reservation, as `status` shows it. `inode` tells that it is still the same kernel socket. */
export interface SocketInfo {
  /** `tcp 127.0.0.1:631` */
  readonly socket: string;
  /** As written in the file: `631`. */
  readonly listen: string;
  /** `lent`: SO_REUSEADDR is on, for the service to bind beside it (Handoff=lend). */
  readonly state: 'held' | 'listening' | 'lent' | 'released' | 'failed';
  readonly inode?: number;
  /** Why it is not held: `cannot bind 'tcp *:631': address in use (EADDRINUSE, held by pid 812 rpcbind)`. */
  readonly error?: string;
}

/** A line of `berth list`; `since` is when the state was entered, in milliseconds of the epoch. */
export interface ReservationInfo {
  readonly name: string;
  readonly sockets: readonly string[];
  readonly unit: string;
  readonly handoff: Handoff;
  readonly state: ReservationState;
  readonly since: number;
}

/** `berth status NAME`. */
export interface ReservationStatus extends Omit<ReservationInfo, 'sockets'> {
  readonly sockets: readonly SocketInfo[];
  readonly whileStopped: WhileStopped;
  readonly fdName: string;
  readonly claimants: readonly ClaimantInfo[];
  /** `FILE:LINE` of the definition. */
  readonly definedAt: string;
}

/**
 * One thing that happened. `watching` is the first: from here on. `taken`: somebody else has an address that is reserved;
 * `failed`: it cannot be held for another reason; `dropped`: it is no longer reserved, and let go; `retried`: `count`
 * sockets are still to be held; `lost`: the last, after `count` that the watcher was too slow for; `disconnected` is
 * never sent, but what `berth watch` says when berthd closes.
 */
export const eventKinds = [
  'watching',
  'held',
  'dropped',
  'released',
  'failed',
  'taken',
  'claimed',
  'stopped',
  'refused',
  'repaired',
  'retried',
  'reloaded',
  'lost',
  'disconnected',
] as const;

/** An event with all that is known of it; `time` is milliseconds of the epoch. */
export interface WatchEvent {
  readonly event: (typeof eventKinds)[number];
  readonly time: number;
  readonly reservation?: string;
  readonly socket?: string;
  /** Who claimed, was refused, or is in the way. */
  readonly pid?: number;
  readonly uid?: number;
  readonly command?: string;
  readonly unit?: string;
  /** How it was handed over. */
  readonly mode?: string;
  readonly count?: number;
  readonly message?: string;
}

/** Method → parameters and answer. `List` comes in pages: ask again with the last name as `after` while `more` is true. */
export interface Methods {
  List: {
    parameters: { after?: string };
    answer: { reservations: readonly ReservationInfo[]; more: boolean };
  };
  Status: { parameters: { name: string }; answer: ReservationStatus };
  /** Re-reads the files and answers when that is done; `mistakes` are formatted lines, the first hundred of them. */
  Reload: {
    parameters: Record<string, never>;
    answer: {
      reservations: number;
      sockets: number;
      mistakes: readonly string[];
      failures: readonly string[];
    };
  };
  /** Answered with an event a packet, as they come, until either side closes. */
  Watch: { parameters: Record<string, never>; answer: WatchEvent };
  /** Answered with the descriptors and a text of its own form: see claimReply. Only berth-claim asks these three. */
  Claim: { parameters: { name: string; form: 'exec' | 'unit' }; answer: never };
  /** Comes with the listener of a seccomp filter: from here on berthd serves bind(2) and listen(2) of its processes. */
  Supervise: { parameters: { names: readonly string[] }; answer: never };
  /** portrelease(1): lets go of what has Handoff=release. `*` stands for all that the caller may have released. */
  Release: { parameters: { names: readonly string[] }; answer: { released: number } };
  /** The service of a unit has ended, or has bound what was lent to it. */
  Done: { parameters: { name: string; form: 'unit' }; answer: never };
}

export type Method = keyof Methods;
