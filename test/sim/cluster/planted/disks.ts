/**
 * Bugs of what a copy does when its disk lost something (SPEC section 10), hunted over the engine's own store.
 */
import { storeBug } from './planted-bug.ts'

export const DISKS = [
  storeBug(
    'a block of a copy is read and not verified',
    'I9, D1',
    [['volume/copy-reader.ts', '!== crcOf(words, w)) return undefined', '!== crcOf(words, w)) void 0']],
  ),
  storeBug(
    'a client is told of damage that another member could mend',
    'I22, D4',
    [['replication/reads.ts', 'return awaitRepair(turn, primary, read, damaged)', 'void awaitRepair']],
  ),
  storeBug(
    'a member says that it lacks what it cannot read',
    'I22, D2',
    [['replication/repair.ts', 'const found = [...versions, ...damaged]', 'const found = versions']],
  ),
  storeBug(
    'a repaired version is not in the map',
    'I22, D3',
    [
      [
        'volume/copy-repair.ts',
        "if (!(yield* moveEntry(stream, map, record, append))) return copy.fail('the index cannot be read')",
        '',
      ],
    ],
  ),
  storeBug(
    'damage that the source of a fill met is forgotten',
    'I22, D4',
    [['replication/fill-source.ts', 'if (damaged !== undefined) noteDamage(turn, damaged)', '']],
  ),
  storeBug(
    'a slice is whole on disk before its versions are',
    'I16, D6',
    [
      [
        'volume/copy-bodies.ts',
        'if (facts.consistency !== undefined) this.copy.filling.whenFilled(keepNow)',
        'if (false as boolean) void 0',
      ],
    ],
  ),
  storeBug(
    'a slice is said to be whole before it is',
    'I16, D6',
    [
      [
        'replication/fill-target.ts',
        'port.store.keep(factToken, { consistency })',
        'state.consistency = consistency\n  port.store.keep(factToken, { consistency })',
      ],
    ],
  ),
  storeBug(
    'rot in the log is taken for a torn tail',
    'I6, D5',
    [['log/log-tail.ts', 'if (next <= watermark)', 'if (next < 0)']],
  ),
  storeBug(
    'a copy that lost a disk takes records for it',
    'I5, D7',
    [['replication/replica.ts', 'lostSlices.length > 0 && consistency', 'lostSlices.length > 99 && consistency']],
  ),
]
