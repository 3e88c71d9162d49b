/** A node without its folder is itself by its disks, and nobody else by anybody's. */
import path from 'node:path'
import t from 'tap'
import { ownerOfDisks } from '../../dataplane/disk-owner.ts'
import { prepareDisk, releaseDisk } from '../../dataplane/disk-preparation.ts'
import { MIB } from '../../engine/units.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const id = (digit: string): string => digit.repeat(32)

t.test('whose disks they are', (t) => {
  const dir = temporaryFolder(t)
  const disk = (name: string) => ({ path: path.join(dir, name), sizeBytes: 300 * MIB, pool: 'default', tags: [] })
  const make = (name: string, nodeName: string, nodeId: string) => {
    const made = prepareDisk(disk(name), { nodeName, nodeId, clusterId: id('c') }, 1)
    if (!made.ok) throw made.error
    return made.value
  }
  const owner = (disks: Parameters<typeof ownerOfDisks>[0], name: string) => ownerOfDisks(disks, name, 'http://s:1')
  t.equal(owner([disk('none')], 'n1'), undefined, 'a disk that is to be made')
  const inUse = make('a', 'n1', id('1'))
  t.throws(() => owner([disk('a')], 'n1'), { code: 'disk-busy' })
  releaseDisk(inUse)
  for (const [name, node, owner] of [['b', 'n1', id('1')], ['c', 'n2', id('2')], ['d', 'n1', id('3')]] as const) {
    releaseDisk(make(name, node, owner))
  }
  t.same(owner([disk('none'), disk('a'), disk('b')], 'n1'), { clusterId: id('c'), nodeId: id('1') })
  t.throws(() => owner([disk('a'), disk('c')], 'n1'), { code: 'disk-lost-cluster', message: /belongs to node n2/ })
  t.throws(() => owner([disk('a')], 'n9'), { code: 'disk-lost-cluster' }, 'under another name it is nobody')
  t.throws(() => owner([disk('a'), disk('d')], 'n1'), { code: 'disk-lost-cluster' }, 'two nodes had that name')
  t.end()
})
