/**
 * Risk: the log of changes misses a block, and a backup of the difference lacks it for ever; or it costs what the map
 * costs. Random histories against a model, what the log tells against the map (`test/sim/change-check.ts`), and what is
 * read of the index. A bounded selection of seeds.
 */
// test-timeout-seconds: 240
import t from 'tap'
import { forgetChanges, mergeNewest } from '../../../engine/log/change-merging.ts'
import { metaKey, rangeOf } from '../../../engine/log/index-keys.ts'
import { SNAPSHOT_RUN_KIND } from '../../../engine/replication/messages.ts'
import type { ControlChange } from '../../../engine/replication/record.ts'
import { runTask } from '../../../engine/task.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import { fsck } from '../../sim/fsck.ts'
import { runs } from './copy-runs.ts'

const tiny = { pagesMax: 2, checkpointBytes: 16 * 1024, pendingMax: 8 }
const changes = { operations: 300, snapshots: true, changes: true }

t.test('compared while everything goes on, checkpoints all the time', (t) => {
  runs(t, 1, 8, { ...changes, world: tiny })
  t.end()
})

t.test('many snapshots, of which many go; rollbacks that keep what they roll away', (t) => {
  runs(t, 101, 6, { ...changes, snapshotsMost: 12, keeps: true, world: tiny })
  t.end()
})

t.test('filled again and again, on two disks that are small', (t) => {
  runs(t, 201, 6, { ...changes, fills: true, keeps: true })
  runs(t, 301, 6, { ...changes, fills: true, world: { disks: 2, segments: 20, ...tiny } })
  t.end()
})

t.test('two disks that write back', (t) => {
  runs(t, 401, 4, { ...changes, fills: true, writeback: true, world: { disks: 2, ...tiny } })
  t.end()
})

const MIB = 2 ** 20
const { data, hole } = SNAPSHOT_RUN_KIND

/** A copy of 64 MiB of which each page holds something, and an eye on what is read of its index. */
class Cost {
  world: CopyWorld
  private seq = 1
  pagesRead = 0

  constructor(seed: number) {
    this.world = new CopyWorld({ seed, segments: 60 }, { sizeBytes: 64 * MIB })
    this.world.open()
    this.world.epoch(1, 1)
    this.apply()
  }

  apply(): void {
    this.world.settle()
    this.world.copy.apply(this.seq, { at: this.seq })
  }

  write(lba: number, blockCount = 1): void {
    this.world.append(write(1, ++this.seq, lba, Array.from({ length: blockCount }, () => this.seq)))
    this.apply()
  }

  trim(lba: number, blockCount: number): void {
    this.world.append({ kind: 'trim', epoch: 1, seq: ++this.seq, request: undefined, lba, blockCount })
    this.apply()
  }

  control(change: ControlChange): void {
    this.world.control(1, ++this.seq, change)
    this.apply()
  }

  snapshot(id: string): void {
    this.control({ operation: 'snapshot', id })
  }

  rollBack(to: string): void {
    this.control({ operation: 'rollback', to })
  }

  get target() {
    return this.world.copy.targets[0]!
  }

  /** Everything is in the index, no page in memory. */
  checkpoint(): void {
    const { stream, map } = this.target
    this.world.world.await<boolean>((done) => stream.makeCheckpoint(done))
    stream.map.dropPages(map)
  }

  /** Of the log of changes, in the index. */
  values(): number {
    const { index } = this.target.stream.map
    return this.world.world.await<number>((done) =>
      index.range({ ...rangeOf('change'), limit: 1000 }, (_, entries) => done(entries.length)),
    )
  }

  compare(id: string, sinceId: string): number[] {
    const [place, since] = [id, sinceId].map((one) => {
      const { epoch, seq } = this.world.copy.snapshot(one)!
      return { id: one, epoch, seq }
    }) as [never, never]
    const { index } = this.target.stream.map
    const range = index.range.bind(index)
    this.pagesRead = 0
    index.range = (options, done) =>
      range(options, (ok, entries) => {
        this.pagesRead += entries.filter(([key]) => key[0] === 0x70).length
        done(ok, entries)
      })
    const runs: number[] = []
    for (let lba = 0; lba < 16_384;) {
      const token = this.world.begin((token) =>
        this.world.copy.mapSnapshot(token, place, { lba, blockCount: 16_384 - lba, since }),
      )
      let event = this.world.answerTo(token)
      this.world.world.clock.runUntil(() => (event ??= this.world.answerTo(token)) !== undefined)
      if (event?.type !== 'mapped' || !event.ok) throw new Error('no map')
      runs.push(...event.runs)
      lba = event.endLba
    }
    index.range = range
    return runs
  }
}

const filled = (seed = 5): Cost => {
  const cost = new Cost(seed)
  for (let page = 0; page < 64; page++) cost.write(page * 256, 4)
  cost.snapshot('a')
  return cost
}

t.test('no page of the map is read for what was written', (t) => {
  const cost = filled()
  for (let i = 0; i < 20; i++) cost.write(i * 512 + 1)
  cost.snapshot('b')
  cost.checkpoint()
  const expected = Array.from({ length: 20 }, (_, i) => [i * 512 + 1, 1, data]).flat()
  t.same(cost.compare('b', 'a'), expected)
  t.equal(cost.pagesRead, 0)
  t.same(cost.compare('a', 'b'), expected, 'the other way the map is asked')
  t.ok(cost.pagesRead >= 20 && cost.pagesRead < 128, `${cost.pagesRead} pages`)
  t.end()
})

t.test('of what was trimmed the page is read, and no other', (t) => {
  const cost = filled()
  cost.write(1)
  cost.trim(20 * 256 + 1, 8)
  cost.write(40 * 256)
  cost.snapshot('b')
  cost.checkpoint()
  t.same(cost.compare('b', 'a'), [1, 1, data, 20 * 256 + 1, 3, hole, 40 * 256, 1, data])
  t.ok(cost.pagesRead > 0 && cost.pagesRead < 6, `${cost.pagesRead} values of pages`)
  t.end()
})

t.test('what came while no snapshot was left, above a rollback, is in no difference and is not missed', (t) => {
  const cost = filled()
  cost.rollBack('a')
  cost.control({ operation: 'snapshot-delete', id: 'a' })
  cost.write(5)
  cost.trim(256, 2)
  cost.snapshot('b')
  cost.write(700)
  cost.snapshot('c')
  cost.rollBack('b')
  cost.write(9000)
  cost.snapshot('d')
  cost.checkpoint()
  t.same(cost.compare('c', 'b'), [700, 1, data])
  t.same(cost.compare('d', 'b'), [9000, 1, data])
  t.same(cost.compare('d', 'c'), [700, 1, hole, 9000, 1, data])
  t.same(fsck(cost.world.world), [])
  // One that all later ones see, and this one does not.
  cost.control({ operation: 'snapshot-delete', id: 'b' })
  cost.control({ operation: 'snapshot-delete', id: 'c' })
  cost.write(11)
  cost.snapshot('e')
  t.same(cost.compare('e', 'd'), [11, 1, data])
  t.same(fsck(cost.world.world), [])
  t.end()
})

t.test('what was written again and again is told once, and kept once', (t) => {
  const cost = filled()
  for (let i = 0; i < 40; i++) {
    for (const lba of [3, 700, 701, 9000]) cost.write(lba)
    cost.checkpoint()
  }
  cost.snapshot('b')
  cost.checkpoint()
  cost.world.world.clock.runUntilIdle()
  cost.checkpoint()
  t.same(cost.compare('b', 'a'), [3, 1, data, 700, 2, data, 9000, 1, data])
  const count = cost.values()
  t.ok(count < 24, `${count} values`)
  t.end()
})

t.test('what is filled anew has nothing of what changed before', (t) => {
  const cost = filled()
  cost.write(5)
  cost.write(6)
  cost.snapshot('b')
  cost.checkpoint()
  t.same(cost.compare('b', 'a'), [5, 2, data])
  const { copy } = cost.world
  const descriptor = copy.descriptor()
  const target = copy.snapshot('b')!.seq
  const trim = { epoch: 1, seq: target - 1, kind: 'trim' as const, payload: undefined }
  const versions = [700, 701].map((lba) => ({ ...trim, lba }))
  cost.world.startFill({ fork: 0, target, wipe: [0], descriptor, windows: undefined })
  cost.world.fill(versions)
  cost.world.keep({ consistency: { state: 'consistent' } })
  t.same(cost.compare('b', 'a'), [], 'it shows nothing but what it was filled with')
  cost.checkpoint()
  t.same(cost.compare('b', 'a'), [])
  t.end()
})

t.test('a merge that begins while a slice is wiped brings nothing back', (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const cost = filled(seed)
    for (let i = 0; i < 8; i++) {
      cost.write(i)
      cost.checkpoint()
    }
    const { stream, map } = cost.target
    const { clock } = cost.world.world
    let ended = 0
    const end = (ok: boolean): void => void (ended += ok ? 1 : 0)
    runTask(forgetChanges(stream, map, 0, 1), end)
    runTask(mergeNewest(stream, map, 0), end)
    clock.runUntil(() => ended === 2)
    cost.checkpoint()
    t.equal(cost.values(), 0, `seed ${seed}`)
  }
  t.end()
})

t.test('an index of a version that notes nothing is asked by the map, also after a later one wrote it', (t) => {
  const cost = filled()
  for (let i = 0; i < 20; i++) cost.write(i * 512 + 1)
  cost.snapshot('b')
  cost.checkpoint()
  const { index } = cost.target.stream.map
  const { seq } = cost.world.copy.snapshot('b')!
  const meta = cost.world.world.await<Uint8Array>((done) => index.getMany([metaKey()], (_, [value]) => done(value!)))
  const { changes: _, ...former } = JSON.parse(new TextDecoder().decode(meta)) as Record<string, unknown>
  const value = new TextEncoder().encode(JSON.stringify(former))
  cost.world.world.await<boolean>((done) => index.batch([{ type: 'put', key: metaKey(), value }], done))
  const expected = Array.from({ length: 20 }, (_, i) => [i * 512 + 1, 1, data]).flat()
  for (const what of ['then', 'and when it was opened again']) {
    cost.world.world.clock.runUntilIdle()
    const again = cost.world.crash('kill', { kind: 'all' })
    again.open()
    cost.world = again
    again.copy.apply(seq, { at: seq })
    t.equal(cost.target.map.changesFrom, seq, what)
    t.same(cost.compare('b', 'a'), expected, what)
    t.ok(cost.pagesRead >= 20, `${cost.pagesRead} values of pages ${what}`)
  }
  t.end()
})
