/**
 * A write-back error of the real kernel: a loop device whose backing file cannot grow. Both of two concurrent syncs,
 * and those of another worker's disk object, must hear of it; with one shared descriptor one of them hears "ok"
 * (measured: EIO and ok, then ok for every retry). Whoever opens the disk afterwards reads what it has, once the cache
 * is dropped, and not what the cache has.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import t from 'tap'
import { openDiskFile } from '../../../dataplane/disk/disk-file.ts'
import { FileDisk } from '../../../dataplane/disk/file-disk.ts'

const MIB = 1 << 20
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'write-back-'))

/** A 64 MiB device that can store 4 MiB, or why there is none. */
function makeDevice(): { device: string } | { missing: string } {
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'none', folder])
  if (mounted.status !== 0) return { missing: 'mounting a tmpfs is not allowed here' }
  const backing = path.join(folder, 'backing')
  fs.writeFileSync(backing, '')
  fs.truncateSync(backing, 64 * MIB)
  const made = spawnSync('losetup', ['--find', '--show', backing], { encoding: 'utf8' })
  return made.status === 0 ? { device: made.stdout.trim() } : { missing: 'no loop device can be made here' }
}

const made = makeDevice()
t.teardown(() => {
  if ('device' in made) spawnSync('losetup', ['--detach', made.device])
  spawnSync('umount', [folder])
  fs.rmdirSync(folder)
})

/** Where, MiB by MiB, a read answers other bytes than the medium has. */
async function wrongReads(disk: FileDisk): Promise<number[]> {
  const wrong: number[] = []
  for (let at = 0; at < 16; at++) {
    const [shown, medium] = [new Uint8Array(MIB), new Uint8Array(MIB)]
    if (!disk.tryRead(at * MIB, shown))
      t.ok(await new Promise<boolean>((resolve) => disk.read(at * MIB, shown, resolve)))
    await new Promise<void>((resolve) =>
      disk.readMedium(at * MIB, MIB, (bytes) => {
        medium.set(bytes!)
        resolve()
      }),
    )
    if (Buffer.compare(shown, medium) !== 0) wrong.push(at)
  }
  return wrong
}

t.test('every sync whose data may be lost says so', { skip: 'missing' in made ? made.missing : false }, async (t) => {
  if (!('device' in made)) return
  const file = openDiskFile(made.device)
  if (!file.ok) throw file.error
  const reasons: string[] = []
  const disks = [0, 1].map(() => {
    const disk = FileDisk.open(file.value, { onFailed: (reason) => reasons.push(reason) })
    if (!disk.ok) throw disk.error
    return disk.value
  })
  const slab = new Uint8Array(MIB).fill(1)
  for (let at = 0; at < 16; at++) t.equal(disks[0]!.write(at * MIB, [slab], () => {}), true)
  const sync = (disk: FileDisk) => new Promise<boolean>((resolve) => disk.sync(resolve))
  t.same(await Promise.all(disks.flatMap((disk) => [sync(disk), sync(disk)])), [false, false, false, false])
  t.same(await Promise.all(disks.map(sync)), [false, false], 'and stays failed')
  t.match(reasons, [/^fdatasync: EIO/, /^fdatasync: EIO/])
  for (const disk of disks) await new Promise<void>((resolve) => disk.close(resolve))

  // A device drops its cache when nobody has it open any more; a file does not.
  const next = FileDisk.open(file.value)
  if (!next.ok) throw next.error
  const { value: disk } = next
  t.equal(await sync(disk), true, 'the sync of the next owner hears nothing of an error that was told')
  t.ok((await wrongReads(disk)).length > 0, 'the cache has what was lost')
  t.equal(await new Promise<boolean>((resolve) => disk.dropCache(resolve)), true)
  t.same(await wrongReads(disk), [], 'and then what the disk has')
  await new Promise<void>((resolve) => disk.close(resolve))
  fs.closeSync(file.value.fd)
})
