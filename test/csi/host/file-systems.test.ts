/**
 * Nothing is formatted that was not blank, and nothing half made stops a volume for ever: on images, with the real
 * mkfs, fsck and blkid. mkfs is cut off by a program of that name that ends early.
 */
// test-timeout-seconds: 120
import {
  chmodSync, closeSync, ftruncateSync, openSync, readSync, statSync, truncateSync, writeFileSync, writeSync,
} from 'node:fs'
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { READ_THROUGH_BYTES_MAX, isZeroThroughout, lookAt } from '../../../csi/host/device-content.ts'
import { checkFileSystem, makeUnlessThere, ownOptions } from '../../../csi/host/file-systems.ts'
import type { FileSystem } from '../../../csi/host/file-systems.ts'
import { formerMark, putMark, takeMark } from '../../../csi/host/format-mark.ts'
import { findProgram } from '../../../csi/host/host-command.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { MIB } from '../../../engine/units.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const SIZE = 512 * MIB
const MARK_AT = SIZE - 512 * 1024
const before = process.env.PATH ?? ''

function image(t: Test, sizeBytes = SIZE): string {
  const file = path.join(temporaryFolder(t), 'device')
  const fd = openSync(file, 'w')
  ftruncateSync(fd, sizeBytes)
  closeSync(fd)
  return file
}

function put(file: string, offset: number, bytes: Buffer): void {
  const fd = openSync(file, 'r+')
  writeSync(fd, bytes, 0, bytes.length, offset)
  closeSync(fd)
}

function bytesAt(file: string, offset: number, length: number): Buffer {
  const [fd, bytes] = [openSync(file, 'r'), Buffer.alloc(length)]
  readSync(fd, bytes, 0, length, offset)
  closeSync(fd)
  return bytes
}

/** Changes with every write. */
const writtenAt = (file: string): bigint => statSync(file, { bigint: true }).mtimeNs

async function untouched(t: Test, file: string, step: () => Promise<unknown>, because: RegExp): Promise<void> {
  const held = writtenAt(file)
  await t.rejects(step(), { code: 'device-content', message: because })
  t.equal(writtenAt(file), held, 'nothing was touched')
}

const wish = (file: string, fsType: FileSystem, isReadOnly = false) =>
  ({ volume: 'v', devicePath: file, fsType, isReadOnly, heldData: async () => undefined })

const FILE_SYSTEMS: FileSystem[] = ['ext4', 'xfs']
for (const fsType of FILE_SYSTEMS) {
  const mkfs = `mkfs.${fsType}` as const
  const skip = findProgram(mkfs) === undefined && `${mkfs} is not installed`
  t.test(fsType, { skip }, async (t) => {
    t.test('made once', async (t) => {
      const file = image(t)
      t.same(await lookAt(file), { kind: 'blank' })
      t.equal(await makeUnlessThere(wish(file, fsType)), true)
      t.same(await lookAt(file), { kind: 'file-system', fsType })
      t.ok(bytesAt(file, MARK_AT, 4096).equals(Buffer.alloc(4096)), 'the mark is gone')
      const held = writtenAt(file)
      t.equal(await makeUnlessThere(wish(file, fsType)), false, 'it is there')
      t.equal(writtenAt(file), held)
      await checkFileSystem(wish(file, fsType))
    })

    t.test('never over something', async (t) => {
      const other = fsType === 'xfs' ? 'ext4' : 'xfs'
      const file = image(t)
      const reading = () => makeUnlessThere(wish(file, fsType, true))
      await untouched(t, file, reading, /no file system, and it is attached for/)
      put(file, 700_000, Buffer.from('x'))
      await untouched(t, file, () => makeUnlessThere(wish(file, fsType)), /holds data that is no file system/)
      put(file, 700_000, Buffer.from([0]))
      put(file, SIZE - 1, Buffer.from('x'))
      await untouched(t, file, () => makeUnlessThere(wish(file, fsType)), /holds data that is no file system/)
      put(file, SIZE - 1, Buffer.from([0]))
      await makeUnlessThere(wish(file, other))
      const because = new RegExp(`is not used as ${fsType}.*holds ${other}`)
      await untouched(t, file, () => makeUnlessThere(wish(file, fsType)), because)
    })

    t.test('half made', async (t) => {
      const planted = temporaryFolder(t)
      t.teardown(() => (process.env.PATH = before))
      const program = findProgram(mkfs)!
      for (const [cut, script] of [
        ['before it wrote anything', 'exit 1'],
        ['when some was written', 'dd if=/dev/urandom of="$last" bs=4096 seek=9 count=1 conv=notrunc 2>&-; exit 1'],
        ['when all was written, before it said so', `${program} "$@" && exit 1`],
      ] as const) {
        const file = image(t)
        writeFileSync(path.join(planted, mkfs), `#!/bin/sh\nfor last; do :; done\n${script}\n`)
        chmodSync(path.join(planted, mkfs), 0o755)
        process.env.PATH = `${planted}:${before}`
        await t.rejects(makeUnlessThere(wish(file, fsType)), { code: 'host-command' }, cut)
        if (fsType === 'xfs' && cut.startsWith('when all')) t.same(await lookAt(file), { kind: 'file-system', fsType })
        else t.same(await lookAt(file), { kind: 'unfinished', markedBytes: SIZE }, 'the next one knows')
        process.env.PATH = before
        await refusesReading(t, file, fsType)
        await makeUnlessThere(wish(file, fsType))
        t.same(await lookAt(file), { kind: 'file-system', fsType })
        await checkFileSystem(wish(file, fsType))
      }
    })

    t.test('half made, and grown since', async (t) => {
      const planted = temporaryFolder(t)
      t.teardown(() => (process.env.PATH = before))
      const program = findProgram(mkfs)!
      const scribble = (block: number): string =>
        `dd if=/dev/urandom of="$last" bs=4096 seek=${block} count=1 conv=notrunc 2>&-; exit 1`
      const cuts = [['exit 1'], [scribble(9)], [scribble(9), scribble(200)], ['exit 1', scribble(9), 'exit 1']]
      if (fsType === 'ext4') cuts.push([`${program} "$@" && exit 1`])
      for (const scripts of cuts) {
        const file = image(t)
        let sizeBytes = SIZE
        for (const script of scripts) {
          writeFileSync(path.join(planted, mkfs), `#!/bin/sh\nfor last; do :; done\n${script}\n`)
          chmodSync(path.join(planted, mkfs), 0o755)
          process.env.PATH = `${planted}:${before}`
          await t.rejects(makeUnlessThere(grownWish(file, fsType, sizeBytes)), { code: 'host-command' }, script)
          process.env.PATH = before
          truncateSync(file, sizeBytes += 33 * MIB)
        }
        const name = `${scripts.length} times: ${scripts.join(' ')}`
        await untouched(t, file, () => makeUnlessThere(grownWish(file, fsType, sizeBytes, true)), /holds |reading only/)
        t.equal(await makeUnlessThere(grownWish(file, fsType, sizeBytes)), true, name)
        t.same(await lookAt(file), { kind: 'file-system', fsType })
        await checkFileSystem(wish(file, fsType))
        for (let end = SIZE; end <= sizeBytes; end += 33 * MIB) {
          t.notMatch(bytesAt(file, end - 512 * 1024, 64).toString('latin1'), /^holdfast:/, `${name}: no mark stays`)
        }
      }
    })

    t.test('the mark is no order: its bytes may be a file of a user', async (t) => {
      const file = image(t)
      await makeUnlessThere(wish(file, fsType))
      await putMark(file)
      // As the kernel does when it is mounted.
      if (fsType === 'ext4') execFileSync('debugfs', ['-w', '-R', 'ssv mtime now', file], { stdio: 'ignore' })
      const held = writtenAt(file)
      t.same(await lookAt(file), { kind: 'file-system', fsType })
      t.equal(await makeUnlessThere(wish(file, fsType)), false)
      t.equal(writtenAt(file), held, 'and it stays')
    })
  })
}

/** The cluster knows of what was written once there is a mark. */
const grownWish = (file: string, fsType: FileSystem, sizeBytes: number, isReadOnly = false) => ({
  ...wish(file, fsType, isReadOnly),
  heldData: async () => sizeBytes === SIZE && !isReadOnly ? undefined : 'data that is no file system',
})

t.test('a former mark is believed only alone in its place, with nothing behind it', async (t) => {
  const formerBytes = 8 * MIB
  const file = image(t, formerBytes)
  await putMark(file)
  truncateSync(file, formerBytes + 21 * MIB)
  t.equal(await formerMark(file), formerBytes)
  for (const at of [-MIB, -1, 0, 10 * MIB]) {
    put(file, formerBytes + at, Buffer.from('x'))
    t.equal(await formerMark(file), undefined, `something at ${at}`)
    put(file, formerBytes + at, Buffer.from([0]))
  }
  put(file, formerBytes - 512 * 1024 + 600, Buffer.from('x'))
  t.equal(await formerMark(file), undefined, 'another one')
  t.equal(await formerMark(image(t, formerBytes)), undefined, 'a blank one')
})

/** A half-made one that may only be read. */
async function refusesReading(t: Test, file: string, fsType: FileSystem): Promise<void> {
  if ((await lookAt(file)).kind !== 'unfinished') return
  await untouched(t, file, () => makeUnlessThere(wish(file, fsType, true)), /attached for reading only/)
}

t.test('what the cluster knows of is not blank, wherever it lies', async (t) => {
  const file = image(t)
  put(file, 100 * MIB, Buffer.from('rows of a database'))
  t.same(await lookAt(file), { kind: 'blank' }, 'by its edges')
  const held = { ...wish(file, 'ext4'), heldData: async () => 'data that is no file system' }
  await untouched(t, file, () => makeUnlessThere(held), /holds data that is no file system/)
})

const unknown = async (): Promise<never> => {
  throw new HoldfastError('content-unknown', { volume: 'v' })
}

t.test('what the cluster does not know is read through, unless it is too large', async (t) => {
  const file = image(t)
  put(file, 100 * MIB, Buffer.from('rows of a database'))
  const unclear = { ...wish(file, 'ext4'), heldData: unknown }
  await untouched(t, file, () => makeUnlessThere(unclear), /holds data that is no file system/)
  put(file, 100 * MIB, Buffer.alloc(64))
  t.equal(await isZeroThroughout(file), true)
  truncateSync(file, READ_THROUGH_BYTES_MAX + MIB)
  const held = writtenAt(file)
  await t.rejects(makeUnlessThere(unclear), { code: 'content-unknown' })
  t.equal(writtenAt(file), held, 'nothing was touched')
})

t.test('a device that reads as zeroes is made, whoever is elected', {
  skip: findProgram('mkfs.ext4') === undefined && 'mkfs.ext4 is not installed',
}, async (t) => {
  const file = image(t)
  t.ok(await makeUnlessThere({ ...wish(file, 'ext4'), heldData: unknown }))
  t.same(await lookAt(file), { kind: 'file-system', fsType: 'ext4' })
})

const skipMagic = findProgram('mkfs.ext4') === undefined && 'mkfs.ext4 is not installed'
t.test('a marked one that blkid could not look at', { skip: skipMagic }, async (t) => {
  const file = image(t)
  await makeUnlessThere(wish(file, 'ext4'))
  await putMark(file)
  execFileSync('debugfs', ['-w', '-R', 'ssv mtime now', file], { stdio: 'ignore' })
  const planted = temporaryFolder(t)
  t.teardown(() => (process.env.PATH = before))
  writeFileSync(path.join(planted, 'blkid'), '#!/bin/sh\nexit 2\n')
  chmodSync(path.join(planted, 'blkid'), 0o755)
  process.env.PATH = `${planted}:${before}`
  await untouched(t, file, () => makeUnlessThere(wish(file, 'ext4')), /holds data that is no file system/)
})

t.test('a mark is taken away only where it is', async (t) => {
  const file = image(t)
  put(file, MARK_AT, Buffer.from('holdfast: something else'))
  await takeMark(file)
  t.match(bytesAt(file, MARK_AT, 64).toString(), 'something else')
})

t.test('partitions, and what is several things', async (t) => {
  const file = image(t)
  const table = Buffer.alloc(512)
  table.set([0, 0x20, 0x21, 0, 0x83, 0xff, 0xff, 0xff, 0, 8, 0, 0, 0, 0, 8, 0], 446)
  table.set([0x55, 0xaa], 510)
  put(file, 0, table)
  await untouched(t, file, () => makeUnlessThere(wish(file, 'ext4')), /holds a partition table \(dos\)/)
  put(file, 0, Buffer.alloc(512))
  put(file, 0, Buffer.from('LUKS\xba\xbe\0\x01', 'latin1'))
  await untouched(t, file, () => makeUnlessThere(wish(file, 'ext4')), /holds /)
})

const skipExt4 = findProgram('mkfs.ext4') === undefined && 'mkfs.ext4 is not installed'
t.test('an ext4 that cannot be mended without a decision is not mounted', { skip: skipExt4 }, async (t) => {
  const file = image(t)
  await makeUnlessThere(wish(file, 'ext4'))
  execFileSync('debugfs', ['-w', '-R', 'clri <2>', file], { stdio: 'ignore' })
  execFileSync('debugfs', ['-w', '-R', 'ssv state 2', file], { stdio: 'ignore' })
  await t.rejects(checkFileSystem(wish(file, 'ext4')), {
    code: 'file-system-damaged', message: /is damaged, and not mounted.*e2fsck -f/,
  })
  await checkFileSystem(wish(file, 'ext4', true))
})

t.test('options of our own', (t) => {
  t.same(ownOptions('xfs', false), ['nouuid'])
  t.same(ownOptions('xfs', true), ['nouuid', 'ro', 'norecovery'])
  t.same(ownOptions('ext4', true), ['ro', 'noload'])
  t.same(ownOptions('ext4', false), [])
  t.end()
})
