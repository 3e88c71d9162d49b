/** What a stage and a publish show a pod, and what they refuse: on the real host, with volumes behind nbdkit. */
// test-timeout-seconds: 300
import { noOwnMounts } from './own-mounts.ts'
import { spawnSync } from 'node:child_process'
import {
  closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync, statfsSync, symlinkSync, writeFileSync,
} from 'node:fs'
import t from 'tap'
import type { Test } from 'tap'
import { findProgram } from '../../../csi/host/host-command.ts'
import { isReadOnly } from '../../../csi/host/mountinfo.ts'
import { MIB } from '../../../engine/units.ts'
import { KilledHost, NodeProcesses, capability, context } from './killed-host.ts'

const missing = (['nbdfuse', 'mkfs.ext4', 'mkfs.xfs', 'losetup'] as const)
  .find((program) => findProgram(program) === undefined)
const skip = noOwnMounts ?? (missing !== undefined && `${missing} is not installed`)
t.setTimeout(300_000)
const [OK, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, UNAVAILABLE] = [0, 3, 5, 6, 9, 14]
const FIRST_BYTES = 320 * MIB
const BLOCK = { block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } }
const once = { once: true }

const CAP_SYS_RESOURCE = 24n
/** The kernel asks for it where an ext4 is grown. */
function mayResize(): boolean {
  const effective = /^CapEff:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]!
  return ((BigInt(`0x${effective}`) >> CAP_SYS_RESOURCE) & 1n) === 1n
}

const nodes = new NodeProcesses(t)

function hostOf(t: Test): KilledHost {
  return new KilledHost(t, nodes)
}

const shown = (host: KilledHost, name: string) =>
  host.mounts().findLast(({ mountPoint }) => mountPoint === host.at(name))
const stageRequest = (host: KilledHost, volumeCapability: object, publishContext = context(1)): object =>
  ({ stagingTargetPath: host.at('staging'), secrets: {}, publishContext, volumeCapability })
const publishRequest = (host: KilledHost, name: string, volumeCapability: object, readonly = false): object => ({
  stagingTargetPath: host.at('staging'), targetPath: host.at(name), publishContext: context(1), volumeCapability,
  readonly,
})

async function takenAway(t: Test, host: KilledHost, names: readonly string[]): Promise<void> {
  for (const name of names) t.equal((await host.call('NodeUnpublishVolume', { targetPath: host.at(name) })).code, OK)
  t.match(await host.call('NodeUnstageVolume', { stagingTargetPath: host.at('staging') }), { code: OK, message: '' })
  t.same(host.leftovers(), [])
}

t.test('a block device', { skip }, async (t) => {
  const host = hostOf(t)
  await host.serve(1)
  t.match(await host.call('NodeStageVolume', stageRequest(host, BLOCK)), { code: OK, message: '' })
  t.equal(shown(host, 'staging'), undefined, 'nothing is mounted')
  t.match(await host.call('NodePublishVolume', publishRequest(host, 'a', BLOCK)), { code: OK, message: '' })
  t.ok(statSync(host.at('a')).isBlockDevice())
  writeFileSync(host.at('a'), 'what a virtual machine wrote', { flag: 'r+' })
  t.match(await host.call('NodePublishVolume', publishRequest(host, 'a', BLOCK)), { code: OK }, 'again')
  t.match(await host.call('NodePublishVolume', publishRequest(host, 'b', capability('ext4')), once), {
    code: ALREADY_EXISTS, message: /a block device.*a file system/,
  })
  const stats = await host.ask('NodeGetVolumeStats', { volumePath: host.at('a') })
  t.match(stats, { usage: [{ total: FIRST_BYTES, unit: 'BYTES' }] })
  const fd = openSync(host.at('a'), 'r+')
  const busy = await host.call('NodeUnpublishVolume', { targetPath: host.at('a') }, once)
  t.match(busy, { code: 13, message: /busy/ }, 'somebody has it open, and it works')
  t.ok(statSync(host.at('a')).isBlockDevice(), 'it stays')
  closeSync(fd)
  await takenAway(t, host, ['a'])
  const refused = await host.call('NodeStageVolume', stageRequest(host, capability('ext4')), once)
  t.match(refused, { code: FAILED_PRECONDITION, message: /holds data that is no file system; nothing was touched/ })
  await takenAway(t, host, [])
})

for (const fsType of ['ext4', 'xfs']) {
  t.test(`${fsType}: grown, read, and refused`, { skip }, async (t) => {
    const mayGrow = fsType === 'xfs' || mayResize()
    if (!mayGrow) t.comment('ext4 is not grown while mounted: root lacks CAP_SYS_RESOURCE here')
    const host = hostOf(t)
    await host.serve(1)
    const readOnly = stageRequest(host, capability(fsType), context(1, 'read-only'))
    const blank = await host.call('NodeStageVolume', readOnly, once)
    t.match(blank, { code: FAILED_PRECONDITION, message: /no file system, and it is attached for reading only/ })
    t.match(await host.stage(1, fsType), { code: OK, message: '' }, 'the same generation, now for writing')
    const { blocks, bsize } = statfsSync(host.at('staging'))
    const other = { ...capability(fsType), mount: { fsType, mountFlags: ['nodiratime'], volumeMountGroup: '' } }
    t.match(await host.call('NodeStageVolume', stageRequest(host, other), once), { code: ALREADY_EXISTS })
    await host.publish(1, fsType, 'a', false)
    writeFileSync(host.at('a/file'), 'x')
    t.match(await host.ask('NodeGetVolumeStats', { volumePath: host.at('a') }), {
      usage: [{ total: blocks * bsize, unit: 'BYTES' }, { unit: 'INODES' }], volumeCondition: { abnormal: false },
    })
    host.grow(FIRST_BYTES + 64 * MIB)
    const volumePath = host.at('a')
    t.match(await host.call('NodeExpandVolume', { volumePath, capacityRange: null }, once), {
      code: FAILED_PRECONDITION, message: /keeps its 335544320 bytes while it is in use/,
    })
    const beyond = { requiredBytes: FIRST_BYTES + 65 * MIB, limitBytes: 0 }
    t.match(await host.call('NodeExpandVolume', { volumePath, capacityRange: beyond }, once), { code: 11 })
    await takenAway(t, host, ['a'])

    await host.serve(2)
    const second = await host.stage(2, fsType, { once: !mayGrow })
    if (mayGrow) t.match(second, { code: OK, message: '' })
    else {
      const message = /resize2fs was to grow ext4.*Permission denied/
      t.match(second, { code: UNAVAILABLE, message }, 'no CAP_SYS_RESOURCE')
    }
    const grown = statfsSync(host.at('staging'))
    t.ok(!mayGrow || grown.blocks * grown.bsize > blocks * bsize + 48 * MIB, 'the file system has grown')
    t.equal(readFileSync(host.at('staging/file'), 'utf8'), 'x')
    await takenAway(t, host, [])

    await host.serve(3)
    const reading = stageRequest(host, capability(fsType), context(3, 'read-only'))
    t.match(await host.call('NodeStageVolume', reading), { code: OK, message: '' })
    t.ok(shown(host, 'staging')!.superOptions.includes('ro'))
    t.ok(shown(host, 'staging')!.superOptions.includes('norecovery'))
    t.throws(() => writeFileSync(host.at('staging/other'), 'x'), { code: 'EROFS' })
    t.match(await host.publish(3, fsType, 'a', false), { code: OK, message: '' })
    t.ok(isReadOnly(shown(host, 'a')!))
    await takenAway(t, host, ['a'])

    await host.serve(4)
    const wrong = fsType === 'xfs' ? 'ext4' : 'xfs'
    const refused = await host.call('NodeStageVolume', stageRequest(host, capability(wrong), context(4)), once)
    t.match(refused, { code: FAILED_PRECONDITION, message: new RegExp(`holds ${fsType}; nothing was touched`) })
    await takenAway(t, host, [])
  })
}

t.test('what is foreign is not touched', { skip }, async (t) => {
  const host = hostOf(t)
  await host.serve(1)
  await host.stage(1, 'ext4')
  mkdirSync(host.at('a'))
  spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', host.at('a')])
  t.teardown(() => spawnSync('umount', [host.at('a')]))
  t.match(await host.call('NodePublishVolume', publishRequest(host, 'a', capability('ext4')), once), {
    code: FAILED_PRECONDITION, message: /shows tmpfs of tmpfs, which is no mount of volume/,
  })
  t.match(await host.call('NodeUnpublishVolume', { targetPath: host.at('a') }, once), { code: FAILED_PRECONDITION })
  t.equal(shown(host, 'a')?.fsType, 'tmpfs')
  for (const volumeId of ['pvc-of-another-driver', '../x', `${host.volumeId}0`]) {
    t.match(await host.call('NodeUnpublishVolume', { volumeId, targetPath: '/etc/hostname' }), { code: OK })
    t.match(await host.call('NodeUnstageVolume', { volumeId, stagingTargetPath: host.at('staging') }), { code: OK })
    t.match(await host.call('NodeExpandVolume', { volumeId, volumePath: 'some/path' }, once), { code: NOT_FOUND })
  }
  t.ok(existsSync('/etc/hostname'))
  t.equal(shown(host, 'staging')?.fsType, 'ext4', 'and what is staged stays so')
  symlinkSync('/etc', host.at('link'))
  for (const targetPath of ['/etc/hostname', host.at('link/hostname'), host.at('../x'), 'x', '']) {
    t.match(await host.call('NodeUnpublishVolume', { targetPath }, once), { code: INVALID_ARGUMENT }, targetPath)
  }
  t.match(await host.call('NodeUnstageVolume', { stagingTargetPath: host.at('elsewhere') }), { code: OK })
  t.equal(shown(host, 'staging')?.fsType, 'ext4', 'an unstage of another path ends nothing')
  spawnSync('umount', [host.at('a')])
  await host.call('NodeUnpublishVolume', { targetPath: host.at('a') })
  spawnSync('rm', [host.at('link')])
  await takenAway(t, host, [])
})

t.test('no file system of a volume that others may write', { skip }, async (t) => {
  const host = hostOf(t)
  await host.serve(1)
  const shared = stageRequest(host, capability('ext4'), context(1, 'shared'))
  t.match(await host.call('NodeStageVolume', shared, once), {
    code: FAILED_PRECONDITION, message: /attached shared, and its file system is not mounted/,
  })
  await takenAway(t, host, [])
})

t.test('one pod alone', { skip }, async (t) => {
  const host = hostOf(t)
  await host.serve(1)
  const alone = { ...capability('ext4'), accessMode: { mode: 'SINGLE_NODE_SINGLE_WRITER' } }
  t.match(await host.call('NodeStageVolume', stageRequest(host, alone)), { code: OK, message: '' })
  t.match(await host.call('NodePublishVolume', publishRequest(host, 'a', alone)), { code: OK, message: '' })
  t.match(await host.call('NodePublishVolume', publishRequest(host, 'a', alone)), { code: OK }, 'again')
  t.match(await host.call('NodePublishVolume', publishRequest(host, 'b', alone), once), {
    code: FAILED_PRECONDITION, message: /published at .* for one pod alone/,
  })
  // As after a boot: it is noted, and not there.
  spawnSync('umount', [host.at('a')])
  t.match(await host.call('NodePublishVolume', publishRequest(host, 'b', alone)), { code: OK, message: '' })
  await takenAway(t, host, ['a', 'b'])
})

t.test('its data process is gone, and a pod has the device open', { skip }, async (t) => {
  const host = hostOf(t)
  await host.serve(1)
  await host.call('NodeStageVolume', stageRequest(host, BLOCK))
  await host.call('NodePublishVolume', publishRequest(host, 'a', BLOCK))
  const fd = openSync(host.at('a'), 'r+')
  writeFileSync(fd, 'what never gets there')
  await host.endServer()
  t.match(await host.call('NodeUnpublishVolume', { targetPath: host.at('a') }), { code: OK, message: '' })
  closeSync(fd)
  await takenAway(t, host, [])
})

t.test('its data process is gone, and a pod has a file open', { skip }, async (t) => {
  const host = hostOf(t)
  await host.serve(1)
  await host.stage(1, 'ext4')
  await host.publish(1, 'ext4', 'a', false)
  const fd = openSync(host.at('a/file'), 'w')
  const busy = await host.call('NodeUnpublishVolume', { targetPath: host.at('a') }, once)
  t.match(busy, { code: 13, message: /busy/ }, 'what is in use stays while its device works')
  await host.endServer()
  t.match(await host.call('NodeUnpublishVolume', { targetPath: host.at('a') }), { code: OK, message: '' })
  closeSync(fd)
  await takenAway(t, host, [])
})
