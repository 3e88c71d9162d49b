/**
 * Bugs of the write path: order, store, commit, apply, flush, narrow writes (SPEC section 3, S4, S6).
 */
import { bug, focusOn } from './planted-bug.ts'

export const WRITES = [
  bug(
    'a write is answered before the others stored it',
    'I6, W4',
    [['commit.ts', 'if (storedSeq < seq) seq = storedSeq', 'if (storedSeq < 0) seq = storedSeq']],
  ),
  bug('a write is answered without its own disk', 'I6, W4', [
    ['commit.ts', 'let seq = progressOf(state)', 'let seq = log.tail'],
  ]),
  bug(
    'a write is answered before the eviction has won',
    'I6, W4, C1',
    [
      [
        'commit.ts',
        'if (change !== undefined) for (const node of change.to.inSync) required.add(node)',
        'if (change !== undefined) {\n    required.clear()\n    for (const node of change.to.inSync) ' +
          'required.add(node)\n  }',
      ],
    ],
  ),
  bug(
    'the commit point goes back with a member',
    'I11',
    [['commit.ts', 'if (seq > log.commitSeq) {', 'if (seq !== log.commitSeq) {']],
  ),
  bug('a member that lost something still counts', 'I18, C7', [
    [
      'commit.ts',
      'const storedSeq = peer.failure === undefined ? peer.storedSeq : Math.min(peer.storedSeq, log.commitSeq)',
      'const { storedSeq } = peer',
    ],
    ['peer-reports.ts', 'peer.storedSeq = Math.min(peer.storedSeq, state.log.commitSeq)', ''],
  ]),
  // Who sends computes the fork from ids, and who takes compares them: one of both would do.
  bug('a record is taken behind any other of its place', 'I5, W2', [
    [
      'replica.ts',
      'if (previous.seq > log.tail || !isOurs(state, previous)) return refuse',
      'if (previous.seq > log.tail) return refuse',
    ],
    [
      'record-id.ts',
      'export function forkOf(a: LogSummary, b: LogSummary): number {',
      'export function forkOf(a: LogSummary, b: LogSummary): number {\n  ' +
        'if (a.tail > 0) return Math.min(a.tail, b.tail)',
    ],
  ]),
  bug('a replica trims the first block only', 'I17, I5', [
    [
      'replica.ts',
      'appendRecord(turn, record)\n    verified',
      "appendRecord(turn, record.kind === 'trim' ? { ...record, blockCount: 1 } : record)\n    verified",
    ],
  ]),
  bug('a copy goes on following when another leads', 'I10, W5', [
    ['replica.ts', 'state.isFollowing = false\n    state.followedFill = 0\n  }\n  state.grace', '}\n  state.grace'],
    ['replica.ts', 'if (!isSameTerm) {\n      state.isFollowing = false', 'if (!isSameTerm) {'],
  ]),
  bug('records are applied before they are committed', 'I10, W5', [
    [
      'replica.ts',
      'const seq = Math.min(log.toldCommitSeq, progressOf(turn.state))',
      'const seq = progressOf(turn.state)',
    ],
  ]),
  bug('a checkpoint holds what is not committed', 'I10, W5', [
    [
      'copy-log.ts',
      'port.store.apply(seq, encodeWindows(state.windows))',
      'port.store.apply(log.tail, encodeWindows(state.windows))',
    ],
  ]),
  bug(
    'what is committed is applied one record late',
    'I9, W4',
    [
      [
        'copy-log.ts',
        'port.store.apply(seq, encodeWindows(state.windows))',
        'port.store.apply(seq - 1, encodeWindows(state.windows))',
      ],
    ],
  ),
  bug('a copy that does not follow applies what it is told', 'I10, W5, design 26', [
    ['replica.ts', 'if (turn.state.isFollowing && seq > log.commitSeq)', 'if (seq > log.commitSeq)'],
    ['grace.ts', 'if (primary !== undefined || !isFollowing || from', 'if (primary !== undefined || from'],
  ]),
  bug(
    'a commit point told in another epoch counts',
    'I10, W5, design 26',
    [['grace.ts', 'if (commitSeq !== undefined && epoch === promise.epoch)', 'if (commitSeq !== undefined)']],
    { looksAt: focusOn('forgottenTails') },
  ),
  bug('a lost record is never sent again', 'I22, W2', [
    ['copy.ts', 'if (isOwed && nowMs - peer.sentAtMs >= resendAfterMs(turn, peer))', 'if (isOwed && nowMs < 0)'],
    ['primary.ts', 'peer.sentSeq = tail.seq\n      return pump(turn, peer)', 'return'],
  ]),
  bug(
    'requests are ordered while it reconciles',
    'I4, C4',
    [
      ['primary.ts', "if (state.role !== 'primary' || primary === undefined) {", 'if (primary === undefined) {'],
      ['promotion.ts', 'primary.openings = former.openings', 'Object.assign(primary, { sessions: former.sessions })'],
    ],
    // Only who never stopped leading reconciles with open sessions.
    { looksAt: focusOn('lostHandOvers') },
  ),
  bug(
    'flush does not ask the others',
    'I13, S6',
    [['flush.ts', 'for (const peer of requiredPeers(state.primary!)) seq = Math.min(seq, peer.durableSeq)', '']],
  ),
  bug('flush does not wait for its own disk', 'I13, S6', [
    ['flush.ts', 'let seq = state.log.durableSeq', 'let seq = state.log.tail'],
  ]),
  bug('a FUA write is answered when it is written', 'I13, S6', [
    ['commit.ts', 'if (!noteFua(primary, seq)) answer(', 'noteFua(primary, seq)\n      answer('],
  ]),
  bug('a narrow write does not look at its edges', 'I9, S4', [
    ['narrow-writes.ts', 'if (isChanged) answer', 'if (false) answer'],
  ]),
  bug('a narrow write looks at what is applied only', 'I9, S4', [
    [
      'narrow-writes.ts',
      'for (let seq = log.appliedSeq + 1; seq <= log.tail; seq++) noteRecord',
      'for (let seq = log.appliedSeq + 1; seq <= log.appliedSeq; seq++) noteRecord',
    ],
  ]),
  bug('a narrow write does not see a rollback', 'I9, S4, design 23', [
    [
      'narrow-writes.ts',
      "const isRollback = record.kind === 'control' && record.change.operation === 'rollback'",
      'const isRollback = false',
    ],
  ]),
]
