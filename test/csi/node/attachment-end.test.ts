/** Risk: a device of an attachment that is over is waited for, since only the dead daemon beside it is asked. */
import { mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { DetachOptions, HostDevice, HostDevices } from '../../../csi/host/host-devices.ts'
import { KubeletFolder } from '../../../csi/host/kubelet-paths.ts'
import { attachmentEnd } from '../../../csi/node/attachment-end.ts'
import type { AskVolume } from '../../../csi/node/attachment-end.ts'
import { unstage } from '../../../csi/node/unstaging.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const ID = 'c'.repeat(32)
const silent: AskVolume = async () => {
  throw new HoldfastError('unreachable', { endpoint: 'x', source: 'y', reason: 'ECONNREFUSED' })
}
const says = (highest: number, held: Record<string, number> = {}): AskVolume => async () => {
  const holders = Object.entries(held).map(([node, generation]) => ({ node, generation }))
  return { attach: { mode: 'single', generation: highest, holders } }
}
const none: AskVolume = async () => {
  throw new HoldfastError('volume-not-found', { name: ID })
}

t.test('who does not know is passed over, silence says nothing', async (t) => {
  const ask = (...asked: AskVolume[]) => attachmentEnd(asked, 'n1', { volumeId: ID, generation: 3 })
  t.equal(await ask(), 'unknown')
  t.equal(await ask(silent, silent), 'unknown')
  t.equal(await ask(silent, says(3, { n1: 3 })), 'held')
  t.equal(await ask(silent, says(4)), 'over', 'fenced')
  t.equal(await ask(says(5, { n2: 5 })), 'over', 'held elsewhere')
  t.equal(await ask(says(6, { n1: 6 })), 'over', 'held here, anew')
  t.equal(await ask(says(7, { n1: 3, n2: 7 })), 'held', 'shared')
  t.equal(await ask(says(2)), 'unknown', 'what was known before it began')
  t.equal(await ask(says(2), says(4)), 'over')
  t.equal(await ask(silent, none), 'gone')
  await t.rejects(ask(async () => {
    throw new TypeError('a bug')
  }), TypeError)
})

for (const elsewhere of [undefined, silent, says(3, { n1: 3 }), says(4)]) {
  const isOver = elsewhere !== undefined && (await elsewhere(ID).catch(() => undefined))?.attach.generation === 4
  t.test(`an unstage while the daemon here is dead, ${isOver ? 'and the volume is elsewhere' : 'and nobody says more'}`,
    async (t) => {
      const dir = realpathSync(temporaryFolder(t))
      mkdirSync(path.join(dir, 'staging'))
      writeFileSync(path.join(dir, 'image'), '')
      const device: HostDevice = {
        volumeId: ID, generation: 3, mode: 'single', path: path.join(dir, 'image'), state: 'attached', sizeBytes: 4096,
        blockSizeBytes: 512, readOnly: false, mounts: [],
      }
      const forced: boolean[] = []
      const devices = {
        find: async () => device, list: async () => [device],
        detach: async (_: string, { force = false }: DetachOptions = {}) => void forced.push(force),
      } as Partial<HostDevices> as HostDevices
      const options = {
        api: { getVolume: silent as never }, elsewhere, devices, node: 'n1', nodeFolder: dir,
        kubelet: new KubeletFolder(dir),
      }
      await unstage(options, ID, path.join(dir, 'staging'))
      t.ok(forced.length > 0)
      t.ok(forced.every((one) => one === isOver), `forced: ${forced.join()}`)
    })
}
