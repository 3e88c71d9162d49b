/** A disk path that is wrong, taken or half made is refused in a sentence; two daemons never share a disk. */
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { createDiskFile, openDiskFile, type DiskFile } from '../../../dataplane/disk/disk-file.ts'
import type { Result } from '../../../engine/volume/store-api.ts'

const MIB = 1 << 20
const value = (result: Result<DiskFile>): DiskFile => {
  if (!result.ok) throw result.error
  return result.value
}
const refusal = (result: Result<DiskFile>) => (result.ok ? 'accepted' : result.error.message)

t.test('a new file has its space, its size, and its name only when whole', (t) => {
  const dir = t.testdir({ '.disk.holdfast-new': 'left over from a crash' })
  const disk = value(createDiskFile(path.join(dir, 'disk'), 4 * MIB))
  t.same([disk.sizeBytes, disk.kind], [4 * MIB, 'file'])
  const stat = fs.statSync(disk.path)
  t.equal(stat.size, 4 * MIB)
  t.ok(stat.blocks * 512 >= 4 * MIB)
  t.equal(stat.mode & 0o777, 0o600)
  t.ok(fs.readFileSync(disk.path).every((byte) => byte === 0))
  t.same(fs.readdirSync(dir), ['disk'])
  fs.closeSync(disk.fd)
  t.match(refusal(createDiskFile(disk.path, MIB)), /exists already/)
  t.same([fs.statSync(disk.path).size, fs.readdirSync(dir)], [4 * MIB, ['disk']], 'untouched')
  t.end()
})

t.test('no space, no folder, no file, no file at all: one sentence each, nothing left behind', (t) => {
  const dir = t.testdir({ folder: {} })
  t.match(refusal(createDiskFile(path.join(dir, 'huge'), 2 ** 52)), /huge cannot be opened: reserving .*(ENOSPC|EFBIG)/)
  t.match(refusal(createDiskFile(path.join(dir, 'no', 'disk'), MIB)), /ENOENT/)
  for (const made of [createDiskFile(`${dir}/a\0b`, MIB), openDiskFile(`${dir}/a\0b`)]) {
    t.match(made, { ok: false, error: { code: 'disk-open', message: /without null bytes/ } })
  }
  t.match(refusal(openDiskFile(path.join(dir, 'missing'))), /ENOENT, no such file/)
  t.match(refusal(openDiskFile(path.join(dir, 'folder'))), /neither a file nor a block device/)
  t.match(refusal(openDiskFile('/dev/null')), /neither/)
  t.same(fs.readdirSync(dir), ['folder'])
  t.end()
})

t.test('an odd size is rounded down to whole blocks', (t) => {
  const disk = value(openDiskFile(path.join(t.testdir({ disk: 'x'.repeat(10_000) }), 'disk')))
  t.equal(disk.sizeBytes, 8192)
  fs.closeSync(disk.fd)
  t.end()
})

t.test('a disk is held by one daemon, whose pid the other one is told, until it ends', async (t) => {
  const dir = t.testdir()
  const diskPath = path.join(dir, 'disk')
  const own = value(createDiskFile(diskPath, MIB))
  t.match(refusal(openDiskFile(diskPath)), /in use by process/)
  fs.closeSync(own.fd)
  const url = new URL('../../../dataplane/disk/disk-file.ts', import.meta.url).href
  const holder = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `const { openDiskFile } = await import(${JSON.stringify(url)})
       console.log(openDiskFile(${JSON.stringify(diskPath)}).ok)
       process.stdin.resume()`,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  t.equal(String(await new Promise((resolve) => holder.stdout.once('data', resolve))), 'true\n')
  const refused = openDiskFile(diskPath)
  t.ok(!refused.ok && refused.error.code === 'disk-busy')
  if (!refused.ok) t.ok([holder.pid, 'unknown'].includes(refused.error.detail['pid']), refused.error.message)
  holder.kill('SIGKILL')
  await new Promise((resolve) => holder.once('close', resolve))
  fs.closeSync(value(openDiskFile(diskPath)).fd)
})

function loopDevice(file: string): string | undefined {
  const found = spawnSync('losetup', ['--find', '--show', file], { encoding: 'utf8' })
  return found.status === 0 ? found.stdout.trim() : undefined
}

t.test('a block device has its own size and is held exclusively', (t) => {
  const dir = t.testdir()
  const backing = path.join(dir, 'backing')
  fs.writeFileSync(backing, '')
  fs.truncateSync(backing, 8 * MIB)
  const device = loopDevice(backing)
  if (device === undefined) {
    t.pass('block device', { skip: 'no loop device can be made here' })
    return t.end()
  }
  try {
    const disk = value(openDiskFile(device))
    t.same([disk.kind, disk.sizeBytes], ['device', 8 * MIB])
    t.match(refusal(openDiskFile(device)), /in use/)
    fs.closeSync(disk.fd)
    fs.closeSync(value(openDiskFile(device)).fd)
  } finally {
    spawnSync('losetup', ['--detach', device])
  }
  return t.end()
})
