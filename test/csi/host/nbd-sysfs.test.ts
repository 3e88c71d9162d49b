/** Risk: a device that cannot be looked at for a moment is taken to be gone: its entry goes, or it is made twice. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { NbdSysfs } from '../../../csi/host/nbd-sysfs.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

t.test('what the kernel shows, what it does not, and what cannot be read', (t) => {
  const root = temporaryFolder(t)
  const sysfs = new NbdSysfs(root)
  const at = (...names: string[]): string => path.join(root, 'block', ...names)
  t.throws(() => sysfs.list(), { code: 'device-unread' }, '/sys is not mounted')
  for (const name of ['nbd0', 'nbd3', 'sda']) mkdirSync(at(name), { recursive: true })
  for (const name of ['nbd0', 'nbd3']) for (const file of ['size', 'ro']) writeFileSync(at(name, file), '8\n')
  writeFileSync(at('nbd3', 'pid'), '7\n')
  writeFileSync(at('nbd3', 'backend'), 'holdfast-x\n')
  const own = { index: 3, isUsed: true, backend: 'holdfast-x', sizeBytes: 4096, isReadOnly: false }
  t.same(sysfs.device(3), own)
  t.match(sysfs.device(0), { isUsed: false, backend: '' })
  t.equal(sysfs.device(9), undefined)
  t.equal(sysfs.list().length, 2)
  // Stands for an open that fails (EMFILE, ENOMEM): a read of it does.
  rmSync(at('nbd3', 'backend'))
  mkdirSync(at('nbd3', 'backend'))
  t.throws(() => sysfs.device(3), { code: 'device-unread', message: /nbd3.backend cannot be read: EISDIR/ })
  t.throws(() => sysfs.list(), { code: 'device-unread' })
  t.end()
})
