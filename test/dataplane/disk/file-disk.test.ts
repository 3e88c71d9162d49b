/** What the real disk adds to the contract: where writes run, how many calls run, and its ends. */
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { createDiskFile, openDiskFile, type DiskFile } from '../../../dataplane/disk/disk-file.ts'
import { FileDisk, type FileDiskOptions } from '../../../dataplane/disk/file-disk.ts'

const MIB = 1 << 20
const dir = t.testdir()
let count = 0

function make(options: FileDiskOptions = {}): { disk: FileDisk; file: DiskFile } {
  const file = createDiskFile(path.join(dir, `disk-${count++}`), 8 * MIB)
  if (!file.ok) throw file.error
  const disk = FileDisk.open(file.value, options)
  if (!disk.ok) throw disk.error
  return { disk: disk.value, file: file.value }
}

const descriptors = () => fs.readdirSync('/proc/self/fd').length
const close = (disk: FileDisk) => new Promise<void>((resolve) => disk.close(resolve))
const sync = (disk: FileDisk) => new Promise<boolean>((resolve) => disk.sync(resolve))

t.test('writes run inline while little is dirty, and again after a sync', async (t) => {
  const { disk, file } = make({ dirtyBytesMax: 64 * 1024, inlineBytesMax: 32 * 1024 })
  const bytes = (kib: number) => [new Uint8Array(kib * 1024).fill(kib)]
  const late: boolean[] = []
  const write = (kib: number) => disk.write(0, bytes(kib), (ok) => late.push(ok))
  t.same([write(32), write(32)], [true, true])
  t.equal(write(4), false, 'too much is dirty')
  t.equal(await sync(disk), true)
  t.same(late, [true])
  t.equal(await sync(disk), true)
  t.equal(write(64), false, 'too long to copy here')
  t.equal(await sync(disk), true)
  t.equal(await sync(disk), true)
  t.equal(write(4), true)
  await close(disk)
  fs.closeSync(file.fd)
})

t.test('a read of what was just written comes from memory', async (t) => {
  const { disk, file } = make()
  const into = new Uint8Array(8192)
  disk.write(4096, [new Uint8Array(4096).fill(1), new Uint8Array(4096).fill(2)], () => {})
  if (disk.tryRead(4096, into)) t.same([into[0], into[4095], into[4096], into[8191]], [1, 1, 2, 2])
  else t.pass('tryRead', { skip: 'this file system has no RWF_NOWAIT' })
  await close(disk)
  fs.closeSync(file.fd)
})

t.test('neither reads nor syncs starve the others, and close waits for all', async (t) => {
  const { disk, file } = make({ operationsMax: 2 })
  const before = descriptors()
  const ended = { reads: 0, syncs: 0 }
  // Each kind keeps the queue full until one of the other kind has ended: starvation would last for ever.
  await new Promise<void>((resolve) => {
    const read = (): void => {
      disk.read(0, new Uint8Array(4096), () => {
        ended.reads++
        if (ended.syncs === 0) read()
        else if (ended.reads > 0) resolve()
      })
    }
    for (let i = 0; i < 8; i++) read()
    disk.sync(() => ended.syncs++)
  })
  await new Promise<void>((resolve) => {
    let readEnded = false
    const sync = (): void => {
      disk.sync(() => (readEnded ? resolve() : sync()))
    }
    for (let i = 0; i < 8; i++) sync()
    disk.read(0, new Uint8Array(4096), () => {
      readEnded = true
    })
  })
  let last = 0
  for (let i = 0; i < 20; i++) disk.read(i * 4096, new Uint8Array(4096), () => last++)
  for (let i = 0; i < 20; i++) disk.sync(() => last++)
  await close(disk)
  t.equal(last, 40)
  t.equal(descriptors(), before - 3, 'one descriptor for data, one for each sync')
  t.throws(() => disk.sync(() => {}), /was not closed/)
  fs.closeSync(file.fd)
})

t.test('each worker opens the disk anew under the one lock', async (t) => {
  const { disk, file } = make()
  const second = FileDisk.open(file)
  t.ok(second.ok)
  if (!second.ok) return
  disk.write(0, [new Uint8Array(4096).fill(7)], () => {})
  const into = new Uint8Array(4096)
  t.equal(await new Promise((resolve) => second.value.read(0, into, resolve)), true)
  t.equal(into[9], 7)
  await close(disk)
  t.equal(await sync(second.value), true)
  t.equal(openDiskFile(file.path).ok, false, 'still locked')
  await close(second.value)
  fs.closeSync(file.fd)
  const again = openDiskFile(file.path)
  t.equal(again.ok, true)
  if (again.ok) fs.closeSync(again.value.fd)
})

t.test('a file that was cut short answers reads with an error, and the disk stays', async (t) => {
  const { disk, file } = make()
  fs.truncateSync(file.path, 4096)
  const read = (offset: number) => new Promise((resolve) => disk.read(offset, new Uint8Array(8192), resolve))
  t.same([await read(0), await read(8192)], [false, false])
  t.equal(disk.tryRead(0, new Uint8Array(8192)), false)
  t.equal(disk.failure, undefined)
  await close(disk)
  fs.closeSync(file.fd)
})
