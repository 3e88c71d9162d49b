/** Risk: writes that a device failed go with the unstage, and nobody is told. Here a loop device's file has no room. */
import { noOwnMounts } from './own-mounts.ts'
import { spawnSync } from 'node:child_process'
import { mkdirSync, realpathSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { findProgram } from '../../../csi/host/host-command.ts'
import type { DeviceNotes, HostDevice, HostDevices } from '../../../csi/host/host-devices.ts'
import { KubeletFolder } from '../../../csi/host/kubelet-paths.ts'
import { mountAt } from '../../../csi/host/mountinfo.ts'
import { stage } from '../../../csi/node/staging.ts'
import { unstage } from '../../../csi/node/unstaging.ts'
import { MIB } from '../../../engine/units.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const PROGRAMS = ['mkfs.ext4', 'e2fsck', 'resize2fs', 'losetup'] as const
const missing = PROGRAMS.find((program) => findProgram(program) === undefined)
const skip = noOwnMounts ?? (missing !== undefined && `${missing} is not installed`)

function must(command: string, ...words: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, words, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${words.join(' ')}: ${stderr}`)
  return stdout.trim()
}

const ID = 'd'.repeat(32)
const GENERATION = 3

/** A volume of 96 MiB with an ext4, of which 16 MiB have room. */
function withoutRoom(t: Test) {
  const dir = realpathSync(temporaryFolder(t))
  const at = (name: string): string => path.join(dir, name)
  for (const folder of ['small', 'kubelet', 'n1/attached']) mkdirSync(at(folder), { recursive: true })
  writeFileSync(at(`n1/attached/${ID}.${GENERATION}`), '')
  must('mount', '-t', 'tmpfs', '-o', 'size=16m', 'small', at('small'))
  t.teardown(() => must('umount', at('small')))
  const image = at('small/image')
  writeFileSync(image, '')
  truncateSync(image, 96 * MIB)
  // With a journal that fails, too, it would be read-only then.
  must('mkfs.ext4', '-q', '-F', '-O', '^has_journal', '-E', 'nodiscard', image)
  const loop = must('losetup', '--find', '--show', image)
  t.teardown(() => must('losetup', '--detach', loop))
  const stagingPath = at('kubelet/staged')
  t.teardown(() => spawnSync('umount', [stagingPath]))
  let device: HostDevice = {
    volumeId: ID, generation: GENERATION, mode: 'single', path: loop, state: 'attached', sizeBytes: 96 * MIB,
    blockSizeBytes: 512, readOnly: false, mounts: [],
  }
  const devices = {
    attach: async () => device,
    find: async () => device,
    list: async () => [device],
    detach: async () => {},
    note: async (_: string, { mounts }: DeviceNotes) => (device = { ...device, mounts }),
  } as unknown as HostDevices
  const attach = { mode: 'single', generation: GENERATION, holders: [{ node: 'n1', generation: GENERATION }] }
  const volume = { id: ID, name: 'data', ioTimeoutMs: 0, attach } as never
  const options = {
    api: { getVolume: async () => volume }, devices, node: 'n1', nodeFolder: at('n1'),
    kubelet: new KubeletFolder(at('kubelet')),
  }
  const use = { fsType: 'ext4' as const, options: [], isReadOnly: false, isForOnePod: false }
  const attachment = { generation: GENERATION, mode: 'single' as const }
  return {
    stagingPath,
    write: (name: string, mib: number) => writeFileSync(path.join(stagingPath, name), Buffer.alloc(mib * MIB, 1)),
    stage: () => stage(options, { volume, attachment, use, stagingPath }, async () => {}),
    unstage: () => unstage(options, ID, stagingPath),
  }
}

const lost = {
  code: 'host-command',
  message: /sync was to bring to the volume what was written at .*staged and is in memory only.*sync/,
}

t.test('told once, and then it goes on', { skip }, async (t) => {
  const { stagingPath, write, stage, unstage } = withoutRoom(t)
  await stage()
  write('fits', 1)
  await unstage()
  t.equal(mountAt(stagingPath), undefined)
  await stage()
  write('too-much', 48)
  await t.rejects(unstage(), lost)
  t.not(mountAt(stagingPath), undefined)
  await unstage()
  t.equal(mountAt(stagingPath), undefined)
})

t.test('told again when it was staged again: a mount may have the number of one that ended', { skip }, async (t) => {
  const first = withoutRoom(t)
  await first.stage()
  first.write('too-much', 48)
  await t.rejects(first.unstage(), lost)
  await first.stage()
  first.write('more', 8)
  await t.rejects(first.unstage(), lost, 'while it was mounted still')
  await first.unstage()
  const second = withoutRoom(t)
  await second.stage()
  second.write('too-much', 48)
  await t.rejects(second.unstage(), lost, 'as another mount')
})
