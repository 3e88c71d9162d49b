/** Places on a disk are those of FORMAT.md, also beyond 2^32. */
import t from 'tap'
import {
  DISK_BYTES_LEAST, diskBytesFor, isSegmentSize, rootOffsetBytes, SEGMENT_BYTES_DEFAULT, segmentCountFor,
  segmentOffsetBytes, superblockOffsetBytes,
} from '../../../engine/log/geometry.ts'
import { MIB } from '../../../engine/units.ts'

t.test('places are the ones of FORMAT.md', (t) => {
  t.same([0, 1, 2, 3].map(superblockOffsetBytes), [0, 16384, 32768, 49152])
  t.equal(rootOffsetBytes(0, 0), MIB)
  t.equal(rootOffsetBytes(0, 1), MIB + 4096)
  t.equal(rootOffsetBytes(63, 1), MIB + 127 * 4096)
  t.equal(segmentOffsetBytes(65536, 0), 2 * MIB)
  t.equal(segmentOffsetBytes(SEGMENT_BYTES_DEFAULT, 300_000), 2 * MIB + 300_000 * SEGMENT_BYTES_DEFAULT, 'beyond 2^32')
  for (const copy of [-1, 4]) t.throws(() => superblockOffsetBytes(copy))
  for (const [stream, slot] of [[64, 0], [0, 2], [-1, 0]] as const) t.throws(() => rootOffsetBytes(stream, slot))
  t.end()
})

t.test('a disk holds whole segments only', (t) => {
  for (const count of [0, 1, 7]) {
    const size = diskBytesFor(count, 65536)
    t.equal(segmentCountFor(size, 65536), count)
    t.equal(segmentCountFor(size + 65535, 65536), count)
  }
  t.equal(segmentCountFor(0, 65536), 0)
  t.equal(segmentCountFor(DISK_BYTES_LEAST, SEGMENT_BYTES_DEFAULT), 8)
  t.same([0, 65535, 65536, 65537, 131072].map(isSegmentSize), [false, false, true, false, true])
  t.end()
})
