/** Risk: a server whose block status is nonsense holds a command for ever, or has it read beyond the export. */
import t from 'tap'
import { dataIn } from '../../cli/image-file.ts'

function told(...ranges: Array<[length: number, flags: number]>): Buffer {
  const bytes = Buffer.alloc(8 * ranges.length)
  ranges.forEach(([length, flags], index) => {
    bytes.writeUInt32BE(length, 8 * index)
    bytes.writeUInt32BE(flags, 8 * index + 4)
  })
  return bytes
}

t.test('data is what is neither a hole nor zeroes', (t) => {
  t.same(dataIn(told([4096, 0], [8192, 3], [4096, 2], [4096, 0]), 65536, 1 << 20), {
    data: [{ offset: 65536, length: 4096 }, { offset: 81920, length: 4096 }], to: 86016,
  })
  t.end()
})

t.test('a range that goes beyond the export is cut off, and what follows it is none', (t) => {
  t.same(dataIn(told([0xffff_ffff, 0], [4096, 0]), 4096, 16384), { data: [{ offset: 4096, length: 12288 }], to: 16384 })
  t.end()
})

t.test('an answer that leads nowhere is none', (t) => {
  t.equal(dataIn(Buffer.alloc(0), 0, 4096), undefined)
  t.equal(dataIn(told([0, 0]), 0, 4096), undefined, 'asked again, it would be the same')
  t.equal(dataIn(told([4096, 0], [0, 3]), 0, 8192), undefined)
  t.equal(dataIn(told([4096, 0]).subarray(0, 7), 0, 4096), undefined, 'no whole range')
  t.end()
})
