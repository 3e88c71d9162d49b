/**
 * Bugs of the store that keeps a copy (SPEC section 7): what it says is stored, kept and filled, and what a restart
 * makes of it. The simulator meets them with the store of the engine on simulated disks.
 */
import { focusOn, storeBug } from './planted-bug.ts'

export const STORES = [
  storeBug('a fill replaces what is newer', 'I15, F3', [
    [
      'log/fill-version.ts',
      'all.findLast((words) => !views.hidden(Infinity, seqOf(words, 0)))',
      '(views.hidden(Infinity, seqOf(entry, 0)) ? head : entry)',
    ],
  ]),
  storeBug('a slice of another history is not wiped', 'I16, F7', [
    ['volume/copy-filling.ts', 'const isWiped = isKept && (yield* this.wipeTask())', 'const isWiped = isKept'],
    [
      'volume/copy-filling.ts',
      'for (const slice of start.wipe) if (!wiping.includes(slice)) wiping.push(slice)',
      '',
    ],
  ]),
  storeBug(
    'what was cut is back after a restart',
    'I10, C4',
    [['volume/copy-recovery.ts', ' || isDone || views.isVoid(epoch, seq)', ' || isDone']],
    { looksAt: focusOn('terms') },
  ),
  storeBug(
    'an epoch record that was dropped goes at once',
    'I10, C4',
    [
      [
        'volume/copy-queue.ts',
        "if (change?.operation === 'epoch') this.droppedEpochs.push(place)\n    else release(place)",
        'release(place)',
      ],
    ],
    {
      looksAt: focusOn('renewals', 'terms'),
      harmless:
        'it is dropped for a log that was chosen without it, so its term never served: all of its set would have it, ' +
        'and one of them a say. What it cut is back as the end of an older log, which nobody was told is gone',
    },
  ),
  storeBug(
    'a restart applies what is not committed',
    'I10, W5',
    [['volume/copy-recovery.ts', '      if (seq > appliedSeq) {', '      if (seq > appliedSeq + 1) {']],
  ),
  storeBug('a record is stored before it is written', 'I6, W3', [
    [
      'volume/copy-queue.ts',
      'queue[this.head + this.storedCount]!.left === 0)',
      'queue[this.head + this.storedCount]!.left >= 0)',
    ],
  ]),
  storeBug('everything that is written is durable', 'I13, S6', [
    ['volume/copy-queue.ts', 'if (isDurable && seq > this.durableSeq)', 'if (seq > this.durableSeq)'],
  ]),
  storeBug('a promise is kept before it is durable', 'I3', [
    [
      'volume/copy-bodies.ts',
      'const now = this.facts\n    this.writeLocal',
      'const now = this.facts\n    kept()\n    this.writeLocal',
    ],
  ], { caughtBy: 'test/engine/volume/copy-store.test.ts' }),
  storeBug(
    'what its source forgot of trims a copy thinks it knows',
    'I20, F2',
    [['volume/copy-filling.ts', 'map.copy!.forgot(forgottenSeq)', '']],
    { looksAt: focusOn('fills') },
  ),
  storeBug('session windows are kept as they were found', 'I19, S1', [
    ['volume/copy-queue.ts', '    this.appliedSeq = seq\n    this.windows = windows\n', '    this.appliedSeq = seq\n'],
    ['volume/copy-queue.ts', '      map.copy!.windows = windows\n', ''],
  ]),
  storeBug(
    'an index shows what came behind what another disk lost',
    'I5, W3',
    [['volume/store.ts', 'done(!copies.hasLost(stream))', 'done(true)']],
    { looksAt: focusOn('staleIndexes'), caughtBy: 'test/engine/volume/failed-copy.test.ts' },
  ),
]
