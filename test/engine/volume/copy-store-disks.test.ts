/** A copy's store on several disks, of which one is away, fails, or lost what it had: what the others say stands. */
import t from 'tap'
import { hexToUuid } from '../../../engine/log/bytes.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import type { StoredCopy } from '../../../engine/replication/copy-store.ts'
import { BLOCK_BYTES, GIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'

t.test('a disk that comes back after the copy was filled without it has no say', (t) => {
  const spec = { sizeBytes: 2 * GIB }
  const source = new CopyWorld({ seed: 11 }, spec)
  source.open()
  source.epoch(1, 1)
  source.append(write(1, 2, 3, [3]))
  source.settle()
  source.copy.apply(2, {})
  let world = new CopyWorld({ seed: 12, disks: 2 }, spec)
  world.open()
  world.epoch(1, 1)
  world.append(write(1, 2, 3, [3]))
  world.settle()
  world.copy.apply(2, {})
  t.equal(world.copy.targets.length, 2)
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  const away = { disk: world.world.disks.pop()!, index: world.world.indexes.pop()! }
  const { lostSlices } = world.open()
  t.not(lostSlices.length, 0)
  world.startFill({ fork: 2, target: 2, wipe: lostSlices, descriptor: source.copy.descriptor() })
  world.fill(source.scan({ above: 0, upTo: 2 }))
  t.ok(world.keep({ consistency: { state: 'consistent' }, promise: { epoch: 2, primary: 'n1' } }))
  world.epoch(2, 3)
  world.append(write(2, 4, 5, [5]))
  world.settle()
  for (const round of [1, 2]) {
    world = world.crash({ kind: 'synced' }, { kind: 'synced' })
    if (round === 1) {
      world.world.disks.push(away.disk)
      world.world.indexes.push(away.index)
    }
    const stored = world.open()
    t.equal(stored.tail, 4, 'the epoch record was durable on every disk that the copy had')
    t.same(stored.epochs, [
      [1, 1],
      [2, 3],
    ])
    t.same(stored.facts.promise, { epoch: 2, primary: 'n1' })
    t.same(stored.lostSlices, [])
    t.same(
      stored.unapplied.map(({ seq }) => seq),
      [3, 4],
    )
  }
  world.copy.apply(4, {})
  t.same(world.readStamps(3, 3), [3, 0, 5])
  t.end()
})

t.test('a resize that was accepted before a disk was lost places its slices on those that are left', (t) => {
  const spec = { sizeBytes: 2 * GIB }
  const source = new CopyWorld({ seed: 14 }, spec)
  source.open()
  source.epoch(1, 1)
  source.settle()
  source.copy.apply(1, {})
  let world = new CopyWorld({ seed: 15, disks: 2 }, spec)
  world.open()
  world.epoch(1, 1)
  world.control(1, 2, { operation: 'resize', sizeBytes: 4 * GIB })
  world.settle()
  world.copy.apply(1, {})
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  world.world.disks.pop()
  world.world.indexes.pop()
  const { lostSlices } = world.open()
  t.ok(lostSlices.some((slice) => slice >= 2), 'one of the new ones, too')
  const wipe = lostSlices.filter((slice) => slice < 2)
  world.startFill({ fork: 1, target: 1, wipe, descriptor: source.copy.descriptor() })
  t.ok(world.keep({ consistency: { state: 'consistent' } }))
  world.control(1, 2, { operation: 'resize', sizeBytes: 4 * GIB })
  const blocks = GIB / BLOCK_BYTES
  for (const slice of [0, 1, 2, 3]) world.append(write(1, 3 + slice, slice * blocks, [slice + 1]))
  world.settle()
  world.copy.apply(6, {})
  t.same(world.copy.stored().lostSlices, [])
  for (const slice of [0, 1, 2, 3]) t.same(world.readStamps(slice * blocks, 1), [slice + 1])
  t.end()
})

t.test('a write that went astray over the log proves that what it lies on was durable', (t) => {
  const prepare = () => {
    const world = new CopyWorld({ seed: 13 })
    world.open()
    world.epoch(1, 1)
    t.ok(world.keep({ promise: { epoch: 4, primary: 'n1' } }))
    const { log, context } = world.copy.targets[0]!.stream
    return { world, segmentAt: segmentOffsetBytes(context.segmentBytes, log.openSegment) }
  }
  const { world: same } = prepare()
  t.equal(same.crash('kill', { kind: 'all' }).open().facts.promise.epoch, 4)
  // Two blocks, a header and a body: over the header of the segment, and over both batches in it.
  for (const block of [0, 1, 2, 3, 4]) {
    const { world, segmentAt } = prepare()
    world.world.disks[0]!.misdirectAt(1, segmentAt + block * BLOCK_BYTES)
    t.ok(world.keep({ promise: { epoch: 5, primary: 'n2' } }))
    const after = world.crash('kill', { kind: 'all' })
    t.throws(() => after.open(), { message: /damaged/ }, `over block ${block}`)
  }
  t.end()
})

t.test('what a copy keeps while a disk is away is not taken back by what that disk had alone', (t) => {
  let world = new CopyWorld({ seed: 14, disks: 2 }, { sizeBytes: 2 * GIB })
  world.open()
  world.epoch(1, 1)
  world.settle()
  t.ok(world.keep({ promise: { epoch: 1, primary: 'n1' } }))
  // The last disk gets a fact that the first one does not.
  world.world.disks[0]!.stall()
  world.copy.keep(1000, { promise: { epoch: 2, primary: 'n1' } })
  const { log } = world.copy.targets.find(({ stream }) => stream.context.diskUuid.endsWith('2'))!.stream
  const { durableBatch } = log
  world.world.clock.runUntil(() => log.durableBatch > durableBatch)
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  const away = { disk: world.world.disks.pop()!, index: world.world.indexes.pop()! }
  t.not(world.open().lostSlices.length, 0)
  const attach = { brokenGeneration: 0, incarnations: [[1, 7] as const] }
  t.ok(world.keep({ promise: { epoch: 3, primary: 'n3' }, attach }))
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  world.world.disks.push(away.disk)
  world.world.indexes.push(away.index)
  const { facts, lostSlices } = world.open()
  t.same(lostSlices, [])
  t.same([facts.promise, facts.attach], [{ epoch: 3, primary: 'n3' }, attach])
  t.end()
})

t.test('reads that fail while a copy is opened take back nothing that it kept', (t) => {
  let reads = 1
  for (let n = 1; n <= reads; n++) {
    let world = new CopyWorld({ seed: 15 })
    world.open()
    world.epoch(1, 1)
    world.append(write(1, 2, 3, [3]))
    world.settle()
    world.copy.apply(2, {})
    // It is accepted, and waits while others are kept behind it.
    world.control(1, 3, { operation: 'snapshot', id: 's' })
    world.settle()
    t.ok(world.keep({ promise: { epoch: 7, primary: 'n2' } }))
    for (let round = 1; round <= 2; round++) {
      world = world.crash('kill', { kind: 'all' })
      // Every read asks the medium. Three in a row end in an error.
      world.world.disks[0]!.readErrorChance = Number.MIN_VALUE
      if (round === 1) {
        for (const more of [0, 1, 2]) world.world.disks[0]!.failAt('read', n + more)
      }
      let stored: StoredCopy | undefined
      try {
        stored = world.open()
      } catch {
        t.equal(round, 1, 'it opens when everything can be read')
      }
      if (n === 1 && round === 2) reads = world.world.disks[0]!.counts.read
      if (stored === undefined) continue
      t.same([stored.facts.promise.epoch, stored.tail], [7, 3], `read ${n}, opening ${round}`)
    }
  }
  t.end()
})

t.test('an opening without one of the disks cuts nothing that is there when the disk is back', (t) => {
  let world = new CopyWorld({ seed: 16, disks: 2 }, { sizeBytes: 2 * GIB })
  world.open()
  world.epoch(1, 1)
  world.append(write(1, 2, 3, [3]))
  world.append(write(1, 3, SLICE_BLOCKS + 3, [4]))
  world.append(write(1, 4, 4, [5]))
  world.append(write(1, 5, SLICE_BLOCKS + 4, [6]))
  world.settle()
  world.copy.apply(1, {})
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  const away = { disk: world.world.disks.pop()!, index: world.world.indexes.pop()! }
  for (let round = 1; round <= 2; round++) {
    const stored = world.open()
    t.same([stored.lostSlices.length, stored.tail < 5], [1, true], `opening ${round}`)
    t.ok(world.keep({ promise: { epoch: 1 + round, primary: 'n1' } }))
    world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  }
  world.world.disks.push(away.disk)
  world.world.indexes.push(away.index)
  const { tail, facts, lostSlices } = world.open()
  t.same([tail, facts.promise.epoch, lostSlices], [5, 3, []])
  world.copy.apply(5, {})
  t.same(world.readStamps(3, 2), [3, 5])
  t.same(world.readStamps(SLICE_BLOCKS + 3, 2), [4, 6])
  t.end()
})

for (const isFilledToo of [false, true])
  t.test(`disks that take turns, filled ${isFilledToo ? 'each' : 'once'}: neither ends what the other began`, (t) => {
  const spec = { sizeBytes: 2 * GIB }
  let world = new CopyWorld({ seed: 17, disks: 2 }, spec)
  world.open()
  world.epoch(1, 1)
  world.append(write(1, 2, 3, [3]))
  world.append(write(1, 3, SLICE_BLOCKS + 3, [4]))
  world.settle()
  world.copy.apply(3, {})
  const source = new CopyWorld({ seed: 18 }, spec)
  source.open()
  source.epoch(1, 1)
  source.append(write(1, 2, 3, [3]))
  source.append(write(1, 3, SLICE_BLOCKS + 3, [4]))
  source.append(write(1, 4, 3, [5]))
  source.settle()
  source.copy.apply(4, {})
  const parts = () => [world.world.disks[0]!, world.world.indexes[0]!] as const
  const present = ([disk, index]: ReturnType<typeof parts>) => {
    world.world.disks.splice(0, Infinity, disk)
    world.world.indexes.splice(0, Infinity, index)
  }
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  const first = parts()
  // The second disk alone: it is to hold both slices, and is filled with neither.
  present([world.world.disks[1]!, world.world.indexes[1]!])
  const uuids = ['1', '2'].map((one) => one.padStart(32, '0'))
  let uuid = uuids[1]!
  const contextsOf = (of: CopyWorld) => {
    const contexts = of.world.contexts.bind(of.world)
    of.world.contexts = () =>
      contexts().map((one) => ({
        ...one,
        context: { ...one.context, diskUuid: uuid, diskTag: hexToUuid(uuid).subarray(0, 8) },
      }))
  }
  contextsOf(world)
  const { lostSlices } = world.open()
  t.equal(lostSlices.length, 1)
  world.startFill({ fork: 3, target: 4, wipe: lostSlices, descriptor: source.copy.descriptor() })
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  const second = parts()
  // The first one alone, again and again.
  present(first)
  uuid = uuids[0]!
  for (let round = 0; round < 3; round++) {
    contextsOf(world)
    t.equal(world.open().lostSlices.length, 1)
    t.ok(world.keep({ promise: { epoch: 5 + round, primary: 'n1' } }))
    if (isFilledToo && round === 2) {
      const wipe = world.copy.stored().lostSlices
      world.startFill({ fork: 3, target: 3, wipe, descriptor: { ...source.copy.descriptor(), epochs: [[1, 1]] } })
      t.ok(world.keep({ consistency: { state: 'consistent' } }))
    }
    world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  }
  world.world.disks.push(second[0])
  world.world.indexes.push(second[1])
  const { facts, lostSlices: left, tail } = world.open()
  // Never what one of them says of itself with what the other has.
  t.same([facts.consistency.state, tail], isFilledToo ? ['consistent', 3] : ['filling', 4])
  t.same([facts.promise.epoch, left], [7, []])
  t.end()
})

t.test('a disk that lost what another one knows was durable there is not taken for one whose end is torn', (t) => {
  let world = new CopyWorld({ seed: 19, disks: 2 }, { sizeBytes: 2 * GIB })
  world.open()
  world.epoch(1, 1)
  world.settle()
  world.copy.apply(1, {})
  const before = { disk: world.world.disks[0]!, index: world.world.indexes[0]! }
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  world.open()
  world.append(write(1, 2, 3, [3]))
  world.append(write(1, 3, SLICE_BLOCKS + 3, [4]))
  world.settle()
  world.copy.apply(3, {})
  t.ok(world.keep({ promise: { epoch: 1, primary: 'n1' } }))
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  // It says that all is well, and has nothing of what came since.
  world.world.disks[0] = before.disk.crash({ kind: 'synced' })
  world.world.indexes[0] = before.index.crash({ kind: 'synced' })
  t.same(world.open().lostSlices, [0], 'it is not served, and the other one is')
  t.end()
})

t.test('an epoch record that was dropped and came again stays, on the disk that has it first, too', (t) => {
  let world = new CopyWorld({ seed: 15, disks: 2 }, { sizeBytes: 2 * GIB })
  world.open()
  world.epoch(1, 1)
  world.append(write(1, 2, 3, [3]))
  world.settle()
  world.copy.apply(2, {})
  world.epoch(2, 3)
  world.settle()
  const [first] = world.copy.targets
  const checkpoint = (done: (ok: boolean) => void): void => first!.stream.makeCheckpoint(done)
  t.ok(world.world.await(checkpoint))
  world.copy.dropAbove(2)
  world.storedSeq = 2
  // The other disk is late: until it has the record, too, the one that was dropped is kept.
  world.world.disks[1]!.stall()
  world.epoch(2, 3)
  const { waiting } = first!.map.copy!
  world.world.clock.runUntil(() => waiting.all.length === 2)
  let isListed = false
  checkpoint((ok) => (isListed = ok))
  world.world.disks[1]!.resume()
  world.settle()
  world.world.clock.runUntil(() => isListed)
  t.ok(world.world.await(checkpoint))
  world = world.crash('kill', { kind: 'all' })
  const { tail, unapplied } = world.open()
  t.equal(tail, 3, 'what was stored is there')
  t.same(unapplied.map(({ epoch, seq }) => [epoch, seq]), [[2, 3]])
  t.end()
})
