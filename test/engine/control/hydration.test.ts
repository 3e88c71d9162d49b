/** Risk: a clone shares for ever although it was to end, or blocks are copied that nobody wished to be. */
import t from 'tap'
import type { Action } from '../../../engine/control/actions.ts'
import { setVolume } from '../../../engine/control/cluster.ts'
import type { CopyStatus } from '../../../engine/control/node-status.ts'
import { newPlanner, planPass } from '../../../engine/control/plan.ts'
import { deleted, hydrated, notHydrated } from '../../../engine/control/volume-record.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import { GIB } from '../../../engine/units.ts'
import { LEVELS_MOST, PINS_MOST } from '../../../engine/volume/sharing-limits.ts'
import { NOW, recordOf, SmallCluster } from './small-cluster.ts'
import type { SmallNode } from './small-cluster.ts'

const RETRY_MS = 5000

class Clones extends SmallCluster {
  private readonly planner = newPlanner(this.cluster)
  private versions = 0

  /** A clone on these nodes, of which each copy shares. */
  clone(id: string, originId: string, nodes: readonly string[], share: Partial<CopyStatus> = {}): void {
    this.volume(id, nodes)
    const origin = { volumeId: originId, snapshotId: 's', seq: 0, epoch: 1 }
    this.put({ ...this.cluster.volumes.get(id)!.record!, origin })
    for (const node of nodes) this.copy(node, id, { sharedSlices: 3, sharedBytes: GIB, levels: 1, ...share })
  }

  put(record: VolumeRecord): void {
    setVolume(this.cluster, record.spec.id, record, `r${++this.versions}`)
  }

  recordOf(id: string): VolumeRecord {
    return this.cluster.volumes.get(id)!.record!
  }

  nextOf(id: string): string {
    return this.cluster.volumes.get(id)!.verdict!.next
  }

  pass(atMs = NOW): Action[] {
    return planPass(this.planner, atMs, '').filter(({ type }) => type !== 'change-age')
  }

  /** What is wished anew, by volume. */
  begun(atMs = NOW): Record<string, string | undefined> {
    if (atMs > NOW) this.later(atMs)
    const found: Record<string, string | undefined> = {}
    for (const action of this.pass(atMs))
      if (action.type === 'change-volume') found[action.volumeId] = action.record.hydration
    return found
  }
}

const three = (node: SmallNode = {}): Clones => new Clones({ n1: node, n2: node, n3: node })

t.test('O1: a wish is for clones, and a second one changes nothing', (t) => {
  const origin = { volumeId: 'o', snapshotId: 's', seq: 0, epoch: 1 }
  t.equal(hydrated(recordOf('v'), 'asked'), undefined)
  const wished = hydrated(recordOf('v', { origin }), 'depth')!
  t.equal(wished.hydration, 'depth')
  t.equal(hydrated(wished, 'asked'), undefined)
  t.same(notHydrated(wished), recordOf('v', { origin }))
  t.end()
})

t.test('O2, O3: each copy that shares is told to, again when its node forgot it, until none does', (t) => {
  const clones = three()
  clones.volume('o', ['n1', 'n2', 'n3'])
  clones.clone('c', 'o', ['n1', 'n2', 'n3'])
  t.same(clones.pass(), [], 'it may share')
  clones.put(hydrated(clones.recordOf('c'), 'asked')!)
  clones.copy('n2', 'c', { isHydrating: true })
  clones.copy('n3', 'c', { sharedSlices: 0 })
  t.match(clones.pass(), [{ type: 'hydrate-copy', volumeId: 'c', node: 'n1' }])
  t.equal(clones.nextOf('c'), 'n1, n2 get blocks of their own: 6 slice(s) of 1 GiB are left')
  clones.copy('n1', 'c', { isHydrating: true, sharedSlices: 1 })
  t.same(clones.pass(), [])
  clones.copy('n2', 'c', { isHydrating: false, sharedSlices: 2 })
  t.match(clones.pass(), [{ type: 'hydrate-copy', volumeId: 'c', node: 'n2' }], 'its node restarted')
  t.same(clones.pass(NOW + RETRY_MS - 1), [])
  clones.copy('n2', 'c', { isHydrating: true, sharedSlices: 2, lostBlocks: 4 })
  t.same(clones.pass(), [])
  t.match(clones.nextOf('c'), / 3 slice\(s\) .* left\. 4 block\(s\) are lost on every copy, and a slice that has one/)
  clones.copy('n1', 'c', { isHydrating: false, sharedSlices: 0 })
  clones.copy('n2', 'c', { sharedSlices: 0 })
  const [end, ...rest] = clones.pass()
  t.same(rest, [])
  t.match(end, { type: 'change-volume', volumeId: 'c', version: clones.cluster.volumes.get('c')!.recordVersion })
  t.same((end as { record: VolumeRecord }).record, notHydrated(clones.recordOf('c')))
  clones.put(notHydrated(clones.recordOf('c')))
  t.same(clones.pass(), [])
  t.equal(clones.cluster.hydrating.size, 0)
  t.end()
})

t.test('O3: who is away is waited for, unless it said once that it shares nothing', (t) => {
  const clones = three()
  clones.clone('c', 'o', ['n1', 'n2', 'n3'], { sharedSlices: 0, levels: 0 })
  clones.copy('n3', 'c', { sharedSlices: 1 })
  clones.put(hydrated(clones.recordOf('c'), 'asked')!)
  clones.later(NOW + 60_000, ['n3'])
  t.notMatch(clones.pass(NOW + 60_000).map(({ type }) => type), ['change-volume'])
  clones.copy('n3', 'c', { sharedSlices: 0 }, NOW + 60_001)
  clones.later(NOW + 120_000, ['n2'])
  t.match(clones.pass(NOW + 120_000).filter(({ type }) => type === 'change-volume'), [{ volumeId: 'c' }])
  t.end()
})

t.test('O3: that a node has no such copy may have been said before it was made', (t) => {
  const clones = three()
  clones.clone('c', 'o', ['n1', 'n2'], { sharedSlices: 0, levels: 0 })
  clones.copy('n2', 'c', undefined)
  clones.put(hydrated(clones.recordOf('c'), 'asked')!)
  t.same(clones.begun(), {})
  t.same(clones.begun(NOW + RETRY_MS), {})
  t.end()
})

t.test('O4: a long chain is cut at its first clone that reads so many levels', (t) => {
  const clones = three()
  clones.volume('v0', ['n1', 'n2', 'n3'])
  for (let level = 1; level <= 7; level++) clones.clone(`v${level}`, `v${level - 1}`, ['n1', 'n2'], { levels: level })
  t.same(clones.begun(), { v5: 'depth' })
  clones.put(hydrated(clones.recordOf('v5'), 'depth')!)
  t.same(clones.begun(NOW + RETRY_MS), {})
  clones.put(deleted(clones.recordOf('v5'), 0)!)
  t.same(clones.begun(NOW + 2 * RETRY_MS), { v6: 'depth' }, 'in the trash it gets nothing')
  t.end()
})

t.test('O4: of many clones of one volume the one that takes the least, one at a time', (t) => {
  const clones = new Clones({ n1: {}, n2: {}, n3: {} }, { hydrateReaders: 4 })
  clones.volume('o', ['n1', 'n2', 'n3'])
  for (const id of ['a', 'b', 'c', 'd']) clones.clone(id, 'o', ['n1', 'n2'], { sharedBytes: GIB })
  clones.copy('n2', 'c', { sharedBytes: GIB / 2 })
  clones.copy('n1', 'c', { sharedBytes: GIB / 2 })
  clones.copy('n1', 'o', { readers: 3 })
  t.same(clones.begun(), {})
  clones.copy('n1', 'o', { readers: 4 })
  t.same(clones.begun(), { c: 'clones' })
  t.same(clones.begun(NOW + RETRY_MS), { c: 'clones' }, 'the compare-and-swap was lost')
  clones.put(hydrated(clones.recordOf('c'), 'clones')!)
  t.same(clones.begun(NOW + 2 * RETRY_MS), {})
  clones.put(deleted(clones.recordOf('c'), 0)!)
  t.same(clones.begun(NOW + 3 * RETRY_MS), { a: 'clones' })
  t.end()
})

t.test('O4: who alone reads what is left of its origin', (t) => {
  const clones = three()
  clones.clone('c', 'o', ['n1', 'n2'], { isLastReader: true })
  clones.copy('n2', 'c', { isLastReader: false })
  t.same(clones.begun(), {}, 'on n2 others read it too')
  clones.copy('n2', 'c', { isLastReader: true })
  t.same(clones.begun(), { c: 'remains' })
  clones.volume('o', ['n3'])
  t.same(clones.begun(NOW + RETRY_MS), {}, 'its origin is there, and has been moved')
  t.end()
})

t.test('O5: not without room, nor beyond the budget, nor while a copy is filled', (t) => {
  const small = three({ capacityBytes: 20 * GIB, freeBytes: 4 * GIB })
  small.clone('c', 'o', ['n1', 'n2'], { isLastReader: true, sharedBytes: 3 * GIB })
  t.same(small.begun(), {}, 'a tenth of the disk is to be free')
  small.put(hydrated(small.recordOf('c'), 'asked')!)
  t.match(small.pass(), [{ type: 'hydrate-copy' }, { type: 'hydrate-copy' }], 'who asks for it gets it')
  const many = new Clones({ n1: {}, n2: {}, n3: {} }, { hydrationsMax: 2 })
  for (const id of ['a', 'b', 'c']) many.clone(id, 'o', ['n1', 'n2'], { isLastReader: true })
  t.same(Object.keys(many.begun()), ['a', 'b'])
  const filling = three()
  filling.clone('c', 'o', ['n1', 'n2'], { isLastReader: true })
  filling.copy('n1', 'c', { role: 'primary', held: 'it waits for n2' })
  t.same(filling.begun(), {})
  filling.copy('n1', 'c', { held: '' })
  t.same(filling.begun(), { c: 'remains' })
  t.end()
})

t.test('O5: room that is promised to one is not promised to another', (t) => {
  const small = three({ capacityBytes: 20 * GIB, freeBytes: 6 * GIB })
  for (const id of ['a', 'b']) small.clone(id, 'o', ['n1'], { isLastReader: true, sharedBytes: 3 * GIB })
  t.same(small.begun(), { a: 'remains' })
  small.put(hydrated(small.recordOf('a'), 'remains')!)
  t.same(small.begun(NOW + RETRY_MS), {})
  small.copy('n1', 'a', { sharedBytes: GIB })
  t.same(small.begun(NOW + 2 * RETRY_MS), { b: 'remains' })
  t.end()
})

t.test('a clone that cannot be made for now says why', (t) => {
  const clones = three()
  clones.volume('o', ['n1', 'n2', 'n3'])
  const origin = { volumeId: 'o', snapshotId: 's', seq: 0, epoch: 1 }
  for (const node of ['n1', 'n2', 'n3']) clones.copy(node, 'o', { levels: LEVELS_MOST - 1 })
  clones.put(recordOf('c', { origin }))
  // Which nodes are asked is looked at in the pass after they were chosen.
  clones.pass()
  clones.pass()
  t.match(clones.nextOf('c'), /^7 clones lie below one another: it waits/)
  for (const node of ['n1', 'n2', 'n3']) clones.copy(node, 'o', { levels: 0, readers: PINS_MOST })
  clones.put(recordOf('c', { origin }))
  clones.pass()
  t.match(clones.nextOf('c'), /^1024 clones share with its origin: it waits/)
  t.end()
})
