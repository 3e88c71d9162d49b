/**
 * Bugs of what a volume shows beside its newest blocks: snapshots, rollbacks, its size; of how blocks are stored
 * (compressed), and of limits. Most are found by seeds of the default swarm, which takes snapshots and rolls back;
 * readers of snapshots and limits have tests of their own.
 */
import { readerBug, storeBug, testBug } from './planted-bug.ts'

export const VIEWS = [
  storeBug('a snapshot stands behind the next record', 'I21', [
    [
      'volume/copy-part.ts',
      'snapshots: [...now.snapshots, snapshotOf(now, change, seq)] }',
      'snapshots: [...now.snapshots, snapshotOf(now, change, seq + 1)] }',
    ],
  ]),
  storeBug('a deleted snapshot stays in the list', 'I21', [
    [
      'volume/copy-part.ts',
      'snapshots: now.snapshots.filter(({ id }) => id !== change.id) }',
      'snapshots: now.snapshots.filter(({ id }) => id !== change.operation) }',
    ],
  ]),
  storeBug('what a rollback keeps is forgotten', 'I21', [
    ['volume/copy-part.ts', '...kept], rollbacks', '...kept.slice(1)], rollbacks'],
  ]),
  storeBug('what a rollback keeps shows what it went back to', 'I21', [
    ['volume/copy-part.ts', '[...now.rollbacks, [to.seq, seq]]', '[...now.rollbacks, [to.seq, seq - 1]]'],
  ]),
  storeBug('a rollback hides what its snapshot showed last', 'I16', [
    ['volume/copy-part.ts', '[...now.rollbacks, [to.seq, seq]]', '[...now.rollbacks, [Math.max(0, to.seq - 2), seq]]'],
  ]),
  storeBug('a copy forgets that its volume grew', 'I16, I22', [
    [
      'volume/copy-part.ts',
      'return { ...now, spec: { ...now.spec, sizeBytes: change.sizeBytes } }',
      'return { ...now, spec: { ...now.spec } }',
    ],
  ]),
  storeBug('a record does not say how its blocks are stored', 'L7', [
    ['log/record.ts', 'view.setUint8(at + 54, record.transform)', 'view.setUint8(at + 54, 0)'],
  ]),
  storeBug('the map forgets how blocks are stored', 'L7', [
    [
      'log/extent-map.ts',
      'lastWord(seqHigh, stored, ENTRY_KIND.data, run.transform)',
      'lastWord(seqHigh, stored, ENTRY_KIND.data, 0)',
    ],
  ]),
  storeBug('a filled block forgets how it is stored', 'L7, F3', [
    ['log/fill-version.ts', '      transform,\n', '      transform: 0 * transform,\n'],
  ]),
  storeBug('a repaired block forgets how it is stored', 'L7, D3', [
    ['volume/copy-repair.ts', 'record.transform = transformOf(', 'record.transform = 0 * transformOf('],
  ], { caughtBy: 'test/engine/volume/clone-compression.test.ts' }),
  readerBug('a snapshot that is read is deleted', 'N4', [
    ['replication/snapshot-uses.ts', "if (why !== '') return", "if (why === 'nobody') return"],
  ]),
  readerBug('who has just begun deletes snapshots of before', 'N4', [
    ['replication/snapshot-uses.ts', 'if (isOfTerm || nowMs >= primary.usesKnownAtMs)', 'if (isOfTerm || nowMs >= 0)'],
  ]),
  readerBug('a snapshot shows the head', 'N1, I21', [
    [
      'volume/snapshot-blocks.ts',
      'if (!needsOlder(map, page.words, from, to, seq)) return',
      'if (needsOlder(map, page.words, from, to, seq) || seq > 0) return',
    ],
  ]),
  testBug('two copies differ by what one has not applied', 'M5', 'test/engine/volume/copy-digest.test.ts', [
    ['volume/digest-comparison.ts', 'if (newestSeq <= bothSeq && digests', 'if (newestSeq >= 0 && digests'],
  ]),
  testBug('other limits fill the bucket', 'G3, B1', 'test/engine/volume/token-bucket.test.ts', [
    [
      'volume/token-bucket.ts',
      'this.#levelThen = Math.min(rate.capacity, this.#levelThen)',
      'this.#levelThen = rate.capacity',
    ],
  ]),
  testBug('a full bucket goes on filling', 'B1', 'test/engine/volume/token-bucket.test.ts', [
    [
      'volume/token-bucket.ts',
      'return Math.min(capacity, this.#levelThen + came - this.#taken)',
      'return this.#levelThen + came - this.#taken + 0 * capacity',
    ],
  ]),
  testBug('a volume takes all of a turn', 'F1', 'test/dataplane/nbd/volume-limits.test.ts', [
    [
      'volume/turn-shares.ts',
      'connection.left = left < 0 ? left + share : share',
      'connection.left = left < share ? Infinity : share',
    ],
  ]),
  testBug('idle connections have a part of a turn', 'F1', 'test/engine/volume/turn-shares.test.ts', [
    ['volume/turn-shares.ts', ': TURN_BYTES / asking', ': TURN_BYTES / of.connections'],
  ]),
  testBug('many connections count as the only ones too soon', 'F2', 'test/engine/volume/turn-shares.test.ts', [
    ['volume/turn-shares.ts', 'this.#alone >= SHARED_TURNS * asking', 'this.#alone >= SHARED_TURNS'],
  ]),
  testBug('a volume keeps its share for later', 'F3', 'test/engine/volume/turn-shares.test.ts', [
    ['volume/turn-shares.ts', 'connection.left = left < 0 ? left + share : share', 'connection.left = left + share'],
  ]),
  testBug('the first in the queue keeps its turn', 'G2', 'test/engine/volume/qos-gate.test.ts', [
    ['volume/qos-gate.ts', 'if (this.#hasPassed) this.#queue.push(this.#queue.shift()!)', ''],
  ]),
]
