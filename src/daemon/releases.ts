import { BerthError, type ErrorCode } from '../model/errors.js';
import type { Claims } from './claims.js';
import type { Attested, Policy } from './policy.js';
import type { Entry, Table } from './table.js';

export interface ReleaseContext {
  readonly table: Table;
  readonly claims: Claims;
  readonly policy: Policy;
}

/** What came of a wish to have reservations released: how many are, and why others are not. */
export interface Releases {
  readonly released: number;
  readonly refusals: readonly BerthError[];
}

/**
 * Releases the reservations of these names, as far as they have Handoff=release and `peer` may claim them. `*` stands for
 * all of those, and passes over the others.
 */
export function releaseNamed(context: ReleaseContext, names: Iterable<string>, peer: Attested): Releases {
  const refusals: BerthError[] = [];
  let released = 0;
  for (const name of new Set(names)) {
    for (const entry of name === '*' ? context.table.entries() : [context.table.get(name)]) {
      const refusal = entry === undefined ? unknown(name) : refusalOf(context, entry, peer);
      if (refusal !== undefined) {
        if (name !== '*') refusals.push(refusal);
      } else if (entry !== undefined) {
        context.claims.release(entry, peer);
        released++;
      }
    }
  }
  return { released, refusals };
}

function unknown(name: string): BerthError {
  return new BerthError('NotFound', `there is no reservation '${name.slice(0, 255)}'`);
}

function refusalOf(
  { policy }: ReleaseContext,
  { reservation }: Entry,
  peer: Attested,
): BerthError | undefined {
  const { name, handoff } = reservation;
  try {
    policy.checkClaim(peer, reservation);
  } catch (error) {
    if (error instanceof BerthError) return error;
    throw error;
  }
  if (handoff === 'release') return undefined;
  return new BerthError('Failed', `'${name}' has Handoff=${handoff}: berthd does not let go of its sockets`);
}

/** One error that tells all of the reasons, with the code of the first. */
export function joined(refusals: readonly BerthError[]): BerthError {
  const code: ErrorCode = refusals[0]?.code ?? 'Failed';
  return new BerthError(code, refusals.map(({ message }) => message).join('; '));
}
