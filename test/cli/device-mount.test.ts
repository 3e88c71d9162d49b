/**
 * `holdfast attach --mount` mounts what nobody else can have mounted, and `holdfast detach` unmounts that and nothing
 * else: on the real host, with a loop device in the place of an NBD device.
 */
// test-timeout-seconds: 60
import { noOwnMounts } from '../csi/node/own-mounts.ts'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { mountOn, unmountNoted } from '../../cli/device-mount.ts'
import { putMark } from '../../csi/host/format-mark.ts'
import { findProgram } from '../../csi/host/host-command.ts'
import type { DeviceNotes, HostDevice, HostDevices } from '../../csi/host/host-devices.ts'
import { endLoop, makeLoop } from '../../csi/host/loop-devices.ts'
import { mountAt } from '../../csi/host/mountinfo.ts'
import { unmountAll } from '../../csi/host/mounting.ts'
import { MIB } from '../../engine/units.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const missing = (['mkfs.ext4', 'losetup'] as const).find((program) => findProgram(program) === undefined)
const skip = noOwnMounts ?? (missing !== undefined && `${missing} is not installed`)

async function deviceOn(t: Test, sizeBytes: number): Promise<HostDevice> {
  const file = path.join(temporaryFolder(t), 'image')
  writeFileSync(file, '')
  truncateSync(file, sizeBytes)
  const { path: device } = await makeLoop(file, { isReadOnly: false, blockSizeBytes: 512 })
  t.teardown(() => endLoop(file))
  return {
    volumeId: 'a'.repeat(32), generation: 1, mode: 'single', path: device, state: 'attached', sizeBytes,
    blockSizeBytes: 512, readOnly: false, mounts: [],
  }
}

/** A keeper that has those, and notes. */
function keeperOf(...devices: HostDevice[]): HostDevices {
  const note = async (volumeId: string, notes: DeviceNotes): Promise<HostDevice> =>
    Object.assign(devices.find((device) => device.volumeId === volumeId)!, notes)
  return { note, list: async () => devices } as never
}

function folderOf(t: Test, name: string): string {
  const folder = path.join(temporaryFolder(t), name)
  mkdirSync(folder)
  t.teardown(() => spawnSync('umount', ['--lazy', folder], { stdio: 'ignore' }))
  return folder
}

t.test('no file system of a shared volume', { skip }, async (t) => {
  // A call of its keeper would fail.
  const device = { mode: 'shared', path: '' } as HostDevice
  const order = { name: 'v', folder: temporaryFolder(t), fsType: 'ext4', heldData: async () => undefined } as const
  const mounted = mountOn({} as never, device, order)
  await t.rejects(mounted, { code: 'mount-shared', message: /on two nodes destroy each other's data/ })
})

t.test('what is mounted there is told by the number of the device', { skip }, async (t) => {
  const device = await deviceOn(t, 64 * MIB)
  const devices = keeperOf(device)
  const [folder, second] = [folderOf(t, 'first'), folderOf(t, 'second')]
  // Its source says our device, and it is none of it.
  execFileSync('mount', ['-t', 'tmpfs', device.path, folder])
  const order = { name: 'v', folder, fsType: 'ext4', heldData: async () => undefined } as const
  await t.rejects(mountOn(devices, device, order), { code: 'mount-foreign' })
  t.equal(mountAt(folder)?.fsType, 'tmpfs')
  execFileSync('umount', [folder])
  await mountOn(devices, device, order)
  await mountOn(devices, device, order)
  t.equal(mountAt(folder)?.fsType, 'ext4')
  // It is in use: a check would refuse.
  await mountOn(devices, device, { ...order, folder: second })
  t.equal(mountAt(second)?.fsType, 'ext4')
  await t.rejects(putMark(device.path), { code: 'device-unread', message: /EBUSY/ }, 'no mark beside a mount')

  t.comment('its device is gone from the table, as after a boot of which a mount was left')
  await unmountNoted(devices, 'v', { ...device, path: '' })
  t.equal(mountAt(folder), undefined)
  t.equal(mountAt(second), undefined)
})

t.test('more mounts over each other than are unmounted are told', { skip }, async (t) => {
  const folder = folderOf(t, 'stack')
  for (let i = 0; i < 33; i++) execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', folder])
  const order = { volume: 'v', devicePath: '', isOurs: () => true }
  await t.rejects(unmountAll(folder, order), { code: 'host-command', message: /more than 32 mounts/ })
  await unmountAll(folder, order)
  t.equal(mountAt(folder), undefined)
})
