/** A list in leaves is the same list, whatever was done to it, and a change makes few leaves. */
import t from 'tap'
import type { Snapshot, VolumeDescriptor } from '../../../engine/volume/descriptor.ts'
import {
  cutList, decodeLeaf, encodeLeaf, isLeaf, withList, withNames, type LeafName, type SnapshotLeaf,
} from '../../../engine/volume/snapshot-leaves.ts'
import { Random } from '../../sim/random.ts'

const snapshot = (seq: number): Snapshot => ({ id: `s${seq}`, seq, pinnedBy: null })
const holding = (snapshots: Snapshot[]) => ({ format: 1, snapshots }) as unknown as VolumeDescriptor
const idsOf = (list: readonly Snapshot[]): string[] => list.map(({ id }) => id)

class Leaves {
  now: SnapshotLeaf[] = []
  readonly all = new Map<number, SnapshotLeaf>()
  made = 0
  private revision = 0

  cut(list: readonly Snapshot[], most: number): void {
    this.made = 0
    this.now = cutList(list, this.now, most).map((piece) => (isLeaf(piece) ? piece : this.make(piece)))
  }

  readonly find = ([revision, crc]: LeafName): SnapshotLeaf | undefined => {
    const leaf = this.all.get(revision)
    return leaf?.crc === crc ? leaf : undefined
  }

  private make(snapshots: readonly Snapshot[]): SnapshotLeaf {
    this.made++
    const leaf = { revision: ++this.revision, crc: 1000 + this.revision, snapshots }
    this.all.set(leaf.revision, leaf)
    return leaf
  }
}

t.test('made, deleted from anywhere, replaced: what is stored is the whole list', (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(`leaves ${seed}`)
    const most = 2 + random.int(5)
    const leaves = new Leaves()
    let list: Snapshot[] = []
    let seq = 0
    for (let i = 0; i < 200; i++) {
      const before = leaves.now
      const dice = random.int(100)
      if (dice < 60) list = [...list, snapshot(++seq)]
      else if (dice < 98 && list.length > 0) {
        const gone = list[random.int(list.length)]
        list = list.filter((one) => one !== gone)
      } else if (dice === 98) list = list.map((one) => ({ ...one }))
      const other = dice === 98
      // A body that makes no leaves names those that are whole.
      const plain = withNames(holding(list), before)
      t.same(idsOf(withList(plain, leaves.find)!.descriptor.snapshots), idsOf(list), `seed ${seed}, step ${i}`)
      leaves.cut(list, most)
      const stored = withNames(holding(list), leaves.now)
      const whole = withList(stored, leaves.find)!
      t.same(idsOf(whole.descriptor.snapshots), idsOf(list), `seed ${seed}, step ${i}`)
      t.same(whole.leaves, leaves.now)
      t.notOk('leaves' in whole.descriptor)
      t.ok(stored.snapshots.length < most, 'the rest is less than a leaf')
      t.ok(leaves.now.every(({ snapshots }) => snapshots.length > 0 && snapshots.length <= most))
      if (!other) t.ok(leaves.made <= 2, `seed ${seed}, step ${i}: one change made ${leaves.made} leaves`)
      t.ok(leaves.now.length <= 1 + (2 * list.length) / most || other, `${leaves.now.length} leaves of ${list.length}`)
    }
  }
  t.end()
})

t.test('a leaf that is not there is not guessed', (t) => {
  const leaves = new Leaves()
  const list = [1, 2, 3, 4, 5].map(snapshot)
  leaves.cut(list, 2)
  const stored = withNames(holding(list), leaves.now)
  t.same(stored.leaves, [[1, 1001], [2, 1002]])
  t.same(idsOf(stored.snapshots), ['s5'])
  leaves.all.set(2, { ...leaves.all.get(2)!, crc: 7 })
  t.equal(withList(stored, leaves.find), undefined, 'another one has its revision')
  leaves.all.delete(2)
  t.equal(withList(stored, leaves.find), undefined)
  t.end()
})

t.test('a descriptor without leaves is as it was', (t) => {
  const descriptor = holding([snapshot(1)])
  t.equal(withNames(descriptor, []), descriptor)
  t.same(withList(descriptor, () => undefined), { descriptor, leaves: [] })
  t.end()
})

t.test('the body of a leaf', (t) => {
  const title = { name: 'daily', createdAtMs: 1_800_000_000_000, labels: { of: 'db' } }
  const snapshots = [snapshot(3), { ...snapshot(2 ** 47), sizeBytes: 2 ** 46, title }]
  t.same(decodeLeaf(encodeLeaf(snapshots)), snapshots)
  for (const bad of ['', '{}', '{"format":2,"snapshots":[]}', '{"format":1,"snapshots":3}', 'null'])
    t.equal(decodeLeaf(new TextEncoder().encode(bad)), undefined, bad)
  t.end()
})
