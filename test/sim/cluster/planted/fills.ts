/**
 * Bugs of filling and joining (SPEC section 5, C5).
 */
import { bug, focusOn, storeBug } from './planted-bug.ts'

export const FILLS = [
  bug('a copy joins with what it has', 'I6, I7, C5', [
    ['fill-source.ts', 'if (peer.storedSeq < Math.max(log.commitSeq, log.epochs.at(-1)?.[1] ?? 0)) continue', ''],
    ['commit.ts', "if (fill?.phase === 'joining') required.add(node)", 'void [node, fill]'],
  ]),
  bug(
    'a copy joins without the epoch record of now',
    'I7, C5, design 9',
    [
      [
        'fill-source.ts',
        'if (peer.storedSeq < Math.max(log.commitSeq, log.epochs.at(-1)?.[1] ?? 0)) continue',
        'if (peer.storedSeq < log.commitSeq) continue',
      ],
    ],
    { looksAt: focusOn('keptJoins') },
  ),
  bug('a late fill-start wipes what was answered since', 'I6, F2, design 2', [
    ['fill-target.ts', 'if (message.joinOf !== state.joinNumber) return', ''],
    [
      'fill-target.ts',
      'former.instance === instance && fill <= former.fill) {',
      'former.instance === instance && fill < 0) {',
    ],
  ]),
  bug(
    'a fill begins below what became known as committed since',
    'I15, F1',
    [['fill-target.ts', 'if (fork > 0 && fork < knownCommitSeq(state)) return', '']],
    { looksAt: focusOn('staleFills', 'rejoins'), caughtBy: 'test/engine/replication/late-news.test.ts' },
  ),
  bug(
    'what was stored in an earlier fill counts',
    'I6, W3, design 3',
    [
      [
        'primary.ts',
        'if (!peer.isFollowing || (message.fill ?? 0) !== peer.fillId) return',
        'if (!peer.isFollowing) return',
      ],
    ],
    { looksAt: focusOn('refills'), caughtBy: 'test/engine/replication/late-news.test.ts' },
  ),
  bug('a copy joins with what former terms flushed in memory alone', 'I13, C5', [
    ['fill-source.ts', 'Math.max(fill.joinSeq, log.epochs.at(-1)?.[1] ?? 0)', 'fill.joinSeq'],
  ], { caughtBy: 'test/engine/replication/flushed-join.test.ts' }),
  bug('it is consistent before the disk says so', 'I12, F4', [
    [
      'fill-target.ts',
      "port.store.keep(token, { consistency: { state: 'consistent', target: consistency.target } })",
      "port.store.keep(token, { consistency: { state: 'consistent', target: consistency.target } })\n" +
        '  onFillEndKept(turn, target.fill, from)',
    ],
  ]),
  bug('blocks above the target are filled', 'I15, F3', [
    ['fill-source.ts', 'upTo: target, cursor', 'upTo: Number.MAX_SAFE_INTEGER, cursor'],
  ]),
  bug(
    'blocks above the target are filled, and nobody looks',
    'I15, F3',
    [
      ['fill-source.ts', 'upTo: target, cursor', 'upTo: Number.MAX_SAFE_INTEGER, cursor'],
      [
        'fill-target.ts',
        'versions.some(({ seq }) => seq > target.target)',
        'versions.some(({ seq }) => seq < 0)',
      ],
    ],
    { looksAt: focusOn('fills') },
  ),
  bug('a fill ends before its last slice', 'I16, F4', [
    ['fill-source.ts', '    fill.slices.shift()\n', '    fill.slices = []\n'],
  ]),
  bug('a slice is done with its first message', 'I16, F3', [
    [
      'fill-source.ts',
      'const slicesDone = cursor === undefined ? [fill.slices[0]![0]] : []',
      'const slicesDone = [fill.slices[0]![0]]',
    ],
  ]),
  bug(
    'a slice is whole without the records that overwrote it',
    'I16, F3',
    [['fill-target.ts', 'wholeSeq: appliedSeq ?? 0', 'wholeSeq: 0 * (appliedSeq ?? 0)']],
    { looksAt: focusOn('fillCrashes', 'fills', 'rejoins'), caughtBy: 'test/scenario/scenario.test.ts' },
  ),
  bug('a fill brings the newest version of each block only', 'I21, I16, F3', [
    [
      'fill-source.ts',
      'const piece: FillPiece = { number: ++fill.number, versions,',
      'const last = new Map(versions.map((one) => [one.lba, one]))\n    ' +
        'const piece: FillPiece = { number: ++fill.number, versions: [...last.values()],',
    ],
  ]),
  bug('a fill leaves out trims and zeroes', 'I17, I20, F3', [
    [
      'fill-source.ts',
      'const piece: FillPiece = { number: ++fill.number, versions,',
      'const piece: FillPiece = { number: ++fill.number, ' +
        "versions: versions.filter(({ kind }) => kind === 'write'),",
    ],
  ]),
  bug('a fill begins at the fork whatever the copy knows as committed', 'I16, F1', [
    [
      'fill-source.ts',
      '!isForeign && common >= report.commitSeq && common >= reached',
      '!isForeign && common >= reached',
    ],
  ]),
  bug('an unfinished fill counts as whole up to its target', 'I16, I20, F1, design 14', [
    ['fill-source.ts', 'const former = unfilled.get(slice) ?? fork', 'const former = fork'],
  ]),
  bug('traces of trims are not kept for those who are away', 'I20, F1', [
    [
      'configuration-change.ts',
      'const isAway = Object.keys(members).some((node) => !inSync.includes(node))',
      'const isAway = inSync.some((node) => members[node] === undefined)',
    ],
  ]),
  bug(
    'a delta is made below a trim that left no trace',
    'I20, F1',
    [
      [
        'fill-source.ts',
        'const provable = (base: number): boolean => base >= forgottenSeq && base',
        'const provable = (base: number): boolean => base',
      ],
      [
        'fill-source.ts',
        "assert(base === 0 || base >= forgottenSeq, 'I20: a base lies above what may be forgotten')",
        '',
      ],
    ],
    {
      // While all are in the set trims leave no trace, and one of them lost its end and is filled where it is.
      looksAt: ({ mode, minInSync, copies, weights, faults }) =>
        mode === 'writeback' && minInSync === copies && weights.trim > 0 && faults.includes('power-loss'),
    },
  ),
  // Not: a delta over a rollback. Stores keep what snapshots show, and the descriptor says what was rolled back.
  bug('a filled copy does not learn what was rolled back', 'I16, I20, F2', [
    [
      'fill-source.ts',
      'descriptor: turn.port.store.descriptor(),',
      'descriptor: { ...(turn.port.store.descriptor() as object), rollbacks: [] },',
    ],
  ]),
  bug(
    'a filled copy does not know what trims were forgotten',
    'I20, F2, design 13',
    [['fill-target.ts', 'state.forgottenSeq = Math.max(state.forgottenSeq, message.forgottenSeq)', '']],
    { looksAt: focusOn('rejoins', 'fills') },
  ),
  bug(
    'a slice with nothing in common is not wiped',
    'I16, F7',
    [['fill-source.ts', 'if (base === 0) wipe.push(slice)', '']],
    { looksAt: focusOn('fills', 'forced') },
  ),
  storeBug(
    'what lies beyond the end of the volume is not wiped',
    'I17, F7, C9',
    [['replication/fill-target.ts', 'wipe: [...wipe, ...beyond]', 'wipe: [...wipe]']],
    { looksAt: focusOn('staleCommits'), caughtBy: 'test/engine/replication/filling.test.ts' },
  ),
  // Not: a copy that was forced away from is taken for one of ours. Its ids tell, and its commit point.
  bug('a forced promotion leaves the others in the set', 'I7, I10, C9', [
    [
      'configuration.ts',
      'primary: node, inSync: [node], epoch',
      'primary: node, inSync: config.inSync.filter((one) => one !== config.primary), epoch',
    ],
  ]),
  bug(
    'a fill takes its messages in any order, again and again',
    'I16, F3, design 15',
    [
      ['fill-target.ts', 'if (number < target.nextNumber && !target.storing.includes(number)) {', 'if (number < 0) {'],
      [
        'fill-target.ts',
        "if (number !== target.nextNumber || target.phase !== 'filling') return sayAlive(turn, target)",
        '',
      ],
    ],
    { looksAt: focusOn('rejoins', 'fills') },
  ),
  bug('a filled copy takes over epochs that are not committed', 'I5, F2, design 22', [
    [
      'fill-source.ts',
      'epochs: log.epochs.filter(([, firstSeq]) => firstSeq <= target),',
      'epochs: [...log.epochs],',
    ],
  ]),
  bug(
    'a repeated fill-start describes the volume of now',
    'I21, F2, design 22',
    [['fill-source.ts', '{ ...fill.start, epoch })', '{ ...fill.start, epoch, descriptor: port.store.descriptor() })']],
    { looksAt: focusOn('fills') },
  ),
  bug('a filled copy does not take over the windows', 'I19, F2, design 21', [
    ['fill-target.ts', 'state.windows = decodeWindows(message.windows)', 'state.windows = decodeWindows([])'],
  ]),
  bug(
    'a filled copy does not take over the fence',
    'I24, C5, design 17',
    [
      [
        'fill-target.ts',
        'const attach = adopted(state.attach, message.attach)',
        'const { attach } = state',
      ],
      ['fill-source.ts', 'if (!covers(peer.attach, state.attach)) {', 'if (state.attach === undefined) {'],
    ],
    { looksAt: focusOn('ghosts', 'sessions') },
  ),
]
