/**
 * Risk: where the kernel has no NBD client the keeper runs programs again and again, and all devices wait for them; a
 * folder that goes while it is looked at ends the process.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { TableEntry } from '../../../csi/host/device-table.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { KernelPort } from '../../../csi/host/kernel-port.ts'

const skip = existsSync('/sys/module/nbd') ? 'the kernel here has its NBD client' : false

t.test('its module is loaded for who wants a device, and not again at once', { skip }, (t) => {
  let loads = 0
  const port = new KernelPort(() => void loads++)
  t.same(port.devices(), [])
  t.same(port.deadLinks(), [])
  t.throws(() => port.disconnect(0), { code: 'kernel-nbd' })
  t.equal(loads, 0)
  for (let time = 0; time < 3; time++) t.throws(() => port.load(), { code: 'kernel-nbd' })
  t.equal(loads, 1)
  t.end()
})

t.test('what is offered, in a folder that comes and goes', (t) => {
  const port = new KernelPort(() => undefined)
  const volumeId = 'a'.repeat(32)
  const folder = path.join(temporaryFolder(t), 'attached')
  const newest = () => port.newestOffered({ volumeId, socket: `${folder}/${volumeId}.3` } as TableEntry)
  t.equal(newest(), undefined)
  mkdirSync(folder)
  for (const name of [`${volumeId}.3`, `${volumeId}.12`, `${'b'.repeat(32)}.99`]) writeFileSync(`${folder}/${name}`, '')
  t.equal(newest(), 12)
  rmSync(folder, { recursive: true })
  writeFileSync(folder, '')
  t.equal(newest(), undefined, 'it cannot be read')
  t.end()
})
