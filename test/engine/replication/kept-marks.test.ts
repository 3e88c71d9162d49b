/**
 * Risk: a copy that was filled with more marks than it keeps says for ever that it waits for members which have nothing
 * for it, so a drain never ends; or it says so no more while one of them has the only good copy of a block.
 */
import t from 'tap'
import { awaitedMembers, takeMarks } from '../../../engine/replication/kept-marks.ts'
import type { BlockVersion, VersionId } from '../../../engine/replication/record.ts'
import { Copies } from './copies.ts'

const KEPT = 4
const LOST = 11

/** Two copies of which the first one lost some blocks, and a third one that was filled while the second is away. */
function filledWithMarks(lostAt: readonly string[] = ['n1'], copy: ConstructorParameters<typeof Copies>[0] = {}) {
  const copies = new Copies({
    nodes: 3, members: ['n1', 'n2'], minInSync: 1, copy: { fillBytesMax: 4096, marksMost: KEPT, ...copy.copy },
  })
  copies.isolate('n3')
  copies.run(500)
  copies.open()
  for (let i = 0; i < 32; i++) copies.write(i, 100 + i)
  copies.run(500)
  const lost = Array.from({ length: LOST }, (_, i) => idAt(copies, 'n1', 2 * i))
  for (const node of lostAt) copies.node(node).store.state.damaged = [...lost]
  copies.cut.clear()
  copies.isolate('n2')
  copies.run(120_000)
  t.same(copies.config.inSync.toSorted(), ['n1', 'n3'], 'the volume has two copies')
  t.equal(copies.node('n3').store.marks().length, LOST)
  return { copies, lost }
}

function idAt(copies: Copies, node: string, lba: number): VersionId {
  const { epoch, seq } = copies.node(node).store.view.blocks.get(lba)!.at(-1)!
  return { lba, epoch, seq }
}

const awaited = (copies: Copies, node: string) => awaitedMembers(copies.node(node).state)
const marksOf = (copies: Copies, node: string) => copies.node(node).store.recovered().facts.marks

/** Each mark is kept, or will be found from where the map is looked at next; as a process would begin with it now. */
function forgotten(copies: Copies, node: string): VersionId[] {
  const { store } = copies.node(node)
  const { ids, isMore, from = { lba: 0, seq: 0 } } = store.recovered().facts.marks!
  const isBehind = ({ lba, seq }: VersionId): boolean => lba > from.lba || (lba === from.lba && seq >= from.seq)
  const isKept = (id: VersionId): boolean => ids.some(({ lba, seq }) => lba === id.lba && seq === id.seq)
  return store.marks().filter((id) => !isKept(id) && !(isMore && isBehind(id)))
}

/** All are asked for, whoever they came from, and what is durable says so. */
function isDone(copies: Copies, node: string): void {
  t.same(awaited(copies, node), [], `${node} waits for nobody`)
  t.match(marksOf(copies, node), { ids: [], isMore: false }, `${node} keeps no mark`)
  t.same(awaited(copies, node), [])
}

t.test('D9: more marks than are kept: who may have them is awaited until he was asked for each', (t) => {
  const { copies } = filledWithMarks()
  t.match(marksOf(copies, 'n3'), { isMore: true })
  t.equal(marksOf(copies, 'n3')!.ids.length, KEPT)
  t.same(awaited(copies, 'n3'), ['n2'])
  copies.cut.clear()
  copies.run(20_000)
  t.same(copies.config.inSync.toSorted(), ['n1', 'n2', 'n3'])
  t.same(copies.node('n3').store.marks(), [], 'all are mended')
  isDone(copies, 'n3')
  // Out of the set again it is nobody who may have something.
  copies.isolate('n2')
  copies.run(20_000)
  t.same(copies.config.inSync.toSorted(), ['n1', 'n3'])
  t.same(awaited(copies, 'n3'), [])
  t.end()
})

t.test('D9: what nobody has is counted as lost, each of them', (t) => {
  const { copies } = filledWithMarks(['n1', 'n2'])
  const told = new Set<number>()
  Object.assign(copies.node('n3').store, {
    lost: (versions: readonly VersionId[]) => versions.forEach(({ lba }) => told.add(lba)),
  })
  t.same(awaited(copies, 'n3'), ['n2'])
  copies.cut.clear()
  copies.run(30_000)
  t.equal(copies.node('n3').store.marks().length, LOST, 'they stay marks')
  t.equal(told.size, LOST)
  isDone(copies, 'n3')
  t.end()
})

for (const isPowerCut of [false, true]) {
  t.test(`D9: it goes on where it was after a ${isPowerCut ? 'power cut' : 'restart'}, at any moment`, (t) => {
    const { copies } = filledWithMarks()
    copies.cut.clear()
    const again = (): void => {
      copies.kill('n3', { isPowerCut })
      copies.start('n3')
    }
    for (let i = 0; i < 40; i++) {
      copies.run(17 * i)
      again()
      t.same(forgotten(copies, 'n3'), [])
    }
    copies.run(30_000)
    t.same(copies.node('n3').store.marks(), [])
    isDone(copies, 'n3')
    t.end()
  })
}

t.test('D9: what is written over meanwhile is waited for no more, although who may have it is away', (t) => {
  const { copies, lost } = filledWithMarks()
  for (const { lba } of lost) copies.write(lba, 999)
  copies.run(60_000)
  isDone(copies, 'n3')
  t.end()
})

t.test('D9: what was found in the map is kept before it is passed by', (t) => {
  const { copies } = filledWithMarks()
  const [one, other] = marksOf(copies, 'n3')!.ids
  for (const { lba } of [one!, other!]) copies.write(lba, 999)
  copies.run(5000)
  t.match(marksOf(copies, 'n3'), { ids: { length: KEPT }, isMore: true, from: { seq: Number } })
  copies.kill('n3', { isPowerCut: true })
  t.same(forgotten(copies, 'n3'), [])
  copies.start('n3')
  copies.cut.clear()
  copies.run(30_000)
  t.same(copies.node('n3').store.marks(), [])
  isDone(copies, 'n3')
  t.end()
})

t.test('D9: a fill that wipes all of it leaves no mark, one that wipes nothing leaves all', (t) => {
  const { copies } = filledWithMarks()
  copies.isolate('n3')
  copies.run(20_000)
  t.same(copies.config.inSync, ['n1'])
  copies.write(40, 1)
  copies.cut.clear()
  copies.isolate('n2')
  copies.run(120_000)
  t.same(copies.config.inSync.toSorted(), ['n1', 'n3'])
  t.match(marksOf(copies, 'n3'), { isMore: true }, 'what it lacked was sent, and it kept the rest')
  t.same(awaited(copies, 'n3'), ['n2'])
  const { n3, ...others } = copies.config.members
  copies.isolate('n3')
  copies.run(20_000)
  copies.change({ ...copies.config, members: { ...others, n3: { ...n3!, state: 'needs-full' } } })
  copies.node('n1').store.state.damaged = []
  copies.cut.clear()
  copies.isolate('n2')
  copies.run(60_000)
  t.same(copies.config.inSync.toSorted(), ['n1', 'n3'])
  t.same(copies.node('n3').store.marks(), [])
  isDone(copies, 'n3')
  t.end()
})

t.test('D9: what a fill leaves out is looked for in all of the map', (t) => {
  const { state } = new Copies({ copy: { marksMost: 2 } }).node('n1')
  const mark = (lba: number): BlockVersion =>
    ({ lba, epoch: 1, seq: 9, kind: 'write', payload: undefined, isMark: true })
  state.marks = { ids: [{ lba: 20, epoch: 1, seq: 3 }], isMore: true, from: { lba: 30, seq: 1 } }
  takeMarks(state, [mark(5)])
  t.match(state.marks, { ids: [{ lba: 20 }, { lba: 5 }], isMore: true, from: { lba: 30, seq: 1 } })
  takeMarks(state, [mark(5), mark(6)])
  t.same(state.marks.from, undefined)
  t.match(state.marks, { ids: [{ lba: 20 }, { lba: 5 }], isMore: true })
  t.end()
})

t.test('D9: a map that cannot be read is read again', (t) => {
  const { copies } = filledWithMarks()
  const { store } = copies.node('n3')
  const finish = store.finish.bind(store)
  let failures = 0
  Object.assign(store, {
    finish(id: number) {
      const task = store.state.tasks.find((one) => one.id === id)
      return finish(id, task?.type !== 'find-marks' || failures++ >= 3)
    },
  })
  copies.cut.clear()
  copies.run(30_000)
  t.ok(failures > 3)
  isDone(copies, 'n3')
  t.end()
})
