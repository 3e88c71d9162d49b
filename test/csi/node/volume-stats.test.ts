/** What this host tells of a file system that is read without its journal. */
import { execFileSync } from 'node:child_process'
import { truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { findProgram } from '../../../csi/host/host-command.ts'
import type { HostDevice } from '../../../csi/host/host-devices.ts'
import type { Mount } from '../../../csi/host/mountinfo.ts'
import { conditionHere } from '../../../csi/node/volume-stats.ts'
import { MIB } from '../../../engine/units.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const skip = findProgram('mkfs.ext4') === undefined && 'mkfs.ext4 is not installed'

t.test('an ext4 that was not unmounted in order', { skip }, async (t) => {
  const file = path.join(temporaryFolder(t), 'device')
  writeFileSync(file, '')
  truncateSync(file, 64 * MIB)
  execFileSync('mkfs.ext4', ['-F', '-q', file])
  const device = { path: file, state: 'attached', readOnly: true } as HostDevice
  const mount = { fsType: 'ext4', options: ['ro'], superOptions: ['ro', 'noload'] } as Partial<Mount> as Mount
  t.equal(await conditionHere(device, mount), undefined)
  execFileSync('debugfs', ['-w', '-R', 'feature needs_recovery', file], { stdio: 'ignore' })
  t.match(await conditionHere(device, mount), { abnormal: true, message: /read without its journal/ })
  t.equal(await conditionHere({ ...device, readOnly: false }, mount), undefined, 'the mount has replayed it')
})
