/** Parts of any request: they tile it, and each of them fits one record of every copy. */
import fc from 'fast-check'
import t from 'tap'
import { partsOf } from '../../../engine/replication/request-parts.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS } from '../../../engine/units.ts'

const within = (sizeBlocks: number, lba: number, blockCount: number): boolean =>
  Math.floor(lba / sizeBlocks) === Math.floor((lba + blockCount - 1) / sizeBlocks)

/** Near the end of a page, and of a slice. */
const offset = fc
  .tuple(
    fc.constantFrom(0, 1, 5), fc.constantFrom(PAGE_BLOCKS, SLICE_BLOCKS), fc.integer({ min: -40, max: 40 }),
    fc.nat(4095),
  )
  .map(([n, unit, blocks, bytes]) => Math.max(0, (n * unit + blocks) * BLOCK_BYTES + bytes))

const length = fc.integer({ min: 1, max: 3_000_000 })

t.test('a write', (t) => {
  fc.assert(
    fc.property(offset, length, fc.constantFrom(1, 32, 256), (at, lengthBytes, most) => {
      const parts = partsOf({ type: 'write', offsetBytes: at, lengthBytes, data: undefined, fua: false }, most)
      let next = at
      for (const { lba, blockCount, skipBytes, fromBytes, lengthBytes: bytes } of parts) {
        if (blockCount > most || !within(PAGE_BLOCKS, lba, blockCount)) return false
        if (lba * BLOCK_BYTES + skipBytes !== next || fromBytes !== next - at) return false
        next += bytes
      }
      return next === at + lengthBytes
    }),
  )
  t.end()
})

t.test('a read, a trim', (t) => {
  fc.assert(
    fc.property(offset, length, fc.boolean(), (offsetBytes, lengthBytes, isRead) => {
      const operation = isRead
        ? ({ type: 'read', offsetBytes, lengthBytes } as const)
        : ({ type: 'trim', offsetBytes, lengthBytes, fua: false } as const)
      const parts = partsOf(operation, 32)
      const covered = parts.reduce((sum, { blockCount }) => sum + blockCount, 0)
      const first = Math.floor(offsetBytes / BLOCK_BYTES)
      const end = Math.ceil((offsetBytes + lengthBytes) / BLOCK_BYTES)
      return covered === end - first && parts.every(({ lba, blockCount }) => within(SLICE_BLOCKS, lba, blockCount))
    }),
  )
  t.end()
})
