/**
 * Bugs of reads, leases and grace (SPEC section 8), and of planned hand-overs (C8).
 */
import { bug, focusOn, testBug, type Change } from './planted-bug.ts'

/**
 * None by itself: in every other of the first epochs whoever likes stands, and then waits, bound as it is, before it
 * promises to itself. Two times protect a read, how long a copy is bound and how long its primary counts as there; this
 * takes away the second one.
 */
const EAGER: Change = [
  'candidate.ts',
  'const fromMs = Math.max(grace.goneAtMs, grace.boundUntilMs)',
  'const isEager = config!.config.epoch % 2 === 0 && config!.config.epoch < 40\n  ' +
    'const fromMs = isEager ? 0 : Math.max(grace.goneAtMs, grace.boundUntilMs)',
]

/** None by itself: a release ends both times, and whoever is fastest takes over. */
const RELEASED_ALL: Change = [
  'grace.ts',
  'free(turn, { isBound: true, isWatched: false })',
  'free(turn, { isBound: true, isWatched: true })',
]

export const LEASES = [
  bug(
    'who is no member takes its primary for gone',
    'I8, L2',
    [['copy.ts', "if (message.why === 'fenced') onLeaderless", "if (message.why !== 'gap') onLeaderless"]],
    { looksAt: focusOn('leases') },
  ),
  testBug(
    'who is named since it was fenced is waited for',
    'L5',
    'test/engine/replication/next-copy.test.ts',
    [['replication/grace.ts', 'if (isNamedSince) port.send', 'if (isNamedSince && endedAt < 0) port.send']],
  ),
  bug(
    'a read needs no lease',
    'I8, L4',
    [['reads.ts', '.lease.untilMs <= nowMs) return false', '.lease.untilMs === nowMs) return false']],
    { looksAt: focusOn('leases') },
  ),
  bug(
    'a read in confirm mode asks nobody',
    'I8, L4',
    [
      [
        'reads.ts',
        "if (state.options.readCheck !== 'lease') return false",
        "if (state.options.readCheck !== 'lease') return true",
      ],
    ],
    { looksAt: focusOn('leases') },
  ),
  bug(
    'a lease counts from the answer, not from the question',
    'I8, L3',
    [
      ['reads.ts', 'event.sentAtMs + state.options.leaseMs', 'nowMs + state.options.leaseMs'],
      ['reads.ts', 'round.askedAtMs + state.options.leaseMs', 'state.options.leaseMs + turn.nowMs'],
    ],
    { looksAt: focusOn('leases') },
  ),
  bug(
    'an answer to an older question counts',
    'I8, L3, design 18',
    [['reads.ts', '|| round.token !== token) return', ') return']],
    { looksAt: focusOn('leases') },
  ),
  bug(
    'leases of the known set alone are needed',
    'I8, L4, design 8',
    [
      [
        'reads.ts',
        'for (const node of primary.required) if (primary.peers.get(node)!.lease',
        'for (const node of state.config!.config.inSync) if (node !== state.options.node && ' +
          'primary.peers.get(node)!.lease',
      ],
    ],
    { looksAt: focusOn('leases') },
  ),
  bug(
    'a member promises to another before its grace ends',
    'I8, L2',
    [
      ['grace.ts', 'return nowMs >= grace.boundUntilMs\n}', 'return nowMs >= grace.startedAtMs\n}'],
      EAGER,
    ],
    { looksAt: focusOn('leases') },
  ),
  bug(
    'a candidate forgets that it is bound itself',
    'I8, C3',
    [
      ['promotion.ts', 'if (!mayPromiseTo(turn, state.options.node)) {', 'if (nowMs < 0) {'],
      [
        'promotion.ts',
        'const { state } = turn\n  const primary = state.primary!\n  const reconciling = ' +
          'primary.reconciling!\n  switch',
        'const { state, nowMs } = turn\n  const primary = state.primary!\n  const reconciling = ' +
          'primary.reconciling!\n  switch',
      ],
      EAGER,
    ],
    { looksAt: focusOn('leases') },
  ),
  bug(
    'grace is forgotten at a restart',
    'I8, L7',
    [
      [
        'grace.ts',
        'grace.boundUntilMs = isFree ? nowMs : nowMs + options.graceMs',
        'grace.boundUntilMs = isFree ? 0 : nowMs',
      ],
      EAGER,
    ],
    { looksAt: focusOn('leases'), caughtBy: 'test/engine/replication/leases.test.ts' },
  ),
  bug('beacons extend no grace', 'I8, L2', [
    ['grace.ts', 'const untilMs = heardAtMs + options.graceMs', 'const untilMs = grace.startedAtMs + options.graceMs'],
  ]),
  bug(
    'a late release frees from a later promise',
    'I8, L5, design 7',
    [
      [
        'grace.ts',
        'if (from !== promise.primary || message.epoch !== promise.epoch) return\n  if (message.token ' +
          '!== undefined && message.token < grace.confirmToken) return',
        'if (from !== promise.primary) return',
      ],
      RELEASED_ALL,
    ],
    { looksAt: focusOn('formerTimes') },
  ),
  bug(
    'the end of a former instance frees from the next one',
    'I8, L5, design 19',
    [['grace.ts', 'if (grace.instances.get(node) !== instance) return\n  free', 'free']],
    { looksAt: focusOn('formerTimes') },
  ),
  bug(
    'a hand-over that was not won serves on',
    'I8, C8, design 7',
    [
      ['hand-over.ts', 'if (isReleased) return progressHandOver(turn)', ''],
      [
        'hand-over.ts',
        'for (const peer of primary.peers.values()) peer.lease = { untilMs: -Infinity, instance: undefined }',
        '',
      ],
      ['reads.ts', 'if (state.primary!.handingOver?.isReleased === true) return', ''],
      RELEASED_ALL,
    ],
    { looksAt: focusOn('lostHandOvers', 'sessions') },
  ),
  bug('a dead node binds by its beacons', 'I22, L2, design 6', [
    [
      'grace.ts',
      'if (primary !== undefined || grace.instances.get(from) !== instance) return\n  const endedAt',
      'if (primary === undefined) return\n  const endedAt',
    ],
  ]),
  bug(
    'what a fenced copy said counts of the next one on its node',
    'I8, L5',
    [['grace.ts', 'const endedAt = grace.ended.get(instance) ?? -1\n  const untilMs',
      'const endedAt = grace.ended.has(instance) ? Infinity : -1\n  const untilMs']],
    { caughtBy: 'test/engine/replication/next-copy.test.ts' },
  ),
]
