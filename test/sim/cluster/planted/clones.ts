/**
 * Bugs of clones: what a copy shares, what it keeps for others, hydration (cluster/reconcile/CLONES.md). Found by seeds
 * in which clones are made, which are above those that are counted for the others.
 */
import { cloneBug, testBug } from './planted-bug.ts'

export const CLONES = [
  cloneBug('what is left of an origin goes although clones read it', 'L4, B5', [
    [
      'volume/copy-sharing.ts',
      '      if (copy.bodies.pins.length > 0) continue\n      this.remains.delete(copy)',
      '      this.remains.delete(copy)',
    ],
    ['volume/copy-store.ts', 'if (isRemoved && pins.length > 0) {', 'if (isRemoved && pins.length < 0) {'],
    [
      'volume/copy-filling.ts',
      'if (start.wipe.length > 0 && bodies.pins.length > 0) yield*',
      'if (start.wipe.length < 0) yield*',
    ],
  ]),
  cloneBug('a copy that is filled is cloned', 'I21, B1', [
    [
      'volume/copy-sharing.ts',
      'if (!origin.isWhole || filling.isSettling || bodies.fillsPending > 0) return',
      'if (filling.isSettling && bodies.fillsPending < 0) return',
    ],
  ], { caughtBy: 'test/engine/volume/clone-copy.test.ts' }),
  cloneBug('a slice is its own before its blocks are there', 'L1, B4', [
    [
      'volume/copy-hydration.ts',
      'filling.insert(versions, () => end(true))',
      'filling.insert(versions, () => {})\n      end(true)',
    ],
  ], { caughtBy: 'test/engine/volume/clone-copy.test.ts' }),
  cloneBug('what a clone shares is not repaired', 'I22, B8', [
    [
      'volume/copy-repair.ts',
      "if (own !== 'none' || !isSharedAt(map, id.lba)) return own",
      "if (own !== 'none' || map.isClone || !map.isClone) return own",
    ],
  ]),
  cloneBug('a clone begins with the epochs of now', 'K1', [
    [
      'volume/copy-sharing.ts',
      'const epochs = now.epochs.filter(([, firstSeq]) => firstSeq <= seq)',
      'const epochs = now.epochs.filter(([, firstSeq]) => firstSeq <= seq + now.epochs.length)',
    ],
  ]),
  cloneBug("a clone's copy that crashed forgets where it began", 'I22, K2', [
    ['volume/copy-sharing.ts', 'appliedSeq: seq, baseSeq: seq }', 'appliedSeq: seq }'],
  ]),
  cloneBug('a pin goes while its clone reads', 'L4, B2', [
    [
      'volume/copy-sharing.ts',
      'if (!readers.has(cloneId) && this.making.get(cloneId) !== copy)',
      'if (this.making.get(cloneId) !== copy)',
    ],
  ]),
  cloneBug('a filling wipes what clones read', 'L4, B4', [
    [
      'volume/copy-filling.ts',
      'if (start.wipe.length > 0 && bodies.pins.length > 0) yield*',
      'if (start.wipe.length < 0) yield*',
    ],
  ]),
  cloneBug('a clone shows what its origin shows now', 'I10, B3', [
    [
      'volume/copy-base.ts',
      'if (hasEntry(head, 0) && !views.hidden(viewSeq, seqOf(head, 0))) best = head',
      'if (hasEntry(head, 0)) best = head',
    ],
  ]),
  cloneBug('a trim over a base leaves no trace', 'I20', [
    ['log/volume-map.ts', 'descriptor.origin !== null || descriptor.copy?.facts', 'descriptor.copy?.facts'],
  ]),
  testBug('what only clones show is another digest', 'M5, B2', 'test/engine/volume/copy-digest.test.ts', [
    ['volume/copy-digest.ts', 'map.views.shownByList(seqs)', 'map.views.shownBySnapshots(seqs)'],
  ]),
  testBug('a copy is filled with what only clones show', 'I22, B2', 'test/engine/volume/clone-copy.test.ts', [
    ['volume/slice-scan.ts', 'const isRead = hasPins(target.map)', 'const isRead = hasPins(target.map) && slice < 0'],
  ]),
  testBug('who shows what is damaged in its origin is not told', 'I22, B8', 'test/engine/volume/clone-copy.test.ts', [
    ['volume/copy-store.ts', 'if (read.length > 0) this.o.tellReaders(this, read)', ''],
  ]),
  testBug('a repair waits for the filling that waits for it', 'I22, B4', 'test/engine/volume/clone-copy.test.ts', [
    ['volume/copy-appends.ts', 'if (shortOf(held) === undefined) return held.run()', 'return this.hold(held)'],
  ]),
  testBug('who comes back is wiped before it is asked', 'D9', 'test/engine/replication/filling.test.ts', [
    ['replication/fill-losses.ts', 'return isWaiting && nowMs - peer.spareSinceMs! < mostMs', 'return false'],
  ]),
  testBug('a mark is kept where a filling brings the block', 'D8', 'test/engine/volume/lost-mark.test.ts', [
    ['log/fill-version.ts', 'isMark(same) && !isMark(entry)', 'isMark(same) && isMark(entry)'],
  ]),
  testBug('a slice is its own before that is durable', 'B4', 'test/crash/copy-images.test.ts', [
    [
      'volume/copy-bodies.ts',
      'this.origin = originWithout(this.origin, slices)\n      this.writeLocal',
      'this.origin = originWithout(this.origin, slices)\n' +
        '      this.install({ ...this.now, origin: this.origin })\n      this.writeLocal',
    ],
  ]),
  testBug('hydration ends at a block that every copy lost', 'B8', 'test/engine/volume/clone-copy.test.ts', [
    ['volume/copy-hydration.ts', 'damaged)\n          at++', 'damaged)\n          return undefined'],
  ]),
  testBug('a block that every copy lost is looked at again and again', 'B8', 'test/engine/volume/clone-copy.test.ts', [
    ['volume/copy-hydration.ts', 'Math.min(2 * wish.waitMs, RETRY_MS_MAX)', 'RETRY_MS'],
  ]),
  testBug('a slice is its own without what could not be read', 'L1, B4', 'test/engine/volume/clone-copy.test.ts', [
    ['volume/copy-hydration.ts', 'return isWhole && this.unreadable === 0', 'return isWhole'],
  ]),
  cloneBug('hydration ends behind its first page', 'L1', [
    ['volume/copy-hydration.ts', 'from = page + 1', 'from = end'],
  ], { caughtBy: 'test/engine/volume/clone-copy.test.ts' }),
]
