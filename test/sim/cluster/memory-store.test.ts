/** The store in memory keeps what is durable, and only that, over a crash; voided records stay void. */
import t from 'tap'
import type { CopyFacts } from '../../../engine/replication/copy-store.ts'
import type { ReplicatedRecord } from '../../../engine/replication/record.ts'
import { MemoryStore, crashed, newMemoryStore } from './memory-store.ts'

const FACTS: CopyFacts = {
  promise: { epoch: 1, primary: 'n1' },
  attach: { brokenGeneration: 0, incarnations: [[1, 1]] },
  consistency: { state: 'consistent' },
}

const fresh = (autoSync = true) =>
  new MemoryStore(newMemoryStore({ copyId: 'a', sizeBlocks: 8, sliceBlocks: 4, autoSync, facts: FACTS }))

const write = (epoch: number, seq: number, lba: number): ReplicatedRecord => ({
  epoch,
  seq,
  request: undefined,
  kind: 'write',
  lba,
  blockCount: 1,
  payload: { bytes: 4096, data: [epoch * 100 + seq] },
})
const trim = (epoch: number, seq: number, lba: number): ReplicatedRecord => ({
  epoch,
  seq,
  request: undefined,
  kind: 'trim',
  lba,
  blockCount: 1,
})
const control = (epoch: number, seq: number, change: (ReplicatedRecord & { kind: 'control' })['change']) =>
  ({ epoch, seq, request: undefined, kind: 'control', change }) as const
const epochRecord = (epochs: Array<[number, number]>) => {
  const [epoch, seq] = epochs.at(-1)!
  return control(epoch, seq, { operation: 'epoch', epochs })
}

function finishAll(store: MemoryStore): string[] {
  const said: string[] = []
  for (let task = store.state.tasks[0]; task !== undefined; task = store.state.tasks[0]) {
    said.push(
      ...store
        .finish(task.id)
        .map((event) => (event.type === 'stored' ? `${event.seq}/${event.durableSeq}` : event.type)),
    )
  }
  return said
}

const recover = (store: MemoryStore, kept: number, boot = 2) => new MemoryStore(crashed(store.state, kept, boot))

t.test('written is not durable; a power cut takes what no sync covered', (t) => {
  const store = fresh(false)
  store.append(epochRecord([[1, 1]]))
  store.append(write(1, 2, 0))
  t.same(finishAll(store), ['1/0', '2/0'])
  store.sync()
  store.append(write(1, 3, 1))
  t.same(finishAll(store), ['2/2', '3/2'])
  t.equal(store.state.durable, 2)
  const after = recover(store, store.state.durable).recovered()
  t.same([after.tail, after.appliedSeq, after.unapplied.length], [2, 0, 2])
  t.equal(recover(store, store.state.written, 1).recovered().tail, 3)
  t.end()
})

t.test('facts are durable behind the records told before them, and said to be so only then', (t) => {
  const store = fresh(false)
  store.append(epochRecord([[1, 1]]))
  store.keep(7, { promise: { epoch: 2, primary: 'n2' } })
  t.equal(recover(store, store.state.durable).recovered().facts.promise.epoch, 1)
  t.same(finishAll(store), ['1/0', '1/0', '1/1', '1/1', 'kept'])
  const after = recover(store, store.state.durable).recovered()
  t.same(
    [after.facts.promise, after.facts.consistency, after.tail],
    [{ epoch: 2, primary: 'n2' }, { state: 'consistent' }, 1],
  )
  t.end()
})

t.test('dropped records come back after a crash, until an epoch record made them void', (t) => {
  const store = fresh()
  for (const record of [epochRecord([[1, 1]]), write(1, 2, 0), write(1, 3, 1), write(1, 4, 2)]) store.append(record)
  finishAll(store)
  store.dropAbove(2)
  t.equal(store.view.tail, 2)
  t.equal(recover(store, store.state.durable).recovered().tail, 4)
  store.append(
    epochRecord([
      [1, 1],
      [2, 3],
    ]),
  )
  store.append(write(2, 4, 3))
  t.equal(recover(store, store.state.durable).recovered().tail, 4)
  t.same(recover(store, store.state.durable).recovered().epochs, [[1, 1]])
  finishAll(store)
  const after = recover(store, store.state.durable).recovered()
  t.same(
    [after.tail, after.epochs],
    [
      4,
      [
        [1, 1],
        [2, 3],
      ],
    ],
  )
  t.same(
    after.unapplied.map(({ epoch, seq }) => [epoch, seq]),
    [
      [1, 1],
      [1, 2],
      [2, 3],
      [2, 4],
    ],
  )
  t.end()
})

t.test('older records taken over before the epoch record count with it, not without', (t) => {
  const store = fresh()
  const first = [
    epochRecord([[1, 1]]),
    epochRecord([
      [1, 1],
      [2, 2],
    ]),
    write(2, 3, 0),
    write(2, 4, 0),
  ]
  for (const record of first) store.append(record)
  finishAll(store)
  store.dropAbove(1)
  store.append(write(1, 2, 5))
  finishAll(store)
  t.same(recover(store, store.state.durable).recovered().epochs, [
    [1, 1],
    [2, 2],
  ])
  store.append(
    epochRecord([
      [1, 1],
      [3, 3],
    ]),
  )
  finishAll(store)
  const after = recover(store, store.state.durable).recovered()
  t.same(
    after.unapplied.map(({ epoch, seq }) => [epoch, seq]),
    [
      [1, 1],
      [1, 2],
      [3, 3],
    ],
  )
  t.end()
})

t.test('only what is applied is read; snapshots and rollbacks see their versions', (t) => {
  const store = fresh()
  const stampOf = (lba: number) => {
    store.read(1, lba, 1)
    const task = store.state.tasks.find(({ type }) => type === 'read')!
    const [event] = store.finish(task.id)
    return event!.type === 'read-ended' ? event!.versions.map((one) => one.payload?.data ?? one.kind)[0] : 'nothing'
  }
  store.append(epochRecord([[1, 1]]))
  store.append(write(1, 2, 0))
  t.equal(stampOf(0), undefined)
  store.apply(2, 'w')
  t.equal(stampOf(0), 102)
  store.append(control(1, 3, { operation: 'snapshot', id: 's' }))
  store.append(write(1, 4, 0))
  store.append(trim(1, 5, 1))
  store.apply(5, 'w')
  t.equal(stampOf(0), 104)
  t.equal(store.view.blocks.get(0)!.length, 2)
  t.equal(stampOf(1), 'trim')
  store.append(control(1, 6, { operation: 'rollback', to: 's' }))
  store.apply(6, 'w')
  t.equal(stampOf(0), 102)
  t.same([stampOf(1), store.view.blocks.has(1)], [undefined, true], 'its trace is kept for those who missed it')
  store.keepTrimsAbove(6)
  t.same([store.view.blocks.has(1), store.view.forgottenSeq], [false, 5])
  finishAll(store)
  const after = recover(store, store.state.durable)
  t.same([after.recovered().appliedSeq, after.recovered().rollbacks, after.recovered().windows], [6, [[3, 6]], 'w'])
  t.end()
})

t.test('filling: wiped, inserted by id, never over something newer', (t) => {
  const source = fresh()
  source.append(epochRecord([[1, 1]]))
  for (let seq = 2; seq <= 5; seq++) source.append(write(1, seq, seq - 2))
  source.apply(5, 'w')
  const target = fresh()
  target.append(epochRecord([[1, 1]]))
  target.append(write(1, 2, 0))
  target.append(write(1, 3, 7))
  const filling = {
    state: 'filling' as const,
    target: 5,
    slices: [
      [0, 0],
      [1, 0],
    ] as Array<[number, number]>,
  }
  target.startFill(3, {
    fork: 0,
    target: 5,
    wipe: [0, 1],
    descriptor: source.descriptor(),
    facts: { consistency: filling },
    windows: 'of the source',
  })
  t.equal(target.view.windows, 'of the source')
  t.same([target.view.tail, target.view.appliedSeq, target.view.blocks.size], [5, 5, 0])
  target.append(write(1, 6, 1))
  target.apply(6, 'w')
  source.scan(1, { slice: 0, above: 0, upTo: 5, cursor: 0, bytesMax: 8192 })
  const scanned = () => source.finish(source.state.tasks.find(({ type }) => type === 'scan')!.id)[0]!
  const first = scanned()
  t.match(first, { type: 'scanned', ok: true, cursor: 2 })
  if (first.type === 'scanned') target.fill(4, first.versions)
  t.same(finishAll(target).filter((said) => said === 'kept').length, 2)
  t.same(
    [0, 1].map((lba) => target.view.blocks.get(lba)!.map(({ seq }) => seq)),
    [[2], [6]],
  )
  const after = recover(target, target.state.durable)
  t.same(after.recovered().facts.consistency, filling)
  t.same([...after.view.blocks.keys()], [...target.view.blocks.keys()])
  t.end()
})

t.test('a failed store says so once and nothing after', (t) => {
  const store = fresh()
  store.append(epochRecord([[1, 1]]))
  t.match(store.fail('EIO'), [{ type: 'store-failed', reason: 'EIO' }])
  store.keep(1, {})
  store.read(2, 0, 1)
  t.same(store.state.tasks, [])
  t.end()
})
