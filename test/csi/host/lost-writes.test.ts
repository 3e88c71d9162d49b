/** Risk: writes that a device failed go with the unmount, and nobody is told. Here a loop device's file has no room. */
import { noOwnMounts } from '../node/own-mounts.ts'
import { spawnSync } from 'node:child_process'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { findProgram } from '../../../csi/host/host-command.ts'
import { mountAt } from '../../../csi/host/mountinfo.ts'
import { syncOnce } from '../../../csi/host/mounting.ts'
import { MIB } from '../../../engine/units.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const missing = (['mkfs.ext4', 'losetup'] as const).find((program) => findProgram(program) === undefined)
const skip = noOwnMounts ?? (missing !== undefined && `${missing} is not installed`)

function must(command: string, ...words: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, words, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${words.join(' ')}: ${stderr}`)
  return stdout.trim()
}

/** @returns where it is mounted */
function withoutRoom(t: Test): string {
  const dir = temporaryFolder(t)
  const [small, image, mountPoint] = ['small', 'small/image', 'mounted'].map((name) => path.join(dir, name)) as
    [string, string, string]
  for (const folder of [small, mountPoint]) mkdirSync(folder)
  must('mount', '-t', 'tmpfs', '-o', 'size=16m', 'small', small)
  t.teardown(() => must('umount', small))
  writeFileSync(image, '')
  truncateSync(image, 96 * MIB)
  must('mkfs.ext4', '-q', '-F', '-E', 'nodiscard', image)
  const loop = must('losetup', '--find', '--show', image)
  t.teardown(() => must('losetup', '--detach', loop))
  must('mount', '-t', 'ext4', loop, mountPoint)
  t.teardown(() => spawnSync('umount', [mountPoint]))
  return mountPoint
}

t.test('told once, and then it goes on', { skip }, async (t) => {
  const mountPoint = withoutRoom(t)
  writeFileSync(path.join(mountPoint, 'fits'), Buffer.alloc(MIB, 1))
  const mount = mountAt(mountPoint)!
  await syncOnce(mount)
  writeFileSync(path.join(mountPoint, 'too-much'), Buffer.alloc(48 * MIB, 1))
  const message = /sync was to bring to the volume what was written at .*mounted and is in memory only.*sync/
  await t.rejects(syncOnce(mount), { code: 'host-command', message })
  await syncOnce(mount)
  t.equal(spawnSync('umount', [mountPoint]).status, 0, 'an unmount tells nothing')
})
