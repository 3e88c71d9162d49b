/**
 * A read that met damage: served from what another member has, or from what took its place meanwhile; `damaged` only
 * when every other member said that it lacks it or has it damaged too, and it is still what the volume shows.
 */
import t from 'tap'
import type { VersionId } from '../../../engine/replication/record.ts'
import { DAMAGED_MOST } from '../../../engine/replication/repair.ts'
import { Copies, serving } from './copies.ts'
import type { ClusterOptions, Letter } from './copies.ts'

/** The store of the primary cannot read this version, for the read that is under way. */
function damage(copies: Copies, version: VersionId): void {
  const [token] = [...copies.node('n1').state.primary!.reads.keys()]
  copies.event('n1', { type: 'read-ended', token: token!, ok: false, versions: [], damaged: [version] })
}

/** As good as one that was replaced everywhere: no other member has it. */
const REPLACED: VersionId = { lba: 3, epoch: 1, seq: 1 }

t.test('what is damaged was replaced while the others were asked: the new version is read', (t) => {
  const copies = serving()
  copies.write(3, 33)
  copies.settle()
  const read = copies.ask({ type: 'read', lba: 3, blockCount: 1 })
  damage(copies, REPLACED)
  copies.settle()
  t.match(copies.answerOf(read), { ok: true, versions: [{ lba: 3, payload: { data: 33 } }] })
  t.end()
})

t.test('nobody has it, and it is still what is read: damaged', (t) => {
  const copies = serving()
  const read = copies.ask({ type: 'read', lba: 3, blockCount: 1 })
  copies.isStalled = ({ name }) => name === 'n1'
  damage(copies, REPLACED)
  copies.settle()
  t.equal(copies.answerOf(read), undefined, 'it is read once more')
  damage(copies, REPLACED)
  t.match(copies.answerOf(read), { ok: false, code: 'damaged' })
  t.end()
})

t.test('what a store that has failed cannot read is no damage: the next primary is asked', (t) => {
  const copies = serving()
  copies.write(3, 33)
  copies.settle()
  const read = copies.ask({ type: 'read', lba: 3, blockCount: 1 })
  const [token] = [...copies.node('n1').state.primary!.reads.keys()]
  copies.event('n1', { type: 'read-ended', token: token!, ok: false, versions: [], damaged: [] })
  t.equal(copies.answerOf(read), undefined)
  copies.event('n1', { type: 'store-failed', reason: 'a sync failed' })
  copies.run(8000)
  t.not(copies.config.primary, 'n1')
  copies.open()
  t.equal(copies.answerOf(read), undefined, 'nobody was told of an error')
  copies.ask({ type: 'read', lba: 3, blockCount: 1 }, { number: read })
  copies.settle()
  t.match(copies.answerOf(read), { ok: true, versions: [{ lba: 3, payload: { data: 33 } }] })
  t.end()
})

t.test('who applies a version while its store looks for it does not say that it lacks it', (t) => {
  const copies = serving()
  copies.write(3, 33)
  copies.settle()
  const n1 = copies.node('n1')
  const n2 = copies.node('n2')
  const { tail, epochs } = n1.state.log
  const wanted = [{ lba: 3, epoch: epochs.at(-1)![0], seq: tail }]
  t.ok(n2.state.log.appliedSeq < tail, 'it is stored there, and not known to be committed')
  copies.isStalled = ({ name }) => name === 'n2'
  const instance = `n1#${n1.starts}`
  copies.deliver({ from: 'n1', instance, to: 'n2', message: { type: 'fetch-versions', epoch: tail, wanted } })
  copies.write(4, 44)
  copies.settle()
  t.ok(n2.state.log.appliedSeq >= tail)
  const [token] = [...n2.state.fetches.keys()]
  copies.event('n2', { type: 'versions-read', token: token!, versions: [] })
  t.notOk(copies.letters.some(({ message }) => message.type === 'versions'))
  t.end()
})

/** A block that all copies have applied; what each of their stores finds of it is for the test to say. */
function written(options: ClusterOptions = {}): { copies: Copies; id: VersionId } {
  const copies = new Copies(options)
  copies.run(500)
  copies.open()
  copies.write(3, 33)
  copies.run(1000)
  const { tail, epochs } = copies.node('n1').state.log
  copies.isStalled = () => true
  return { copies, id: { lba: 3, epoch: epochs.at(-1)![0], seq: tail } }
}

/** The stores of these copies look for what they were asked for, until nobody asks any more. */
function look(copies: Copies, finds: Record<string, 'damaged' | 'missing'>): void {
  copies.settle()
  for (const [name, what] of Object.entries(finds)) {
    for (const [token, { wanted }] of copies.node(name).state.fetches)
      copies.event(name, { type: 'versions-read', token, versions: [], damaged: what === 'damaged' ? wanted : [] })
  }
  if (copies.letters.length > 0) look(copies, finds)
}

const EVERYWHERE = { n1: 'damaged', n2: 'damaged', n3: 'damaged' } as const

/** A read of the block that cannot be read here; its number. */
function readDamaged(copies: Copies, id: VersionId): number {
  const read = copies.ask({ type: 'read', lba: id.lba, blockCount: 1 })
  damage(copies, id)
  return read
}

t.test('everybody has it damaged: the read fails at once, and the next one asks anew', (t) => {
  const { copies, id } = written()
  const { nowMs } = copies
  for (const round of [1, 2]) {
    const read = readDamaged(copies, id)
    look(copies, { n2: 'damaged' })
    t.equal(copies.answerOf(read), undefined, `round ${round}: n3 may have it`)
    look(copies, EVERYWHERE)
    t.equal(copies.answerOf(read), undefined, 'it is read once more')
    damage(copies, id)
    t.match(copies.answerOf(read), { ok: false, code: 'damaged' })
  }
  t.equal(copies.nowMs, nowMs)
  const read = readDamaged(copies, id)
  copies.isStalled = () => false
  copies.settle()
  t.match(copies.answerOf(read), { ok: true, versions: [{ payload: { data: 33 } }] }, 'now one can read it')
  t.end()
})

t.test('damaged with one and missing with the other is lost as well', (t) => {
  const { copies, id } = written()
  const read = readDamaged(copies, id)
  look(copies, { n1: 'damaged', n2: 'missing', n3: 'damaged' })
  damage(copies, id)
  t.match(copies.answerOf(read), { ok: false, code: 'damaged' })
  t.end()
})

t.test('while one that may have it is away the read waits, also when the set goes on without it', (t) => {
  const { copies, id } = written({ nodes: 4 })
  copies.isolate('n4')
  const read = readDamaged(copies, id)
  copies.isStalled = () => false
  for (const name of Object.keys(EVERYWHERE)) copies.node(name).store.readVersions = () => {}
  for (let i = 0; i < 100; i++) {
    copies.run(100)
    look(copies, EVERYWHERE)
  }
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.equal(copies.answerOf(read), undefined)
  copies.cut.clear()
  copies.run(3000)
  t.match(copies.answerOf(read), { ok: true, versions: [{ payload: { data: 33 } }] })
  t.end()
})

t.test('answers to a question of before say nothing of now', (t) => {
  const { copies, id } = written()
  const late: Letter[] = []
  const first = readDamaged(copies, id)
  look(copies, { n2: 'damaged', n1: 'damaged' })
  for (const from of ['n2', 'n3']) {
    const { instance } = copies.node(from).state.options
    const message = { type: 'versions', epoch: 1, versions: [], missing: [], damaged: [id], asked: 1 } as const
    late.push({ from, instance, to: 'n1', message: { ...message, versions: [], missing: [], damaged: [id] } })
  }
  for (const letter of late) copies.deliver(letter)
  t.notOk(copies.node('n1').state.damaged.some(({ isLost }) => isLost))
  look(copies, EVERYWHERE)
  damage(copies, id)
  t.match(copies.answerOf(first), { ok: false, code: 'damaged' })
  t.end()
})

t.test('members without it do not ask each other for ever', (t) => {
  const { copies, id } = written()
  let asked = 0
  const deliver = copies.deliver.bind(copies)
  copies.deliver = (letter) => {
    if (letter.message.type === 'fetch-versions') asked++
    deliver(letter)
  }
  const read = readDamaged(copies, id)
  for (let i = 0; i < 50; i++) {
    look(copies, EVERYWHERE)
    if (i === 0) damage(copies, id)
    copies.run(100)
  }
  t.match(copies.answerOf(read), { ok: false, code: 'damaged' })
  t.ok(asked <= 6, `${asked} questions`)
  t.same(['n1', 'n2', 'n3'].map((name) => copies.node(name).state.damaged.length), [0, 0, 0])
  t.end()
})

t.test('who does not number its questions is told nothing of what is damaged', (t) => {
  const { copies, id } = written()
  const { instance } = copies.node('n1').state.options
  copies.deliver({ from: 'n1', instance, to: 'n2', message: { type: 'fetch-versions', epoch: 1, wanted: [id] } })
  const [token] = [...copies.node('n2').state.fetches.keys()]
  copies.event('n2', { type: 'versions-read', token: token!, versions: [], damaged: [id] })
  t.notOk(copies.letters.some(({ message }) => message.type === 'versions'))
  t.ok(copies.letters.some(({ message }) => message.type === 'fetch-versions'), 'it asks for itself')
  t.end()
})

t.test('of one node eight questions at a time are looked for, and others are beside them', (t) => {
  const { copies, id } = written()
  const ask = (from: 'n1' | 'n3'): void => {
    const { instance } = copies.node(from).state.options
    copies.deliver({ from, instance, to: 'n2', message: { type: 'fetch-versions', epoch: 1, wanted: [id] } })
  }
  for (let i = 0; i < 20; i++) ask('n1')
  ask('n3')
  const { fetches } = copies.node('n2').state
  t.same([...fetches.values()].map(({ to }) => to), [...Array<string>(8).fill('n1'), 'n3'])
  for (const token of [...fetches.keys()])
    copies.event('n2', { type: 'versions-read', token, versions: [], unknown: [id] })
  ask('n1')
  t.equal(fetches.size, 1)
  t.end()
})

t.test('of what the store cannot look for nothing is said', (t) => {
  const { copies, id } = written()
  readDamaged(copies, id)
  copies.settle()
  const [token] = [...copies.node('n2').state.fetches.keys()]
  copies.event('n2', { type: 'versions-read', token: token!, versions: [], unknown: [id] })
  t.notOk(copies.letters.some(({ message }) => message.type === 'versions'))
  t.end()
})

t.test('the store is told what is lost', (t) => {
  const { copies, id } = written()
  const told: VersionId[] = []
  Object.assign(copies.node('n1').store, { lost: (versions: readonly VersionId[]) => void told.push(...versions) })
  readDamaged(copies, id)
  look(copies, EVERYWHERE)
  t.same(told, [id])
  t.end()
})

t.test('while a member is away no more is kept than so many, and what was left out is looked for again', (t) => {
  const { copies, id } = written({ nodes: 4 })
  copies.isolate('n4')
  copies.isStalled = () => false
  copies.run(3000)
  let scrubs = 0
  const { state, store } = copies.node('n1')
  // That it has none of these it finds out by looking: here its disk does not say so.
  Object.assign(store, { scrubSoon: () => void scrubs++, readVersions: () => undefined })
  const found = (lba: number): VersionId => ({ lba, epoch: 1, seq: 1 })
  for (let lba = 100; lba < 100 + 3 * DAMAGED_MOST; lba += 64) {
    copies.event('n1', { type: 'damaged', versions: Array.from({ length: 64 }, (_, i) => found(lba + i)) })
    copies.run(20)
    t.ok(state.damaged.length <= DAMAGED_MOST, `${state.damaged.length} are kept`)
  }
  t.equal(state.damaged.length, DAMAGED_MOST)
  t.match(state.damaged[0], found(100), 'those that were found first')
  // What a read waits for goes before them.
  copies.isStalled = () => true
  const read = readDamaged(copies, id)
  t.equal(state.damaged.length, DAMAGED_MOST)
  t.ok(state.damaged.some(({ seq }) => seq === id.seq))
  copies.event('n1', { type: 'damaged', versions: [found(99)] })
  t.ok(state.damaged.some(({ seq }) => seq === id.seq), 'it stays while it is waited for')
  copies.isStalled = () => false
  copies.run(3000)
  t.match(copies.answerOf(read), { ok: true, versions: [{ payload: { data: 33 } }] })
  t.equal(scrubs, 0, 'n4 may have the others')
  copies.cut.clear()
  copies.run(20_000)
  t.same([state.damaged.length, scrubs], [0, 1])
  copies.event('n1', { type: 'damaged', versions: [found(99)] })
  copies.run(20_000)
  t.same([state.damaged.length, scrubs], [0, 1], 'nothing was left out of one')
  t.end()
})

t.test('while nobody answers each is asked for in its turn, what a read waits for first', (t) => {
  const { copies, id } = written()
  const { state } = copies.node('n1')
  const versions = Array.from({ length: 100 }, (_, i) => ({ lba: 100 + i, epoch: 1, seq: 1 }))
  copies.event('n1', { type: 'damaged', versions })
  readDamaged(copies, id)
  const asked = new Set<number>()
  let rounds = 0
  const deliver = copies.deliver.bind(copies)
  copies.deliver = (letter) => {
    if (letter.message.type !== 'fetch-versions') return deliver(letter)
    const { wanted } = letter.message
    for (const { lba } of wanted) asked.add(lba)
  }
  copies.isStalled = () => false
  for (; asked.size <= 100 && rounds < 1000; rounds++) copies.run(20)
  t.equal(asked.size, 101, `${rounds} rounds, ${state.damaged.length} are kept`)
  t.ok([...asked].indexOf(id.lba) < 32, 'right behind those that were asked for when it was met')
  t.end()
})
