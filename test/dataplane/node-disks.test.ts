/** Risk: a disk that some workers write to is given back or forgotten, and the next start lacks what it has. */
import t from 'tap'
import { NodeDisks } from '../../dataplane/node-disks.ts'
import type { PreparedDisk } from '../../dataplane/disk-preparation.ts'
import { HoldfastError } from '../../engine/errors.ts'

const REQUEST = { path: '/data/x', sizeBytes: 0, pool: 'default', tags: [] }
const shown = { disks: [{ path: '/data/x', state: 'online', capacityBytes: 1, freeBytes: 1 }] }

/**
 * @param takes      of each worker, whether it takes the disk
 * @param isWritable  the folder of the node
 */
function nodeWith(takes: boolean[], isWritable = true): { disks: NodeDisks; did: string[] } {
  const did: string[] = []
  const replicationCall = (isTaking: boolean) => async ({ kind }: { kind: string }) => {
    if (kind === 'status') return shown
    did.push(isTaking ? 'taken' : 'refused')
    if (!isTaking) throw new HoldfastError('disk-open', { disk: '/data/x', reason: 'no descriptors are left' })
    return undefined
  }
  const disks = new NodeDisks({
    node: 'n1',
    workers: () => takes.map((isTaking) => ({ replicationCall: replicationCall(isTaking) as never })),
    prepare: () => ({ pool: 'p', tags: [] }) as unknown as PreparedDisk,
    release: () => void did.push('released'),
    remember: ({ path, pool }) => {
      if (!isWritable) throw new HoldfastError('folder-write', { file: 'disks.json', reason: 'it is full' })
      did.push(`remembered ${path} of ${pool}`)
      return () => void did.push('forgotten')
    },
  })
  return { disks, did }
}

t.test('all workers take it', async (t) => {
  const { disks, did } = nodeWith([true, true])
  t.match(await disks.add(REQUEST), { path: '/data/x', node: 'n1' })
  t.same(did, ['remembered /data/x of p', 'taken', 'taken'], 'one that is written to is never forgotten')
})

t.test('none takes it: it is given back', async (t) => {
  const { disks, did } = nodeWith([false, false])
  await t.rejects(disks.add(REQUEST), { code: 'disk-open' })
  t.same(did, ['remembered /data/x of p', 'refused', 'refused', 'forgotten', 'released'])
})

t.test('one of them takes it: it stays locked, and is opened at the next start', async (t) => {
  const { disks, did } = nodeWith([false, true])
  const message = /taken by 1 of 2 data workers only: .*no descriptors are left/
  await t.rejects(disks.add(REQUEST), { code: 'disk-partly-taken', message })
  t.same(did, ['remembered /data/x of p', 'refused', 'taken'])
})

t.test('a folder that cannot be written: no worker is asked', async (t) => {
  const { disks, did } = nodeWith([true, true], false)
  await t.rejects(disks.add(REQUEST), { code: 'folder-write' })
  t.same(did, ['released'])
})
