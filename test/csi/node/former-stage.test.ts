/**
 * What a stage under a newer generation ends of the former one, and what it leaves alone: on the real host, with a
 * volume behind nbdkit, and file systems of others beside it.
 */
// test-timeout-seconds: 120
import { noOwnMounts } from './own-mounts.ts'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { findProgram } from '../../../csi/host/host-command.ts'
import { mountAt } from '../../../csi/host/mountinfo.ts'
import { MIB } from '../../../engine/units.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { KilledHost, NodeProcesses } from './killed-host.ts'

const missing = (['nbdfuse', 'mkfs.ext4', 'losetup'] as const).find((program) => findProgram(program) === undefined)
const skip = noOwnMounts ?? (missing !== undefined && `${missing} is not installed`)
t.setTimeout(120_000)
const OK = 0
const nodes = new NodeProcesses(t)

/** A loop device of somebody else's, mounted there. */
function mountOther(t: Test, folder: string): void {
  const file = path.join(temporaryFolder(t), 'other')
  writeFileSync(file, '')
  truncateSync(file, 64 * MIB)
  execFileSync('mkfs.ext4', ['-F', '-q', file])
  mkdirSync(folder, { recursive: true })
  execFileSync('mount', ['-o', 'loop', file, folder])
  t.teardown(() => spawnSync('umount', [folder]))
}

t.test('an entry without a device ends no mount of another volume', { skip }, async (t) => {
  const host = new KilledHost(t, nodes)
  const elsewhere = path.join(temporaryFolder(t), 'srv')
  await host.serve(1)
  t.match(await host.stage(1, 'ext4'), { code: OK, message: '' })
  const { source } = host.mounts().findLast(({ mountPoint }) => mountPoint === host.at('staging'))!
  // As after a boot: the entry is there, its device is not.
  execFileSync('umount', [host.at('staging')])
  execFileSync('losetup', ['--detach', source])
  mountOther(t, elsewhere)
  mountOther(t, host.at('other'))

  await host.serve(2)
  t.match(await host.stage(2, 'ext4'), { code: OK, message: '' })
  t.equal(mountAt(elsewhere)?.fsType, 'ext4', 'outside of the folder of kubelet')
  t.equal(mountAt(host.at('other'))?.fsType, 'ext4', 'inside, of another volume')
  spawnSync('umount', [host.at('other')])
  spawnSync('rmdir', [host.at('other')])
  t.match(await host.call('NodeUnstageVolume', { stagingTargetPath: host.at('staging') }), { code: OK, message: '' })
  t.same(host.leftovers(), [])
})

t.test('what is still mounted of the former generation is unmounted', { skip }, async (t) => {
  const host = new KilledHost(t, nodes)
  await host.serve(1)
  await host.stage(1, 'ext4')
  t.match(await host.publish(1, 'ext4', 'a', false), { code: OK, message: '' })
  await host.serve(2)
  t.match(await host.stage(2, 'ext4'), { code: OK, message: '' })
  t.equal(mountAt(host.at('a')), undefined)
  t.match(await host.call('NodeUnpublishVolume', { targetPath: host.at('a') }), { code: OK, message: '' })
  t.match(await host.call('NodeUnstageVolume', { stagingTargetPath: host.at('staging') }), { code: OK, message: '' })
  t.same(host.leftovers(), [])
})

t.test('an unstage of what is held elsewhere waits for no I/O', { skip }, async (t) => {
  const host = new KilledHost(t, nodes)
  await host.serve(1)
  t.match(await host.stage(1, 'ext4'), { code: OK, message: '' })
  writeFileSync(host.at('staging/file'), 'what was not synced')
  host.stopServer()
  host.takeAway()
  t.match(await host.call('NodeUnstageVolume', { stagingTargetPath: host.at('staging') }), { code: OK, message: '' })
  t.same(host.leftovers(), [])
})

t.test('a stage that comes late leaves no key', { skip }, async (t) => {
  const host = new KilledHost(t, nodes)
  await host.serve(2)
  t.match(await host.stage(1, 'ext4', { once: true }), { code: 9, message: /n1 has generation 2 of it now/ })
  t.notOk(host.hasKey)
})
