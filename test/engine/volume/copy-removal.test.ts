/** A copy is taken away: nothing of it comes back, its space does, and another one may be made in its place. */
import t from 'tap'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import { Random } from '../../sim/random.ts'
import { cleanSegment, newCleanerBuffer } from '../../../engine/log/cleaner.ts'
import { SEGMENT_STATE } from '../../../engine/log/segment-table.ts'
import { runTask } from '../../../engine/task.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import { BLOCK_BYTES, GIB, SLICE_BLOCKS, UNITS_PER_BLOCK } from '../../../engine/units.ts'
import type { ControlChange } from '../../../engine/replication/record.ts'
import type { StoredCopy } from '../../../engine/replication/copy-store.ts'
import type { OpenCopy } from '../../../engine/volume/copy-store.ts'
import type { Result } from '../../../engine/volume/store-api.ts'

const SPEC = { sizeBytes: 3 * GIB }

function filled(seed: number): CopyWorld {
  const world = new CopyWorld({ seed })
  world.open()
  world.epoch(1, 1)
  for (let seq = 2; seq <= 20; seq++) world.append(write(1, seq, seq, [100 + seq]))
  world.settle()
  // Some of it is applied, some waits.
  world.copy.apply(12, { w: 12 })
  world.keep({ promise: { epoch: 1, primary: 'n1' } })
  return world
}

const volumeIdOf = (world: CopyWorld): string => world.copy.volumeId

function remove(world: CopyWorld, volumeId = volumeIdOf(world)): void {
  const result = world.world.await<Result<void>>((done) => world.world.store!.removeCopy(volumeId, done))
  t.ok(result.ok, 'removed')
}

const create = (world: CopyWorld, copyId: string): Result<OpenCopy> =>
  world.world.await<Result<OpenCopy>>((done) =>
    world.world.store!.createCopy(world.world.spec('vol', 1 << 20), copyId, done),
  )

t.test('what is removed stays removed, with or without the index', (t) => {
  for (const index of [{ kind: 'synced' }, 'lost'] as const) {
    let world = filled(11)
    remove(world)
    t.equal(world.world.store!.copies().size, 0)
    t.equal(world.world.await<Result<void>>((done) => world.world.store!.removeCopy(volumeIdOf(world), done)).ok, true)
    world = world.crash({ kind: 'synced' }, index)
    t.throws(() => new CopyWorld(world.world.options, {}, world.world).open(), /that copy was removed/)
  }
  t.end()
})

t.test('one that cannot be served is removed as well, and another takes its place', (t) => {
  let world = filled(15)
  const volumeId = volumeIdOf(world)
  const { target, waiting } = world.copy.queue.entries.at(-1)!.places[0]!
  const blockOffsetBytes = segmentOffsetBytes(target.stream.context.segmentBytes, waiting.segment)
    + Math.floor(waiting.units / UNITS_PER_BLOCK) * BLOCK_BYTES
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  t.ok(world.world.disks[0]!.damage(blockOffsetBytes, 'ones'))
  t.throws(() => world.open(), /what the copy accepted cannot be read/)
  const fields = { reason: 'the record at seq 20 cannot be read' }
  t.match(world.world.events, [{ message: /cannot be served/, fields }])
  t.notOk(create(world, 'c2').ok, 'it is there')
  remove(world, volumeId)
  const created = create(world, 'c2')
  t.match(created, { ok: true, value: { stored: { copyId: 'c2', tail: 0 } } })
  t.end()
})

t.test('one whose only disk fails is gone with it, and comes back with it at the most', (t) => {
  const world = filled(16)
  world.world.disks[0]!.failAt('sync', 1)
  const ask = () => world.world.await<Result<void>>((done) => world.world.store!.removeCopy(volumeIdOf(world), done))
  t.match(ask(), { ok: false, error: { code: 'disk-failed' } }, 'it was not known yet that it had failed')
  t.match(ask(), { ok: true })
  t.equal(world.world.store!.copies().size, 0)
  t.match(create(world, 'c2'), { ok: false, error: { code: 'pool-not-found' } })
  const stored = world.crash({ kind: 'synced' }, { kind: 'synced' }).open()
  t.match(stored, { copyId: 'c1', tail: 20, facts: { promise: { epoch: 1, primary: 'n1' } } })
  t.end()
})

t.test('another copy begins empty in its place, and lives on', (t) => {
  for (const index of [{ kind: 'synced' }, 'lost'] as const) {
    for (const crashBefore of [false, true]) {
      let world = filled(12)
      remove(world)
      if (crashBefore) {
        world = world.crash({ kind: 'synced' }, index)
        try {
          world.open()
        } catch {
          // The store is open; only the copy of that name is refused.
        }
      }
      t.notOk(create(world, 'c1').ok, 'not under the name it had')
      const created = create(world, 'c2')
      t.ok(created.ok)
      if (!created.ok) throw created.error
      const { stored } = created.value
      t.match(stored, { copyId: 'c2', tail: 0, appliedSeq: 0, facts: { promise: { epoch: 0 } } })
      world.world.await<unknown>((done) => world.world.store!.stop(done))
      world = world.crash({ kind: 'synced' }, { kind: 'synced' })
      const again = world.open()
      t.match(again, { copyId: 'c2', tail: 0 })
      t.same(world.readStamps(0, 24), new Array(24).fill(0), 'nothing of the former one shows')
      world.epoch(5, 1)
      for (let seq = 2; seq <= 6; seq++) world.append(write(5, seq, seq, [500 + seq]))
      world.settle()
      world.copy.apply(4, { w: 4 })
      world = world.crash({ kind: 'synced' }, index)
      const after = world.open()
      t.match(after, { copyId: 'c2', tail: 6, epochs: [[5, 1]] })
      world.copy.apply(6, { w: 6 })
      t.same(world.readStamps(0, 10), [0, 0, 502, 503, 504, 505, 506, 0, 0, 0])
    }
  }
  t.end()
})

t.test('a crash anywhere in a removal leaves the copy whole, or none', (t) => {
  for (let seed = 20; seed < 60; seed++) {
    let world = filled(seed)
    let isDone = false
    world.world.store!.removeCopy(volumeIdOf(world), () => (isDone = true))
    let steps = seed - 20
    world.world.clock.runUntil(() => steps-- <= 0 || isDone)
    world = world.crash('kill', seed % 2 === 0 ? { kind: 'synced' } : 'lost')
    let stored
    try {
      stored = world.open()
    } catch (error) {
      t.match((error as Error).message, /that copy was removed/)
      continue
    }
    t.notOk(isDone, 'what was answered stays')
    t.match(stored, { tail: 20, facts: { promise: { epoch: 1, primary: 'n1' } } })
    world.copy.apply(20, {})
    t.equal(world.readStamps(20, 1)[0], 120)
  }
  t.end()
})

t.test('one life after the other on two disks, with crashes anywhere', (t) => {
  let removals = 0
  for (let seed = 100; seed < 112; seed++) {
    const random = new Random(seed)
    let world = new CopyWorld({ seed, disks: 2, segments: 24 }, SPEC)
    let stored: StoredCopy | undefined = world.open()
    let life = 1
    let copyId = 'c1'
    let seq = 0
    /** What this life has accepted and was told is durable; of no life when it was removed. */
    let model = new Map<number, number>()
    for (let round = 0; round < 6; round++) {
      if (stored === undefined) {
        copyId = `c${++life}`
        const created = world.world.await<Result<OpenCopy>>((done) =>
          world.world.store!.createCopy(world.world.spec('vol', SPEC.sizeBytes), copyId, done),
        )
        if (!created.ok) throw created.error
        world.use(created.value.copy)
        model = new Map()
        seq = 0
        t.equal(created.value.stored.tail, 0, 'it begins empty')
        world.epoch(life, ++seq)
      } else if (seq === 0) world.epoch(life, ++seq)
      const writes = random.between(5, 150)
      for (let i = 0; i < writes; i++) {
        const lba = random.int(3) * SLICE_BLOCKS + random.int(20)
        const stamp = life * 1_000_000 + seq + 1
        world.append(write(life, ++seq, lba, [stamp]))
        model.set(lba, stamp)
        world.settle()
        if (random.chance(0.2)) world.copy.apply(seq - random.int(3), { seq })
      }
      world.copy.apply(seq, { seq })
      let isRemoved = false
      const removes = random.chance(0.5)
      if (removes) {
        world.world.store!.removeCopy(volumeIdOf(world), () => (isRemoved = true))
        let steps = random.pick([0, 3, 10, 30, 100, 1e6])
        world.world.clock.runUntil(() => isRemoved || steps-- <= 0)
      }
      const disks = random.pick(['kill', { kind: 'synced' }] as const)
      world = world.crash(disks, random.pick([{ kind: 'synced' }, 'lost'] as const))
      try {
        stored = world.open()
        if (stored.copyId !== copyId) {
          // It was removed, and opening made one by the name that `CopyWorld` has for it.
          t.ok(removes, 'only what was to go is gone')
          removals++
          life++
          seq = 0
          copyId = stored.copyId
          model = new Map()
        }
        t.notOk(isRemoved && seq > 0, 'what was answered stays')
        t.equal(stored.tail, seq, 'all of it is there')
        world.copy.apply(seq, { seq })
        for (const [lba, stamp] of model) if (world.readStamps(lba, 1)[0] !== stamp) t.fail(`seed ${seed} block ${lba}`)
      } catch (error) {
        if (!/that copy was removed/.test((error as Error).message)) throw error
        t.ok(removes, 'only what was to go is gone')
        removals++
        stored = undefined
      }
    }
  }
  t.ok(removals > 10, `${removals} removals`)
  t.end()
})

t.test('its space comes back, and in the end its last word goes', (t) => {
  const world = filled(13)
  const { world: store } = world
  remove(world)
  const other = store.await<Result<OpenCopy>>((done) =>
    store.store!.createCopy({ ...store.spec('other', 1 << 20), id: 'ef'.repeat(16) }, 'o', done),
  )
  if (!other.ok) throw other.error
  const [stream] = store.store!.streams()
  t.equal(stream!.volumesById.get(volumeIdOf(world))?.usedUnits, 0)
  const { copy } = other.value
  const change: ControlChange = { operation: 'epoch', epochs: [[1, 1]] }
  copy.append({ kind: 'control', epoch: 1, seq: 1, request: undefined, change })
  // More than the disk has: the cleaner goes round.
  let storedSeq = 0
  copy.onEvent = (event) => {
    if (event.type === 'stored') storedSeq = event.seq
  }
  for (let seq = 2; seq < 2000; seq++) {
    copy.append(write(1, seq, seq % 100, [seq]))
    if (seq % 20 > 0) continue
    store.clock.runUntil(() => storedSeq === seq)
    copy.apply(seq, {})
  }
  store.clock.runUntil(() => !stream!.volumesById.has(volumeIdOf(world)))
  t.notOk(stream!.volumesById.has(volumeIdOf(world)))
  t.end()
})

t.test('another copy begins in its place while the cleaner drops its last word', (t) => {
  for (let steps = 0; steps < 12; steps++) {
    let world = filled(70)
    const { world: store } = world
    remove(world)
    const [stream] = store.store!.streams()
    const { segments, log } = stream!
    store.clock.runUntil(() => stream!.volumesById.get(volumeIdOf(world))!.emptied)
    log.sealOpen()
    store.await<boolean>((done) => stream!.makeCheckpoint(done))
    let left = 0
    const clean = (): void => {
      for (const [segment, state] of segments.state.entries()) {
        if (state !== SEGMENT_STATE.sealed || segments.lastBatch[segment]! >= log.position().batch) continue
        left++
        runTask(cleanSegment(stream!, segment, newCleanerBuffer()), () => left--)
      }
    }
    let created: Result<OpenCopy> | undefined
    store.store!.createCopy(store.spec('vol', 1 << 20), 'c2', (result) => (created = result))
    for (let i = 0; i < steps && created === undefined; i++) store.clock.step()
    clean()
    store.clock.runUntil(() => created !== undefined && left === 0)
    if (created?.ok !== true) throw new Error('it is not made')
    world.use(created.value.copy)
    world.epoch(5, 1)
    world.append(write(5, 2, 3, [502]))
    world.settle()
    world.copy.apply(2, {})
    t.ok(store.await<boolean>((done) => stream!.makeCheckpoint(done)))
    world = world.crash('kill', { kind: 'all' })
    t.match(world.open(), { copyId: 'c2', tail: 2 }, `cleaned ${steps} steps behind the order`)
    t.same(world.readStamps(3, 1), [502])
  }
  t.end()
})

t.test('a disk that comes back with a former copy has no say over the one that was made meanwhile', (t) => {
  for (const index of [{ kind: 'synced' }, 'lost'] as const) {
    const source = new CopyWorld({ seed: 21 })
    source.open()
    source.epoch(1, 1)
    source.append(write(1, 2, 3, [30]))
    source.append(write(1, 3, 4, [40]))
    source.settle()
    source.copy.apply(3, {})
    let world = new CopyWorld({ seed: 22, disks: 2 })
    world.open()
    world.epoch(1, 1)
    world.append(write(1, 2, 3, [30]))
    world.settle()
    world.copy.apply(2, {})
    // It says so much that its last revision is high.
    for (let i = 0; i < 20; i++) world.keep({ attach: { brokenGeneration: 0, incarnations: [[1, i + 1]] } })
    t.ok(world.keep({ promise: { epoch: 1, primary: 'n1' } }))
    t.same(world.copy.targets.map(({ stream }) => Number(stream.context.diskUuid)), [1])
    world = world.crash({ kind: 'synced' }, { kind: 'synced' })
    const contexts = world.world.contexts.bind(world.world)
    world.world.contexts = () => contexts().slice(1)
    t.equal(world.world.open().copies().size, 0, 'its disk is away')
    const created = create(world, 'c2')
    if (!created.ok) throw new Error(created.error.message)
    world.use(created.value.copy)
    world.startFill({ fork: 0, target: 3, wipe: [0], descriptor: source.copy.descriptor() })
    world.fill(source.scan({ above: 0, upTo: 3 }))
    t.ok(world.keep({ consistency: { state: 'consistent' }, promise: { epoch: 2, primary: 'n2' } }))
    world.epoch(2, 4)
    world.append(write(2, 5, 3, [31]))
    world.settle()
    world.copy.apply(5, {})
    for (const round of [1, 2]) {
      world = world.crash({ kind: 'synced' }, index)
      const { copyId, facts, tail, lostSlices } = world.open()
      t.same([copyId, facts.promise.epoch, tail, lostSlices], ['c2', 2, 5, []], `opening ${round}`)
      world.copy.apply(5, {})
      t.same(world.readStamps(3, 2), [31, 40])
    }
  }
  t.end()
})
