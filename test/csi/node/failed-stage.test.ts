/** Risk: a stage that is refused leaves a device or a key on its host, or goes on with a device of another volume. */
import { mkdirSync, realpathSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { READ_THROUGH_BYTES_MAX } from '../../../csi/host/device-content.ts'
import { KubeletFolder } from '../../../csi/host/kubelet-paths.ts'
import type { HostDevice, HostDevices } from '../../../csi/host/host-devices.ts'
import { nodeService } from '../../../csi/node/node-service.ts'
import { Operations } from '../../../csi/operations.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { MIB } from '../../../engine/units.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { capability, context } from './killed-host.ts'

const ID = 'c'.repeat(32)

/**
 * @param attached  what an attach does: its device, or its failure
 * @param content  of the device, and what the control API says of it
 */
function hostOf(
  t: Test, attached: (device: HostDevice) => HostDevice | undefined, content = { byte: 7, holds: 'data' },
) {
  const dir = realpathSync(temporaryFolder(t))
  for (const name of ['kubelet', 'n1/attached']) mkdirSync(path.join(dir, name), { recursive: true })
  writeFileSync(path.join(dir, 'n1/attached', `${ID}.3`), '')
  const image = path.join(dir, 'image')
  writeFileSync(image, Buffer.alloc(4096, content.byte))
  const own: HostDevice = {
    volumeId: ID, generation: 3, mode: 'single', path: image, state: 'attached', sizeBytes: 4096, blockSizeBytes: 512,
    readOnly: false, mounts: [],
  }
  const done: string[] = []
  let device: HostDevice | undefined
  let isHeld = false
  const devices: HostDevices = {
    attach: async () => {
      done.push('attach')
      device = attached(own)
      if (device === undefined) throw new HoldfastError('device-unread', { device: image, reason: 'EIO' })
      return own
    },
    detach: async () => {
      done.push('detach')
      if (isHeld) throw new HoldfastError('device-busy', { path: image, by: 'somebody' })
      device = undefined
    },
    resize: async () => own,
    find: async () => device,
    list: async () => (device === undefined ? [] : [device]),
    note: async () => own,
  }
  const holders = [{ node: 'n1', generation: 3 }]
  const volume = {
    id: ID, name: 'data', ioTimeoutMs: 0, attach: { mode: 'single', generation: 3, holders }, holds: content.holds,
    logicalBytes: 0,
  }
  const keys = {
    put: async (): Promise<void> => void done.push('key'), take: (): void => void done.push('key taken'),
  }
  const { calls } = nodeService({
    api: { getVolume: async () => volume } as never, kubelet: new KubeletFolder(path.join(dir, 'kubelet')), node: 'n1',
    nodeFolder: path.join(dir, 'n1'), zone: 'a', volumesMax: 8, devices, keys, operations: new Operations(),
  })
  const stage = (generation = 3) => calls.NodeStageVolume!({
    volumeId: ID, stagingTargetPath: path.join(dir, 'kubelet/staging'), secrets: {},
    publishContext: context(generation), volumeCapability: capability('ext4'),
  } as never)
  return {
    done, image, stage, volume, holdOn: () => (isHeld = true),
    keep: (kept: Partial<HostDevice>) => (device = { ...own, ...kept }),
  }
}

t.test('no device', async (t) => {
  const { done, stage } = hostOf(t, () => undefined)
  await t.rejects(stage(), { code: 'device-unread' })
  t.same(done, ['key', 'attach', 'key taken'])
})

t.test('a device with something else on it', async (t) => {
  const { done, stage } = hostOf(t, (device) => device)
  await t.rejects(stage(), { code: 'device-content' })
  t.same(done, ['key', 'attach', 'detach', 'key taken'])
})

t.test('what looks blank, and is not known to be', async (t) => {
  for (const [holds, code, message] of [
    ['', 'content-unknown', /whether anything was written to it is not known/],
    ['shared', 'device-content', /holds what the volume holds that it is a clone of.*hydrate data/],
    ['data', 'device-content', /holds data that is no file system/],
  ] as const) {
    const { done, image, stage } = hostOf(t, (device) => device, { byte: 0, holds })
    // What nobody knows of is read through, unless it is too large.
    truncateSync(image, READ_THROUGH_BYTES_MAX + MIB)
    const { mtimeNs } = statSync(image, { bigint: true })
    await t.rejects(stage(), { code, message }, holds)
    t.equal(statSync(image, { bigint: true }).mtimeNs, mtimeNs, 'nothing was touched')
    t.same(done, ['key', 'attach', 'detach', 'key taken'])
  }
})

t.test('what it cannot undo has to be unstaged, so it is no final refusal', async (t) => {
  const { stage, holdOn } = hostOf(t, (device) => device)
  holdOn()
  await t.rejects(stage(), { code: 14, message: /holds data that is no file system/ })
})

t.test('of what is over an entry alone is nothing left, and a device is', async (t) => {
  const { stage, keep, volume } = hostOf(t, (device) => device)
  volume.attach = { mode: 'single', generation: 4, holders: [{ node: 'n2', generation: 4 }] }
  const mounts = [{ path: '/elsewhere', fileSystem: 'ext4', options: [] }]
  keep({ mounts, path: '', state: 'attaching' })
  await t.rejects(stage(), { code: 'generation-past' }, 'as after a boot')
  keep({ mounts })
  await t.rejects(stage(), { code: 14, message: /n1 does not hold it any more/ })
})

t.test('a device that became another one before it was open', async (t) => {
  for (const other of [{ path: '/dev/null' }, { generation: 4 }, { state: 'detaching' as const }]) {
    const { stage } = hostOf(t, (device) => ({ ...device, ...other }))
    await t.rejects(stage(), { code: 'device-unread', message: /not the device of volume c+ any more/ })
  }
})

t.test('what was staged stays', async (t) => {
  const { done, stage, keep } = hostOf(t, (device) => device)
  keep({ mounts: [{ path: '/elsewhere', fileSystem: 'ext4', options: [] }] })
  await t.rejects(stage())
  t.same(done, ['key', 'attach'])
  keep({ generation: 4 })
  await t.rejects(stage(), { code: 'generation-past' })
  t.same(done, ['key', 'attach'])
})

t.test('a generation that is over is refused at once', async (t) => {
  const { done, stage } = hostOf(t, (device) => device)
  await t.rejects(stage(2), { code: 'generation-past', message: /n1 has generation 3 of it now/ })
  t.same(done, ['key taken'], 'what was brought before')
})
