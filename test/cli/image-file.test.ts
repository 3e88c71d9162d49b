/**
 * Risk: a server whose block status is nonsense holds a command for ever, or has it read beyond the export. A copy that
 * could not read its file, or write it whole, says success.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { mock } from 'node:test'
import path from 'node:path'
import t from 'tap'
import { dataIn, readInto, writeFrom } from '../../cli/image-file.ts'
import { BLOCK_STATUS, READ } from '../../cli/load/nbd-connection.ts'
import type { Answer, NbdConnection, Request } from '../../cli/load/nbd-connection.ts'
import { MIB } from '../../engine/units.ts'
import { temporaryFolder } from '../temporary-folder.ts'

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

const WATCH = { progress: () => {}, check: () => {} }
/** A file by its place only: its size is told, and nothing else of it. */
const O_PATH = 0o10000000

/** An export that holds `image`, and takes all that is written to it. */
function exportOf(image: Buffer): NbdConnection {
  const ask = async ({ type, offset = 0, length = 0 }: Request): Promise<Answer> => {
    if (type === BLOCK_STATUS) return { errno: 0, data: told([length, 0]) }
    return { errno: 0, data: type === READ ? image.subarray(offset, offset + length) : Buffer.alloc(0) }
  }
  return { sizeBytes: image.length, ask } as unknown as NbdConnection
}

t.test('a file that does not say where its data is has not been read', async (t) => {
  const file = path.join(temporaryFolder(t), 'image')
  fs.writeFileSync(file, randomBytes(MIB))
  const fd = fs.openSync(file, O_PATH)
  t.teardown(() => fs.closeSync(fd))
  const written = writeFrom(exportOf(Buffer.alloc(MIB)), fd, file, 'the import', WATCH)
  await t.rejects(written, { code: 'image-read', detail: { path: file, reason: 'EBADF' } })
})

t.test('a file that ends in a hole, or is nothing else, is read to its end', async (t) => {
  const file = path.join(temporaryFolder(t), 'image')
  const fd = fs.openSync(file, 'w+')
  t.teardown(() => fs.closeSync(fd))
  fs.ftruncateSync(fd, 8 * MIB)
  const connection = exportOf(Buffer.alloc(8 * MIB))
  t.equal(await writeFrom(connection, fd, file, 'the import', WATCH), 0)
  fs.writeSync(fd, randomBytes(MIB), 0, MIB, MIB)
  t.equal(await writeFrom(connection, fd, file, 'the import', WATCH), MIB)
})

t.test('what a write of the file has left over is written, too', async (t) => {
  const file = path.join(temporaryFolder(t), 'image')
  const image = randomBytes(MIB)
  const fd = fs.openSync(file, 'w+')
  t.teardown(() => fs.closeSync(fd))
  const whole = fs.writeSync as (fd: number, bytes: Buffer, at: number, length: number, offset: number) => number
  const half = (...[to, bytes, at, length, offset]: Parameters<typeof whole>): number =>
    whole(to, bytes, at, Math.ceil(length / 2), offset)
  const short = mock.method(fs, 'writeSync', half as typeof fs.writeSync)
  t.teardown(() => short.mock.restore())
  await readInto(exportOf(image), fd, file, 'the export', WATCH)
  t.ok(fs.readFileSync(file).equals(image))
})
