/** What is data, a zero or a hole in a range of a volume, from the map alone. */
import { NBD_ERRNO } from '../errors.ts'
import { ENTRY_KIND, ENTRY_WORDS, kindOf } from '../log/entry.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS } from '../units.ts'
import type { Extent } from './block-device.ts'
import type { Target } from './block-reader.ts'

/** Cost O(blocks), and a load for each page that is not in memory. */
export function blockStatus(
  targetOf: (slice: number) => Target,
  range: { offsetBytes: number; lengthBytes: number; extentsMax: number },
  done: (errno: number, extents: Extent[]) => void,
): void {
  const extents: Extent[] = []
  const end = range.offsetBytes + range.lengthBytes
  let at = range.offsetBytes
  const walk = (): void => {
    while (at < end) {
      const lba = Math.floor(at / BLOCK_BYTES)
      const { stream, map } = targetOf(Math.floor(lba / SLICE_BLOCKS))
      if (stream.failed) return done(NBD_ERRNO.EIO, [])
      if (map.isDeleted) return done(NBD_ERRNO.ESHUTDOWN, [])
      const pageNumber = Math.floor(lba / PAGE_BLOCKS)
      const page = stream.map.page(map, pageNumber)
      if (page === undefined) {
        stream.map.load(map, pageNumber, (loaded) => (loaded === undefined ? done(NBD_ERRNO.EIO, []) : walk()))
        return
      }
      const pageEnd = Math.min(end, (pageNumber + 1) * PAGE_BLOCKS * BLOCK_BYTES)
      while (at < pageEnd) {
        const index = Math.floor(at / BLOCK_BYTES) - pageNumber * PAGE_BLOCKS
        const kind = kindOf(page.words, index * ENTRY_WORDS)
        // A clone's hole may show its origin's data.
        const isHole = kind === ENTRY_KIND.trim || (kind === ENTRY_KIND.none && !map.isClone)
        const isZero = isHole || kind === ENTRY_KIND.zero
        let next = (Math.floor(at / BLOCK_BYTES) + 1) * BLOCK_BYTES
        for (let i = index + 1; next < pageEnd && kindOf(page.words, i * ENTRY_WORDS) === kind; i++) next += BLOCK_BYTES
        next = Math.min(pageEnd, next)
        const last = extents.at(-1)
        if (last !== undefined && last.hole === isHole && last.zero === isZero) last.lengthBytes += next - at
        else {
          if (extents.length === range.extentsMax) return done(NBD_ERRNO.NONE, extents)
          extents.push({ lengthBytes: next - at, hole: isHole, zero: isZero })
        }
        at = next
      }
    }
    done(NBD_ERRNO.NONE, extents)
  }
  walk()
}
