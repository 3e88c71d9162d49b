/** Snapshots and rollbacks, also to a snapshot that an earlier rollback had left behind, see what they should. */
import t from 'tap'
import type { BlockVersion } from '../../../engine/replication/record.ts'
import { emptyVersionMap, insertVersion, settleAll, visibleAt, wipe } from './version-map.ts'

const write = (seq: number, epoch = 1): BlockVersion => ({
  epoch,
  seq,
  lba: 0,
  kind: 'write',
  payload: { bytes: 4096, data: seq },
})
const trim = (seq: number): BlockVersion => ({ epoch: 1, seq, lba: 0, kind: 'trim', payload: undefined })

t.test('a rollback shows what its snapshot showed, again after another one', (t) => {
  const map = emptyVersionMap()
  const seen = () => visibleAt(map, 0, Infinity)?.seq
  insertVersion(map, write(2))
  map.snapshots.push({ id: 'a', seq: 3 })
  insertVersion(map, write(4))
  map.snapshots.push({ id: 'b', seq: 5 })
  insertVersion(map, write(6))
  t.equal(seen(), 6)
  map.rollbacks.push([3, 7])
  t.equal(seen(), 2)
  map.rollbacks.push([5, 8])
  t.equal(seen(), 4, 'what the first rollback hid is back')
  settleAll(map)
  t.same(
    map.blocks.get(0)!.map(({ seq }) => seq),
    [2, 4],
    'nobody sees the last one any more',
  )
  insertVersion(map, write(9))
  t.same([seen(), visibleAt(map, 0, 5)?.seq, visibleAt(map, 0, 3)?.seq], [9, 4, 2])
  t.end()
})

t.test('versions that come out of order stand where their id puts them', (t) => {
  const map = emptyVersionMap()
  map.snapshots.push({ id: 'a', seq: 3 })
  for (const version of [write(5), write(2), write(4), write(5)]) insertVersion(map, version)
  t.same(
    map.blocks.get(0)!.map(({ seq }) => seq),
    [2, 5],
  )
  t.end()
})

t.test('the trace of a trim goes when nobody needs it', (t) => {
  const map = emptyVersionMap()
  insertVersion(map, write(2))
  insertVersion(map, trim(3))
  t.same([map.blocks.get(0)!.length, map.forgottenSeq], [1, 0])
  map.trimsKeptAbove = 3
  settleAll(map)
  t.same([map.blocks.size, map.forgottenSeq], [0, 3])
  insertVersion(map, write(4))
  wipe(map, 0, 1)
  t.equal(map.blocks.size, 0)
  t.end()
})
