/**
 * Risk: a file system below a node's folder that is full, read-only or failing ends a node that serves, or lets it say
 * more than it has kept.
 */
import { mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { KeptFiles } from '../../dataplane/kept-files.ts'
import { keepStoreMemory, MetNodes, readMet } from '../../dataplane/known-store.ts'
import { replaceFile } from '../../dataplane/node-folder.ts'
import { SuspectDisks, suspectDisks } from '../../dataplane/suspect-disks.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { DiskStatus } from '../../engine/volume/volume-spec.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** A file that cannot be written, also by root, until it is mended. */
function failing(file: string): { mend(): void } {
  mkdirSync(`${file}.new`)
  return { mend: () => rmdirSync(`${file}.new`) }
}

function logOf(): { told: string[]; event(level: string, message: string): void } {
  const told: string[] = []
  return { told, event: (level, message) => void told.push(`${level} ${message}`) }
}

const NOT_KEPT = 'error a file of the node is not kept; the node goes on and tries again'
const AGAIN = 'info a file of the node is kept again'

t.test('a failure is told once, and its end', async (t) => {
  const file = path.join(temporaryFolder(t), 'x.json')
  const { mend } = failing(file)
  const log = logOf()
  const files = new KeptFiles(log)
  const keep = (): boolean => files.tried(file, () => replaceFile(file, 'x'))
  t.same([keep(), keep()], [false, false])
  t.throws(() => replaceFile(file, 'x'), { code: 'folder-write', message: /x\.json cannot be written: EISDIR/ })
  mend()
  t.same([keep(), keep()], [true, true])
  t.same(log.told, [NOT_KEPT, AGAIN])
  t.throws(() => files.tried(file, () => { throw new Error('a bug') }), /a bug/)
})

t.test('only who is in the file was met', async (t) => {
  const file = path.join(temporaryFolder(t), 'nodes.json')
  const met = new MetNodes(file)
  met.keep(['n3', 'n2'])
  const { mend } = failing(file)
  met.keep(['n2', 'n3'])
  t.throws(() => met.keep(['n2', 'n4']), HoldfastError)
  t.same(['n2', 'n3', 'n4'].map((name) => met.has(name)), [true, false, false])
  mend()
  met.keep(['n2', 'n3'])
  t.same([readMet(file), met.has('n3')], [['n2', 'n3'], true])
  t.ok(new MetNodes(file).has('n3'))
})

t.test('what is known of the store is written when it changed', async (t) => {
  const file = path.join(temporaryFolder(t), 'store.json')
  let revision = 1
  const keep = (): number => {
    const store = { known: () => ({ clusterId: 'c', revision }) }
    keepStoreMemory(file, store as never, { era: 0, startNumber: 1 })
    return statSync(file).ino
  }
  const first = keep()
  t.equal(keep(), first, 'a file that is replaced has another inode')
  revision++
  t.not(keep(), first)
  t.match(JSON.parse(readFileSync(file, 'utf8')), { revision: 2 })
})

t.test('a suspect disk is kept as soon as it can be', async (t) => {
  const file = path.join(temporaryFolder(t), 'suspect-disks.json')
  const log = logOf()
  const suspects = new SuspectDisks(file, log)
  const disk = { uuid: 'u', path: '/d', state: 'suspect', reason: 'r' } as unknown as DiskStatus
  const { mend } = failing(file)
  suspects.seen([disk])
  suspects.seen([disk])
  t.same([suspectDisks(file), suspects.all.length], [[], 1])
  mend()
  suspects.seen([disk])
  t.match(suspectDisks(file), [{ uuid: 'u' }])
  t.equal(log.told.filter((line) => line === NOT_KEPT).length, 1)
})

t.test('a file is whole or the former one', async (t) => {
  const file = path.join(temporaryFolder(t), 'x.json')
  writeFileSync(file, 'former')
  failing(file)
  t.throws(() => replaceFile(file, 'new'), HoldfastError)
  t.equal(readFileSync(file, 'utf8'), 'former')
})
