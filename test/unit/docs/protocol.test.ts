import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildReservation } from '../../../src/config/reservation.js';
import { parseServices } from '../../../src/config/services.js';
import { parseSyntax } from '../../../src/config/syntax.js';
import { claimForms, type ClaimForm } from '../../../src/daemon/claim-mode.js';
import { Claims } from '../../../src/daemon/claims.js';
import { Log } from '../../../src/daemon/log.js';
import { Table } from '../../../src/daemon/table.js';
import { BerthError, exitStatuses } from '../../../src/model/errors.js';
import { handoffs, type Handoff } from '../../../src/model/reservation.js';
import { maxFdsPerMessage, native } from '../../../src/native/index.js';
import { isAnswer, type AskedMethod } from '../../../src/protocol/client-answers.js';
import { maxPacket, type Method } from '../../../src/protocol/messages.js';
import type { Peer } from '../../../src/protocol/peer.js';
import { claimReply, errorReply, type ClaimMode } from '../../../src/protocol/replies.js';
import { blocks, readDocument, rows, section } from './markdown.js';

const document = readDocument('docs/protocol.md');

// The compiler holds these against the code: a method, or a mode, too many or too few is an error.
const methods = Object.keys({
  List: true,
  Status: true,
  Watch: true,
  Reload: true,
  Claim: true,
  Supervise: true,
  Done: true,
  Release: true,
} satisfies Record<Method, true>);
const asked: readonly AskedMethod[] = ['List', 'Status', 'Watch', 'Reload', 'Release'];
const modes = Object.keys({
  exec: true,
  store: true,
  lend: true,
  bind: true,
  release: true,
  done: true,
} satisfies Record<ClaimMode, true>) as ClaimMode[];

interface Answer {
  readonly parameters: unknown;
}

function answerTo(method: string): Answer {
  const block = blocks(document).find(({ info }) => info === `answer:${method}`);
  assert.ok(block, `an answer to ${method}`);
  return JSON.parse(block.text) as Answer;
}

/** What a claim gets of a reservation without sockets: the mode of the answer, or the code of the error. */
async function claimed(handoff: Handoff, form: ClaimForm): Promise<string> {
  const claims = new Claims(new Table(), new Log(), {
    changed: () => undefined,
    guarded: () => undefined,
    settled: () => Promise.resolve(),
  });
  const name = 'x';
  const { reservation } = buildReservation(
    name,
    { file: 'x.conf', line: 1 },
    [parseSyntax('x.conf', Buffer.from(`[Socket]\nListenStream=1\n[Reservation]\nHandoff=${handoff}\n`))],
    parseServices(''),
  );
  assert.ok(reservation);
  const { pid } = process;
  const peer: Peer = {
    pid,
    uid: 0,
    takePidfd: () => native.pidfdOpen(pid) ?? -1,
    release: () => undefined,
  };
  try {
    const [reply] = await claims.grant({ reservation, slots: [], formerNames: [], changed: 0 }, peer, form);
    return /"mode":"(\w+)"/.exec(reply?.data.toString() ?? '')?.[1] ?? '';
  } catch (error) {
    assert.ok(error instanceof BerthError);
    return error.code;
  } finally {
    claims.forget(() => false);
  }
}

describe('docs/protocol.md', () => {
  it('has a section for each method, and a line on who may call it', () => {
    const headings = [...section(document, '## Methods').matchAll(/^### (.*)$/gm)].map(([, title]) => title);
    assert.deepEqual(headings, methods);
    const allowed = rows(section(document, '## Who may do what')).flatMap(([names = '']) => names.split(' '));
    assert.deepEqual(allowed.toSorted(), methods.toSorted());
  });

  for (const method of asked) {
    it(`shows an answer to ${method} that berth takes, and that has no key too many`, () => {
      const { parameters } = answerTo(method);
      assert.ok(isAnswer(method, parameters));
      const entries: [string, unknown][] = Object.entries(parameters);
      for (const [key] of entries) {
        const others = entries.filter(([other]) => other !== key);
        assert.equal(isAnswer(method, Object.fromEntries(others)), false, `berth needs ${key}`);
      }
    });
  }

  it('shows a request of a method that there is, with parameters that it takes', () => {
    const shown = blocks(document).find(({ info }) => info === 'request');
    const { method, parameters } = JSON.parse(shown?.text ?? '') as { method: string; parameters: object };
    assert.ok(methods.includes(method));
    assert.deepEqual(Object.keys(parameters), ['name']);
  });

  it('shows the error that berthd sends', () => {
    const shown = blocks(document).find(({ info }) => info === 'error');
    const [reply] = errorReply(new BerthError('NotFound', "there is no reservation 'cups'"));
    assert.deepEqual(JSON.parse(shown?.text ?? ''), JSON.parse(reply?.data.toString() ?? ''));
  });

  it('shows answers to a claim to the letter', () => {
    const shown = blocks(document).filter(({ info }) => info.startsWith('claim:'));
    assert.ok(shown.length >= 4);
    for (const { info, text } of shown) {
      const [mode = '', ...words] = info.slice('claim:'.length).split(' ');
      assert.ok(modes.includes(mode as ClaimMode), mode);
      const stale = words.filter((word) => word.startsWith('-')).map((word) => word.slice(1));
      const current = words.filter((word) => !word.startsWith('-'));
      const names = current.flatMap((word) => {
        const [name = '', count = '1'] = word.split('*');
        return Array.from({ length: Number(count) }, () => name);
      });
      const replies = claimReply(
        mode as ClaimMode,
        names.map((name, fd) => ({ fd, name })),
        stale,
      );
      const lines = replies.map(({ data }) => data.toString().replace(/x:x:[x:]*/, 'x:x:…'));
      assert.deepEqual(text.trimEnd().split('\n'), lines);
    }
  });

  it('names every mode of the answer', () => {
    const text = section(document, '## The answer to a claim');
    for (const mode of modes) assert.ok(text.includes(`\`${mode}\``), mode);
  });

  it('says for every Handoff= what a claim gets', async () => {
    const table = rows(section(document, '### Claim'));
    assert.deepEqual(table.map(([handoff]) => handoff).toSorted(), [...handoffs].toSorted());
    for (const [handoff = '', ...answers] of table) {
      assert.deepEqual(
        answers,
        await Promise.all(claimForms.map((form) => claimed(handoff as Handoff, form))),
        handoff,
      );
    }
  });

  it('lists every error with its exit status, and no other', () => {
    const listed = rows(section(document, '## Errors')).map(([code, status]) => [code, Number(status)]);
    assert.deepEqual(listed, Object.entries(exitStatuses));
  });

  it('states the limits that the code has', () => {
    assert.ok(section(document, '## Limits').includes(`${maxPacket} bytes`));
    assert.ok(section(document, '## Limits').includes(`${maxFdsPerMessage} descriptors`));
    assert.ok(section(document, '## Transport').includes(`${maxPacket} bytes`));
  });
});
