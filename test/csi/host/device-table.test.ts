/** Risk: an entry is half there after a crash, or one that is not understood is taken for nothing. */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { DeviceTable } from '../../../csi/host/device-table.ts'
import type { TableEntry } from '../../../csi/host/device-table.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const ID = '0123456789abcdef'.repeat(2)
const ENTRY: TableEntry = {
  version: 1, volumeId: ID, generation: 7, mode: 'single', state: 'attached', device: { kind: 'nbd', index: 3 },
  backend: `holdfast-${ID}-7`, sizeBytes: 1 << 30, blockSizeBytes: 4096, readOnly: false, connections: 2,
  deadConnectionMs: 605_000, socket: `/n1/attached/${ID}.7`,
  mounts: [{ path: '/data', fileSystem: 'ext4', options: ['noatime'] }],
}

t.test('what was saved is read, by the next one too; what is removed is gone', (t) => {
  const folder = temporaryFolder(t)
  const table = new DeviceTable(folder)
  t.same(table.read(), [])
  table.save(ENTRY)
  table.save({ ...ENTRY, state: 'detaching' })
  t.same(new DeviceTable(folder).read(), [{ ...ENTRY, state: 'detaching' }])
  table.remove(ID)
  table.remove(ID)
  t.same(new DeviceTable(folder).read(), [])
  t.end()
})

t.test('a write that was cut off is no entry, and takes none away', (t) => {
  const folder = temporaryFolder(t)
  const table = new DeviceTable(folder)
  table.save(ENTRY)
  const whole = readFileSync(path.join(folder, 'devices', `${ID}.json`))
  writeFileSync(path.join(folder, 'devices', `${ID}.json.new`), whole.subarray(0, 40))
  t.same(new DeviceTable(folder).read(), [ENTRY])
  t.same(readdirSync(path.join(folder, 'devices')), [`${ID}.json`])
  t.end()
})

t.test('nothing is guessed: a damaged entry, one of another version, one of another name', (t) => {
  const bad = ['', '{', 'null', '7', JSON.stringify({ ...ENTRY, version: 2 }), JSON.stringify({ ...ENTRY, state: 'x' }),
    JSON.stringify({ ...ENTRY, generation: '7' }), JSON.stringify({ ...ENTRY, volumeId: '../../etc' }),
    JSON.stringify({ ...ENTRY, volumeId: 'f'.repeat(32) }), JSON.stringify({ ...ENTRY, mounts: 1 })]
  for (const text of bad) {
    const folder = temporaryFolder(t)
    const table = new DeviceTable(folder)
    writeFileSync(path.join(folder, 'devices', `${ID}.json`), text)
    t.throws(() => table.read(), { code: 'keeper-state' }, text.slice(0, 60))
  }
  t.end()
})
