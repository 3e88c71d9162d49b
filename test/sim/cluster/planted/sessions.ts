/**
 * Bugs of sessions, fences and frontends (SPEC section 6).
 */
import { bug, focusOn, storeBug } from './planted-bug.ts'

export const SESSIONS = [
  bug('a request that took effect is new', 'I19, S1', [
    ['session-window.ts', 'if (request < window.floor || window', 'if (request < 0 && window'],
  ]),
  bug('a request that is in the log is new', 'I19, S1', [
    [
      'session-window.ts',
      "return numberedAt(window.ordered, request)?.includes(part) === true ? 'ordered' : 'new'",
      "return 'new'",
    ],
  ]),
  bug(
    'a refused request may come back',
    'I19, S1, design 16',
    [
      [
        'session-window.ts',
        'Math.max(id.answeredBelow ?? 0, window.highest - REQUEST_SPAN_MAX)',
        'window.highest - REQUEST_SPAN_MAX',
      ],
      ['primary.ts', 'if (id.request < session.answeredBelow) return', ''],
      ['primary.ts', 'const isAnswered = id.request < session.answeredBelow', 'const isAnswered = false'],
      ['primary.ts', 'const code = session.refused.get(id.request)?.get(id.part)', 'const code = undefined'],
      ['primary.ts', 'if (session === undefined || epoch < primary.sinceEpoch) {', 'if (session === undefined) {'],
      [
        'frontend-replies.ts',
        'if (code !== undefined && isChange(request.operation) && state.answeredBelow <= number) {',
        'if (isChange === undefined) {',
      ],
    ],
    // Frontends send nothing that is refused for good, but after a forced promotion that lost a resize (C9).
    { looksAt: focusOn('staleCommits') },
  ),
  storeBug(
    'a refusal is forgotten',
    'I19, S1',
    [
      [
        'replication/primary.ts',
        'const code = session.refused.get(id.request)?.get(id.part)',
        'const code = undefined',
      ],
    ],
    { looksAt: focusOn('staleCommits'), caughtBy: 'test/engine/replication/clients.test.ts' },
  ),
  bug('each fence takes with it what is known of sessions', 'I19, S1', [
    ['copy-state.ts', 'windows.filter((window) => !isOver(window) || isServed(window))', 'windows.filter(isServed)'],
  ]),
  bug(
    'a fence is not waited for',
    'I24, S2',
    [['sessions.ts', 'return missing.length === 0 && covers(state.durableAttach, own)', 'return true']],
    { looksAt: focusOn('ghosts', 'sessions') },
  ),
  bug('an older holder is served', 'I24, S2', [
    ['sessions.ts', "if (attach.holders[from] !== session.generation) return 'stale-session'", ''],
    ['sessions.ts', 'primary.sessions = primary.sessions.filter(stays)', ''],
  ]),
  bug('who holds it no more is served until he asks anew', 'I24, S2', [
    ['sessions.ts', "return refusal === 'wait' ? undefined : refusal", 'return undefined'],
  ]),
  bug('an older session of a holder is opened', 'I24, S2', [
    [
      'sessions.ts',
      "return session.incarnation < leastIncarnation(state.attach, session.generation) ? 'stale-session' : undefined",
      'return undefined',
    ],
  ]),
  bug(
    'a late fence takes away what came since',
    'I24, S2',
    [['session-fence.ts', 'const stays = own.incarnations.filter(', 'const stays = [].filter(']],
    { looksAt: focusOn('ghosts', 'sessions') },
  ),
  bug('the former session stays open beside the new one', 'I24, S2', [
    ['sessions.ts', 'primary.sessions = primary.sessions.filter(stays)', ''],
  ]),
  bug('anybody may write', 'I24, S3', [
    ['sessions.ts', "if (attach.holders[from] !== session.generation) return 'stale-session'", ''],
  ]),
  // No session is open before every member has its fence; a disk that lied may have lost it since.
  storeBug(
    'a new primary forgets whom the set refused',
    'I24, S2',
    [[
      'replication/log-choice.ts',
      'if (isShorter || !covers(state.attach, fence)) keepAttach(turn, fence, undefined)',
      '',
    ]],
    { looksAt: focusOn('lostFences') },
  ),
  bug('a fence is answered before it is durable', 'I24, S2', [
    [
      'replica.ts',
      'else keepAttach(turn, adopted(state.attach, fence), from)',
      "else {\n    keepAttach(turn, adopted(state.attach, fence), undefined)\n    port.send(from, { type: " +
        "'fenced', epoch, fence })\n  }",
    ],
  ]),
  bug('overlapping requests go out together', 'I9, S5', [
    ['range-order.ts', 'return blockers === 0\n}', 'return true\n}'],
  ]),
  bug(
    'a socket that closed lets go of what was sent',
    'I9, S5',
    [
      [
        'frontend.ts',
        'if (request.connection === event.connection) abandon(state, request)',
        'if (request.connection === event.connection && request.isWanted) leave(state, request)',
      ],
    ],
    { looksAt: ({ faults }) => faults.includes('socket-lost') },
  ),
  bug(
    'a request that failed in time lets go of its range',
    'I9, S5',
    [
      [
        'frontend.ts',
        "port.answer(request.connection, request.tag, { ok: false, code })\n    abandon(state, request)",
        "port.answer(request.connection, request.tag, { ok: false, code })\n    leave(state, request)",
      ],
    ],
    { looksAt: ({ ioTimeoutMs }) => ioTimeoutMs > 0 },
  ),
  bug('a request that is sent again has a new number', 'I19, S5', [
    [
      'frontend-sending.ts',
      'id: { generation, incarnation, request: one.number,',
      'id: { generation, incarnation, request: one.number + (one.attempts > 0 && one.operation.type ' +
        "!== 'read' ? 500 : 0),",
    ],
  ]),
  bug(
    'an answer of a lower epoch is taken',
    'I9, S5',
    [['frontend-replies.ts', 'if (!believes(state.link, from, epoch)) return', '']],
    {
      harmless:
        'a lease or a round ends before a later primary serves (L4), so a read that comes late is of a moment after ' +
        'it began; a write that was answered is on all members, so in every later log, or its session is broken ' +
        '(S6), and the next answer tells; it protects one client when clocks run wild',
    },
  ),
]
