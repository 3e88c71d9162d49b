/**
 * A copy's store, one risk a test: what is accepted and not applied stays out of the map and survives, what was
 * dropped stays away once an epoch record says so, facts are kept, versions are found by a scan.
 */
import t from 'tap'
import { GIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import { stampOf } from '../../sim/store-world.ts'

t.test('accepted records are stored, and read only when they are applied', (t) => {
  const world = new CopyWorld({ seed: 1 })
  world.open()
  world.epoch(1, 1)
  world.append(write(1, 2, 7, [72]))
  world.settle()
  t.equal(world.storedSeq, 2)
  t.same(world.readStamps(7, 1), [0], 'not applied')
  world.copy.apply(2, { w: 2 })
  t.same(world.readStamps(7, 2), [72, 0])
  t.same(world.lookUp([6, 7]), [0, 2])
  t.end()
})

t.test('a restart gives back what was accepted, and leaves it out of the map', (t) => {
  for (const [disk, index] of [
    ['kill', { kind: 'all' }],
    [{ kind: 'synced' }, { kind: 'synced' }],
    [{ kind: 'all' }, 'lost'],
    [{ kind: 'synced' }, 'lost'],
  ] as const) {
    let world = new CopyWorld({ seed: 2 })
    world.open()
    world.epoch(1, 1)
    for (let seq = 2; seq <= 10; seq++) world.append(write(1, seq, seq, [100 + seq, 200 + seq]))
    world.settle()
    world.copy.apply(6, { as: 'of 6' })
    t.ok(world.keep({ promise: { epoch: 1, primary: 'n1' } }))
    for (const round of [1, 2, 3]) {
      world = world.crash(disk, index)
      const stored = world.open()
      t.equal(stored.tail, 10, `round ${round}: tail`)
      t.equal(stored.appliedSeq, 6)
      t.same(stored.windows, { as: 'of 6' })
      t.same(stored.facts.promise, { epoch: 1, primary: 'n1' })
      t.same(stored.epochs, [[1, 1]])
      t.same(
        stored.unapplied.map((record) => record.seq),
        [7, 8, 9, 10],
      )
      const last = stored.unapplied[3]!
      t.ok(last.kind === 'write' && last.lba === 10 && last.blockCount === 2)
      if (last.kind === 'write')
        t.equal(stampOf((last.payload.data as { bytes: Uint8Array }).bytes.subarray(4096)), 210)
      t.same(world.readStamps(6, 6), [106, 206, 0, 0, 0, 0])
    }
    world.copy.apply(10, {})
    t.same(world.readStamps(6, 6), [106, 107, 108, 109, 110, 210])
  }
  t.end()
})

t.test('an epoch record cuts what was accepted under an older one', (t) => {
  for (const index of [{ kind: 'synced' }, 'lost'] as const) {
    let world = new CopyWorld({ seed: 3 })
    world.open()
    world.epoch(1, 1)
    for (let seq = 2; seq <= 8; seq++) world.append(write(1, seq, seq, [100 + seq]))
    world.settle()
    world.copy.apply(4, {})
    world.copy.dropAbove(5)
    t.equal(world.copy.tail, 5)
    world.epoch(3, 6)
    world.append(write(3, 7, 7, [77]))
    world.settle()
    t.equal(world.storedSeq, 7)
    world = world.crash({ kind: 'synced' }, index)
    const stored = world.open()
    t.equal(stored.tail, 7)
    t.same(stored.epochs, [
      [1, 1],
      [3, 6],
    ])
    t.same(
      stored.unapplied.filter(({ seq }) => seq >= 5).map(({ epoch, seq }) => [epoch, seq]),
      [
        [1, 5],
        [3, 6],
        [3, 7],
      ],
    )
    world.copy.apply(7, {})
    t.same(world.readStamps(2, 8), [102, 103, 104, 105, 0, 77, 0, 0])
  }
  t.end()
})

t.test('snapshots, rollbacks and sizes change when they are applied', (t) => {
  for (const index of [{ kind: 'synced' }, 'lost'] as const) {
    let world = new CopyWorld({ seed: 4 })
    world.open()
    world.epoch(1, 1)
    world.append(write(1, 2, 5, [52]))
    world.control(1, 3, { operation: 'snapshot', id: 's' })
    world.append(write(1, 4, 5, [54]))
    world.control(1, 5, { operation: 'resize', sizeBytes: 3 << 20 })
    world.settle()
    world.copy.apply(4, {})
    t.same(world.copy.descriptor().snapshots, [{ id: 's', seq: 3, pinnedBy: null, sizeBytes: 1 << 20 }])
    t.equal(world.copy.descriptor().spec.sizeBytes, 1 << 20)
    t.same(
      world.scan({ above: 0, upTo: 10 }).map(({ seq, lba, stamp }) => [seq, lba, stamp]),
      [
        [2, 5, 52],
        [4, 5, 54],
      ],
      'a scan has the version that the snapshot shows',
    )
    world = world.crash('kill', index)
    let stored = world.open()
    t.equal(stored.tail, 5)
    world.copy.apply(5, {})
    t.equal(world.copy.descriptor().spec.sizeBytes, 3 << 20)
    t.same(world.copy.descriptor().snapshots, [{ id: 's', seq: 3, pinnedBy: null, sizeBytes: 1 << 20 }])
    world.control(1, 6, { operation: 'rollback', to: 's' })
    world.settle()
    world.copy.apply(6, {})
    t.same(world.readStamps(5, 1), [52])
    world = world.crash('kill', index)
    stored = world.open()
    world.copy.apply(6, {})
    t.same(world.readStamps(5, 1), [52])
    t.same(world.copy.descriptor().rollbacks, [[3, 6]])
  }
  t.end()
})

t.test('a rollback keeps what it rolls away, with its title, and can be rolled back', (t) => {
  for (const index of [{ kind: 'synced' }, 'lost'] as const) {
    let world = new CopyWorld({ seed: 7 })
    world.open()
    world.epoch(1, 1)
    const title = { name: 'kept', createdAtMs: 12, labels: { app: 'db' } }
    world.append(write(1, 2, 5, [52]))
    world.control(1, 3, { operation: 'snapshot', id: 's' })
    world.append(write(1, 4, 5, [54]))
    world.append(write(1, 5, 5, [55, 56]))
    world.control(1, 6, { operation: 'rollback', to: 's', kept: { id: 'k', title } })
    world.append(write(1, 7, 6, [67]))
    world.settle()
    world.copy.apply(7, {})
    const kept = { id: 'k', seq: 5, pinnedBy: null, sizeBytes: 1 << 20, title }
    t.same(world.copy.descriptor().snapshots[1], kept)
    t.same(world.readStamps(5, 2), [52, 67])
    world = world.crash('kill', index)
    world.open()
    world.copy.apply(7, {})
    t.same(world.copy.descriptor().snapshots[1], kept, 'the same after a crash')
    const scanned = world.scan({ above: 0, upTo: 10 }).map(({ seq, lba, stamp }) => `${seq} ${lba} ${stamp}`)
    t.same(scanned.sort(), ['2 5 52', '5 5 55', '5 6 56', '7 6 67'], 'what only the write before the last had is gone')
    world.control(1, 8, { operation: 'rollback', to: 'k', kept: { id: 'l' } })
    world.settle()
    world.copy.apply(8, {})
    t.same(world.readStamps(5, 2), [55, 56])
    world.control(1, 9, { operation: 'rollback', to: 'l' })
    world.settle()
    world.copy.apply(9, {})
    t.same(world.readStamps(5, 2), [52, 67])
    world.control(1, 10, { operation: 'rollback', to: 'none', kept: { id: 'm' } })
    world.settle()
    world.copy.apply(10, {})
    t.same(world.copy.descriptor().snapshots.map(({ id }) => id), ['s', 'k', 'l'], 'a rollback to nothing is none')
  }
  t.end()
})

t.test('a filled copy has the versions of its source', (t) => {
  for (const index of [{ kind: 'synced' }, 'lost'] as const) {
    const source = new CopyWorld({ seed: 5 })
    source.open()
    source.epoch(1, 1)
    for (let seq = 2; seq <= 20; seq++) source.append(write(1, seq, seq % 7, [100 + seq, 300 + seq]))
    source.control(1, 21, { operation: 'snapshot', id: 's' })
    for (let seq = 22; seq <= 30; seq++) source.append(write(1, seq, seq % 5, [100 + seq]))
    source.append({ kind: 'trim', epoch: 1, seq: 31, request: undefined, lba: 1, blockCount: 2 })
    source.settle()
    source.copy.apply(31, { w: 31 })

    let world = new CopyWorld({ seed: 6 })
    world.open()
    world.epoch(2, 1)
    for (let seq = 2; seq <= 9; seq++) world.append(write(2, seq, seq, [seq]))
    world.settle()
    world.copy.apply(7, {})
    world.startFill({ fork: 0, target: 31, wipe: [0], descriptor: source.copy.descriptor(), windows: { w: 31 } })
    t.same(world.readStamps(0, 10), new Array(10).fill(0), 'the old history is gone')
    const versions = source.scan({ above: 0, upTo: 31 }).reverse()
    // A record behind the target comes before what lies below it.
    world.append(write(1, 32, 3, [332]))
    for (const version of versions.slice(0, 4)) world.fill([version])
    world = world.crash({ kind: 'synced' }, index)
    let stored = world.open()
    t.equal(stored.facts.consistency.state, 'filling')
    t.equal(stored.tail, 32)
    t.equal(stored.appliedSeq, 31)
    t.same(stored.windows, { w: 31 })
    world.copy.apply(32, {})
    for (const version of versions) world.fill([version])
    t.ok(world.keep({ consistency: { state: 'consistent' } }))
    source.append(write(1, 32, 3, [332]))
    source.settle()
    source.copy.apply(32, {})
    const told = (of: CopyWorld) => of.scan({ above: 0, upTo: 99 }).map(({ payload: _, ...rest }) => rest)
    t.same(told(world), told(source))
    world = world.crash({ kind: 'synced' }, index)
    stored = world.open()
    world.copy.apply(32, {})
    t.equal(stored.facts.consistency.state, 'consistent')
    t.same(world.readStamps(0, 10), source.readStamps(0, 10))
    t.same(
      told(world).filter(({ kind }) => kind === 'write'),
      told(source).filter(({ kind }) => kind === 'write'),
    )
  }
  t.end()
})

t.test('a stop in order keeps what waits, and needs no roll-forward', (t) => {
  let world = new CopyWorld({ seed: 7 })
  world.open()
  world.epoch(1, 1)
  for (let seq = 2; seq <= 6; seq++) world.append(write(1, seq, seq, [100 + seq]))
  world.settle()
  world.copy.apply(4, { at: 4 })
  world.world.await<unknown>((done) => world.world.store!.stop(done))
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  const stored = world.open()
  t.same([stored.tail, stored.appliedSeq, stored.windows], [6, 4, { at: 4 }])
  world.copy.apply(6, {})
  t.same(world.readStamps(2, 5), [102, 103, 104, 105, 106])
  t.end()
})

t.test('a disk that fails fails the copy once, and nothing is stored afterwards', (t) => {
  const world = new CopyWorld({ seed: 8 })
  world.open()
  world.epoch(1, 1)
  world.settle()
  world.world.disks[0]!.failAt('sync')
  world.append(write(1, 2, 2, [2]))
  world.world.clock.runUntil(() => world.failedReason !== '')
  world.world.clock.runUntilIdle()
  t.equal(world.storedSeq, 1)
  t.not(world.failedReason, '')
  t.end()
})

t.test('with write-back an index shows nothing that came behind what another disk lost', (t) => {
  const spec = { sizeBytes: 2 * GIB, durability: 'writeback' as const }
  for (const isLate of [false, true]) {
    let world = new CopyWorld({ seed: 13, disks: 2 }, spec)
    world.open()
    world.epoch(1, 1)
    world.settle()
    world.append(write(1, 2, 3, [3]))
    world.append(write(1, 3, SLICE_BLOCKS + 3, [4]))
    world.settle()
    world.copy.apply(3, {})
    const first = world.copy.layout.target(3)!.stream
    const second = world.copy.layout.target(SLICE_BLOCKS + 3)!.stream
    t.not(first, second)
    world.world.disks[Number.parseInt(first.context.diskUuid, 16) - 1]!.failAt('sync')
    if (isLate) world.world.await<boolean>((done) => first.log.sync(done))
    t.equal(world.world.await<boolean>((done) => second.makeCheckpoint(done)), false)
    t.ok(second.failed)
    world = world.crash({ kind: 'synced' }, { kind: 'synced' })
    t.equal(world.open().tail, 1, 'what is there is a beginning of what was accepted')
  }
  t.end()
})

t.test('the durability of a record is that of its place, also after a loss of power', (t) => {
  const spec = { sizeBytes: 2 * GIB, durability: 'writeback' as const }
  const lba = [3, SLICE_BLOCKS + 3]
  let world = new CopyWorld({ seed: 14, disks: 2 }, spec)
  world.open()
  world.epoch(1, 1)
  for (let seq = 2; seq <= 5; seq++) world.append(write(1, seq, lba[seq % 2]!, [seq]))
  world.settle()
  t.same([world.storedSeq, world.durableSeq], [5, 1], 'written back')
  world.control(1, 6, { operation: 'durability', to: 'durable' })
  for (let seq = 7; seq <= 9; seq++) world.append(write(1, seq, lba[seq % 2]!, [seq]))
  world.settle()
  t.same([world.storedSeq, world.durableSeq], [9, 9], 'stored only when durable, and all before it')
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  let stored = world.open()
  t.equal(stored.tail, 9)
  t.equal(stored.durability, 'writeback', 'as of what is applied')
  t.ok(world.copy.isDurable, 'as of what waits')
  world.copy.apply(9, {})
  t.equal(world.copy.durability, 'durable')
  world.append(write(1, 10, 3, [10]))
  world.settle()
  t.equal(world.durableSeq, 10)
  world.control(1, 11, { operation: 'durability', to: 'writeback' })
  for (let seq = 12; seq <= 14; seq++) world.append(write(1, seq, lba[seq % 2]!, [seq]))
  world.settle()
  t.same([world.storedSeq, world.durableSeq], [14, 11])
  world.copy.apply(14, {})
  world.keep({ promise: { epoch: 2, primary: 'n2' } })
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  stored = world.open()
  t.ok(stored.tail >= 11, `${stored.tail}: nothing is gone that was durable`)
  t.ok(stored.appliedSeq <= stored.tail)
  t.same(world.copy.durability === 'writeback' || !world.copy.isDurable, true)
  t.end()
})

t.test('a change of the durability that is dropped changes nothing', (t) => {
  const world = new CopyWorld({ seed: 15, disks: 2 }, { sizeBytes: 2 * GIB, durability: 'writeback' as const })
  world.open()
  world.epoch(1, 1)
  world.settle()
  world.control(1, 2, { operation: 'durability', to: 'durable' })
  t.ok(world.copy.isDurable)
  world.copy.dropAbove(1)
  t.notOk(world.copy.isDurable)
  world.epoch(2, 2)
  world.append(write(2, 3, 3, [3]))
  world.settle()
  t.same([world.storedSeq, world.durableSeq], [3, 2])
  t.end()
})

t.test('a filling that waits for its begin takes back no fact that was given since', (t) => {
  const source = new CopyWorld({ seed: 8 })
  source.open()
  source.epoch(1, 1)
  source.settle()
  source.copy.apply(1, {})
  let world = new CopyWorld({ seed: 9 })
  world.open()
  world.epoch(1, 1)
  // It is under way, so the filling cannot begin yet.
  world.append(write(1, 2, 7, [72]))
  const consistency = { state: 'filling' as const, target: 1, slices: [] as Array<[number, number]> }
  const facts = { promise: { epoch: 6, primary: 'n1' }, consistency }
  world.copy.startFill(1, { fork: 1, target: 1, wipe: [], descriptor: source.copy.descriptor(), facts })
  t.ok(world.keep({ promise: { epoch: 7, primary: 'n2' } }))
  const attach = { brokenGeneration: 0, incarnations: [] }
  for (let i = 0; i < 3; i++) t.ok(world.keep({ attach }), 'by now it has begun')
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  const stored = world.open()
  t.same(stored.facts.promise, { epoch: 7, primary: 'n2' })
  t.same(stored.facts.consistency, consistency)
  t.end()
})

t.test('an error that has passed when a run is read block by block is no damage', (t) => {
  const world = new CopyWorld({ seed: 10 })
  world.open()
  world.epoch(1, 1)
  world.append(write(1, 2, 7, [71, 72, 73, 74]))
  world.settle()
  world.copy.apply(2, {})
  const disk = world.world.disks[0]!
  // Every read asks the medium, and the first two end in an error.
  disk.readErrorChance = Number.MIN_VALUE
  disk.failAt('read', 1)
  disk.failAt('read', 2)
  t.same(world.readStamps(7, 4), [71, 72, 73, 74])
  t.end()
})
