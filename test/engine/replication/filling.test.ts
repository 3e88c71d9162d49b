/**
 * Copies that were away or are new: filled by what they miss or whole, while writes go on, and then required.
 */
import t from 'tap'
import type { VersionId } from '../../../engine/replication/record.ts'
import { withForcedPrimary } from '../../../engine/replication/configuration.ts'
import type { CopyOptions } from '../../../engine/replication/copy-port.ts'
import { awaitedMembers } from '../../../engine/replication/kept-marks.ts'
import { Copies, serving } from './copies.ts'
import { contents, filling } from './filling-worlds.ts'

t.test('a new copy is filled whole and joins, under writes', (t) => {
  const copies = serving({ nodes: 3, members: ['n1', 'n2'] })
  for (let i = 0; i < 64; i++) copies.write(i, i)
  for (let i = 0; i < 40; i++) {
    copies.write(i, 1000 + i)
    copies.run(30)
  }
  copies.run(2000)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  copies.run(1000)
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.equal(copies.node('n3').state.role, 'replica')
  t.end()
})

t.test('a copy that was away is filled with what it missed, trims included', (t) => {
  const copies = serving()
  for (let i = 0; i < 64; i++) copies.write(i, i)
  copies.settle()
  copies.kill('n3')
  copies.run(3000)
  t.same(copies.config.inSync, ['n1', 'n2'])
  copies.write(7, 77)
  copies.ask({ type: 'trim', lba: 8, blockCount: 2, fua: false })
  copies.settle()
  copies.start('n3')
  let filled = 0
  for (let i = 0; i < 200; i++) {
    copies.run(20)
    for (const { message } of copies.letters) if (message.type === 'fill') filled += message.versions.length
  }
  copies.run(2000)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.ok(filled < 20, 'not everything was sent again')
  t.equal(copies.node('n3').store.view.blocks.get(7)?.at(-1)?.payload?.data, 77)
  t.equal(copies.node('n3').store.view.blocks.get(8)?.at(-1)?.kind ?? 'trim', 'trim')
  t.end()
})

t.test('a copy that joined can lead, with what it was filled with', (t) => {
  const copies = serving({ nodes: 2, members: ['n1'] })
  for (let i = 0; i < 10; i++) copies.write(i, i)
  copies.run(3000)
  t.same(copies.config.inSync, ['n1', 'n2'])
  const one = copies.write(3, 33)
  copies.settle()
  t.match(copies.answerOf(one), { ok: true })
  copies.kill('n1')
  copies.run(8000)
  t.equal(copies.config.primary, 'n2')
  t.ok(copies.open())
  t.equal(copies.read(3), 33)
  t.equal(copies.read(4), 4)
  t.end()
})

t.test('what was written beyond the end of a forced history is not back when the volume grows', (t) => {
  const copies = serving()
  copies.write(3, 3)
  copies.settle()
  copies.kill('n3')
  copies.run(3000)
  const resize = (slices: number): void => {
    const change = { operation: 'resize', sizeBytes: slices * 16 * 4096 } as const
    copies.command(copies.config.primary, { type: 'change', change })
    copies.run(500)
  }
  resize(5)
  copies.write(64, 640)
  copies.run(500)
  t.equal(copies.node('n2').store.view.blocks.get(64)?.at(-1)?.payload?.data, 640)
  copies.kill('n1')
  copies.start('n3')
  copies.change(withForcedPrimary(copies.config, 'n3', 'by force')!)
  copies.run(20_000)
  t.match(copies.config, { primary: 'n3', inSync: ['n3', 'n2'] })
  resize(5)
  t.equal(copies.node('n3').state.sliceCount, 5)
  t.equal(copies.node('n2').store.view.blocks.get(64)?.at(-1)?.payload?.data, undefined)
  t.end()
})

/** Two that serve, and a third one whose disk takes its time with the begin of its filling. */
function beginning(copy: Partial<CopyOptions> = {}): Copies {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'], copy })
  copies.isStalled = ({ state }) => state.fillTarget?.phase === 'starting'
  copies.run(500)
  copies.open()
  return copies
}

t.test('a begin that takes long is not begun anew', (t) => {
  const copies = beginning()
  const { fill } = copies.node('n3').state.fillTarget!
  copies.run(20_000)
  t.equal(copies.node('n3').state.fillTarget!.fill, fill)
  copies.isStalled = () => false
  copies.run(1000)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.end()
})

t.test('a joining copy whose disk takes its time with a fence is given it once, and asked now and then', (t) => {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'] })
  copies.isStalled = ({ state }) => state.fillTarget?.phase === 'filling'
  copies.run(500)
  t.equal(copies.node('n3').state.fillTarget?.phase, 'filling')
  // Opened when its filling has begun: the begin did not bring the fence.
  copies.open()
  for (let i = 0; i < 5; i++) copies.write(i, i)
  copies.run(500)
  const { store } = copies.node('n3')
  let kept = 0
  const keep = store.keep.bind(store)
  store.keep = (token, facts) => {
    if (facts.attach !== undefined) kept++
    keep(token, facts)
  }
  copies.isStalled = ({ state }) => [...state.kept.values()].some(({ type }) => type === 'fence')
  let asked = 0
  const { deliver } = copies
  copies.deliver = (letter) => {
    if (letter.to === 'n3' && letter.message.type === 'fence') asked++
    deliver.call(copies, letter)
  }
  copies.run(100)
  t.equal(copies.node('n3').state.fillTarget?.phase, 'ended')
  for (let i = 0; i < 100; i++) {
    copies.write(i % 10, i)
    copies.run(5)
  }
  t.ok(asked > 1 && asked < 10, `asked ${asked} times`)
  t.equal(kept, 1)
  t.same(copies.config.inSync, ['n1', 'n2'])
  copies.isStalled = () => false
  copies.run(1000)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.end()
})

t.test('a piece that takes long to store is not begun anew, nor are the records behind it missed', (t) => {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'] })
  copies.isStalled = ({ state }) => state.fillTarget?.phase === 'filling'
  copies.run(500)
  copies.open()
  for (let i = 0; i < 10; i++) copies.write(i, i)
  copies.run(500)
  const { fill, phase } = copies.node('n3').state.fillTarget!
  t.equal(phase, 'filling')
  const requests = Array.from({ length: 5 }, (_, i) => copies.write(i, 100 + i))
  copies.run(8000)
  for (const request of requests) t.match(copies.answerOf(request), { ok: true })
  t.equal(copies.node('n3').state.fillTarget!.fill, fill)
  copies.isStalled = () => false
  copies.run(1000)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('a source that reads for long does not begin anew what it fills', (t) => {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'] })
  const sinceMs = new Map<number, number>()
  copies.isStalled = ({ name, store }) => {
    const [task] = store.state.tasks
    if (name !== 'n1' || task?.type !== 'scan') return false
    if (!sinceMs.has(task.id)) sinceMs.set(task.id, copies.nowMs)
    return copies.nowMs - sinceMs.get(task.id)! < 4000
  }
  copies.run(500)
  copies.open()
  for (let i = 0; i < 20; i++) copies.write(i, i)
  const { fill } = copies.node('n3').state.fillTarget!
  copies.run(60_000)
  t.ok(sinceMs.size >= 4, 'it read some pieces')
  t.equal(copies.node('n3').state.fillTarget!.fill, fill)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('a filling goes on where it was when a link was down for a while', (t) => {
  const { copies, fill } = filling()
  copies.isolate('n3')
  copies.isStalled = () => false
  copies.run(8000)
  for (let i = 0; i < 5; i++) copies.write(i, 100 + i)
  copies.run(1000)
  t.equal(copies.node('n3').state.fillTarget!.storing.length, 0, 'it stored a piece that nobody heard of')
  copies.cut.clear()
  copies.run(3000)
  t.equal(copies.node('n3').state.fillTarget!.fill, fill)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

/** A third copy is filled with pieces of one block, 64 in 4 slices; `link` is what becomes of them on their way. */
function piecewise(link: (number: number, arrive: () => void) => void): { copies: Copies; retryMs: number } {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'], copy: { fillBytesMax: 4096 } })
  copies.isolate('n3')
  copies.run(500)
  copies.open()
  for (let i = 0; i < 64; i++) copies.write(i, i)
  copies.run(500)
  const { deliver } = copies
  copies.deliver = (letter) => {
    const arrive = () => deliver.call(copies, letter)
    if (letter.message.type === 'fill') link(letter.message.number, arrive)
    else arrive()
  }
  copies.cut.clear()
  return { copies, retryMs: copies.node('n1').state.options.retryMs }
}

t.test('each piece of a filling that is lost costs a retry, and what came behind it none', (t) => {
  for (const lost of [[3], [5, 6, 7, 8], [16], [1, 20, 22, 40]]) {
    const gone = new Set(lost)
    let sent = 0
    const { copies, retryMs } = piecewise((number, arrive) => {
      sent++
      if (!gone.delete(number)) arrive()
    })
    // Without losses three: it asks, and is told of its set.
    copies.run((3 + lost.length) * retryMs)
    t.same(copies.config.inSync, ['n1', 'n2', 'n3'], `it is filled, lost ${lost}`)
    t.equal(gone.size, 0)
    t.equal(sent, 64 + lost.length, 'no other piece was sent twice')
    t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  }
  t.end()
})

t.test('pieces that overtake each other cost nothing, and no slice is finished before all of them came', (t) => {
  const held = new Map<number, () => void>()
  let sent = 0
  const { copies, retryMs } = piecewise((number, arrive) => {
    sent++
    // The last one of a slice comes before the one that was sent before it.
    if (number % 2 === 1) return void held.set(number, arrive)
    const { consistency } = copies.node('n3').state
    arrive()
    t.same(copies.node('n3').state.consistency, consistency)
    held.get(number - 1)!()
  })
  copies.run(3 * retryMs)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.equal(sent, 64)
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('a loop that stood still does not take that for the silence of whom it fills', (t) => {
  const { copies, fill } = filling({ readCheck: 'confirm' })
  copies.isStalled = () => false
  for (const name of ['n1', 'n3']) {
    copies.nowMs += 4000
    // Timers run before what waits in the sockets.
    copies.event(name, { type: 'tick' })
  }
  copies.run(3000)
  t.equal(copies.node('n3').state.fillTarget!.fill, fill)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('who is silent while requests wait for it is not filled on, and anew when it speaks', (t) => {
  const { copies, fill } = filling({ windowRecordsMax: 8 })
  copies.isolate('n3')
  const requests = Array.from({ length: 30 }, (_, i) => copies.write(i, 100 + i))
  copies.run(6000)
  for (const request of requests) t.match(copies.answerOf(request), { ok: true })
  copies.isStalled = () => false
  copies.cut.clear()
  copies.run(6000)
  t.ok(copies.node('n3').state.fillTarget!.fill > fill)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('requests do not wait for a begin that takes long', (t) => {
  const copies = beginning({ windowRecordsMax: 8 })
  const requests = Array.from({ length: 30 }, (_, i) => copies.write(i, i))
  copies.run(5000)
  for (const request of requests) t.match(copies.answerOf(request), { ok: true })
  copies.isStalled = () => false
  copies.run(5000)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('loss, repetition, restarts while it is filled', (t) => {
  for (let seed = 1; seed <= 15; seed++) {
    const copies = new Copies({ nodes: 3, members: ['n1', 'n2'], seed, lossRate: 0.1, repeatRate: 0.2 })
    copies.run(2000)
    for (let i = 0; i < 10 && !copies.open(); i++) copies.run(300)
    for (let i = 0; i < 30; i++) copies.write(i, i)
    for (let i = 0; i < 4; i++) {
      copies.run(100 + 40 * seed)
      copies.kill('n3')
      copies.start('n3')
    }
    copies.run(4000)
    copies.kill(copies.config.primary)
    copies.run(9000)
    for (const name of ['n1', 'n2', 'n3']) if (!copies.node(name).isUp) copies.start(name)
    copies.lossRate = 0
    copies.repeatRate = 0
    copies.run(20000)
    t.same([...copies.config.inSync].sort(), ['n1', 'n2', 'n3'], `seed ${seed}: all are in the set`)
    t.same(contents(copies, 'n3'), contents(copies, 'n1'))
    t.same(contents(copies, 'n3'), contents(copies, 'n2'))
  }
  t.end()
})

t.test('a dead member that minInSync kept is replaced by the copy that was filled', (t) => {
  const copies = serving({ nodes: 3, members: ['n1', 'n2'], minInSync: 2, copy: { fillBytesMax: 4096 } })
  for (let i = 0; i < 10; i++) copies.write(i, i)
  copies.settle()
  if (copies.config.inSync.length === 2) copies.kill('n2')
  copies.run(10000)
  t.ok(copies.config.inSync.includes('n1') && copies.config.inSync.includes('n3'), 'the third copy is in the set')
  const one = copies.write(3, 33)
  copies.run(500)
  t.match(copies.answerOf(one), { ok: true })
  t.end()
})

t.test('the primary of a set of minInSync dies: the other one takes a replacement in', (t) => {
  const copies = serving({ nodes: 3, members: ['n1', 'n2'], minInSync: 2 })
  copies.kill('n3')
  for (let i = 0; i < 10; i++) copies.write(i, i)
  copies.settle()
  copies.kill('n1')
  copies.run(500)
  copies.start('n3')
  copies.run(25000)
  t.equal(copies.config.primary, 'n2')
  t.same([...copies.config.inSync].sort(), ['n2', 'n3'])
  t.ok(copies.open())
  t.equal(copies.read(9), 9)
  copies.kill('n2')
  copies.start('n1')
  copies.run(25000)
  t.ok(copies.open(), 'and the replacement can lead with the first one as its replacement')
  t.equal(copies.read(9), 9)
  t.end()
})

t.test('F4: a member that is filled where it is stands only with all that was answered', (t) => {
  const copies = serving({ nodes: 2, minInSync: 2, copy: { mode: 'writeback' } })
  for (let i = 0; i < 10; i++) copies.write(i, i)
  copies.settle()
  copies.kill('n2', { isPowerCut: true })
  copies.kill('n1')
  // What lies above the target of its filling is lost on its way for a while.
  const deliver = copies.deliver.bind(copies)
  let isLost = true
  copies.deliver = (letter) => {
    if (!isLost || letter.to !== 'n2' || letter.message.type !== 'append') deliver(letter)
  }
  copies.start('n1')
  copies.start('n2')
  copies.run(8000)
  const { state } = copies.node('n2')
  t.equal(copies.node('n1').state.role, 'reconciling')
  t.equal(state.consistency.state, 'filling', 'so it may not stand')
  isLost = false
  copies.run(8000)
  t.equal(copies.node('n1').state.role, 'primary')
  t.equal(state.consistency.state, 'consistent')
  t.equal(state.log.epochs.at(-1)![0], copies.config.epoch)
  t.end()
})

t.test('a member that is filled where it is and stores what came since slowly is not begun anew', (t) => {
  const copies = serving({ nodes: 2, minInSync: 2, copy: { mode: 'writeback', windowRecordsMax: 8 } })
  for (let i = 0; i < 10; i++) copies.write(i, i)
  copies.settle()
  copies.isolate('n2')
  for (let i = 0; i < 10; i++) copies.write(i, 100 + i)
  copies.settle()
  copies.kill('n2', { isPowerCut: true })
  copies.kill('n1')
  copies.cut.clear()
  // A slow link: a record each 400 ms, so that requests wait for longer than one that is silent would be waited for.
  const deliver = copies.deliver.bind(copies)
  let nextMs = 0
  const fills = new Set<number>()
  copies.deliver = (letter) => {
    const { to, message } = letter
    if (message.type === 'fill-start') fills.add(message.fill)
    if (to !== 'n2' || message.type !== 'append' || message.records.length === 0) return deliver(letter)
    if (message.records[0]!.seq !== copies.node('n2').state.log.tail + 1 || copies.nowMs < nextMs) return
    nextMs = copies.nowMs + 400
    deliver({ ...letter, message: { ...message, records: message.records.slice(0, 1) } })
  }
  copies.start('n1')
  copies.start('n2')
  copies.run(20_000)
  t.equal(copies.node('n1').state.role, 'primary')
  t.equal(copies.node('n2').state.consistency.state, 'consistent')
  t.equal(fills.size, 1)
  t.end()
})

/** Sixteen blocks on two copies, of which the third one has nothing yet; what is there of one of them. */
function twoOfThree(): { copies: Copies; lost: VersionId } {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'], minInSync: 1, copy: { fillBytesMax: 4096 } })
  copies.isolate('n3')
  copies.run(500)
  copies.open()
  for (let i = 0; i < 16; i++) copies.write(i, 100 + i)
  copies.run(500)
  const { epoch, seq } = copies.node('n1').store.state.view.blocks.get(5)![0]!
  return { copies, lost: { lba: 5, epoch, seq } }
}

/** Numbers of the fillings of a node that come to it from now on. */
function fillsBegun(copies: Copies, node: string): Set<number> {
  const begun = new Set<number>()
  const deliver = copies.deliver.bind(copies)
  copies.deliver = (letter) => {
    if (letter.to === node && letter.message.type === 'fill-start') begun.add(letter.message.fill)
    deliver(letter)
  }
  return begun
}

const rot = (copies: Copies, node: string, id: VersionId): void => {
  copies.node(node).store.state.damaged = [id]
}

t.test('D8: a filling goes past a block that nobody has, and the copy does not have it either', (t) => {
  const { copies, lost } = twoOfThree()
  for (const node of ['n1', 'n2']) rot(copies, node, lost)
  copies.cut.clear()
  copies.run(20_000)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.same(copies.node('n3').store.state.damaged, [lost])
  for (const lba of [4, 6]) {
    const [one, other] = ['n1', 'n3'].map((node) => copies.node(node).store.state.view.blocks.get(lba))
    t.same(other, one, `block ${lba} is there`)
  }
  const read = copies.ask({ type: 'read', lba: 5, blockCount: 1 })
  copies.run(5000)
  t.match(copies.answerOf(read), { ok: false, code: 'damaged' })
  t.end()
})

t.test('D9: a filling goes past what only a member that is away has, and asks for it until it is there', (t) => {
  const { copies, lost } = twoOfThree()
  rot(copies, 'n1', lost)
  const fills = fillsBegun(copies, 'n3')
  copies.cut.clear()
  copies.isolate('n2')
  copies.run(30_000)
  t.same(copies.config.inSync.toSorted(), ['n1', 'n3'], 'the volume has two copies')
  t.equal(fills.size, 1, 'and nothing was begun anew')
  t.same(copies.node('n3').store.state.damaged, [lost])
  for (const node of ['n1', 'n3']) t.same(awaitedMembers(copies.node(node).state), ['n2'], `${node} waits for it`)
  const read = copies.ask({ type: 'read', lba: 5, blockCount: 1 })
  copies.run(5000)
  t.equal(copies.answerOf(read), undefined, 'a read waits as well')
  copies.kill('n3')
  copies.start('n3')
  copies.run(5000)
  t.same(awaitedMembers(copies.node('n3').state), ['n2'], 'so does the next process')
  copies.cut.clear()
  copies.run(20_000)
  t.same(copies.config.inSync.toSorted(), ['n1', 'n2', 'n3'])
  t.match(copies.answerOf(read), { ok: true })
  for (const node of ['n1', 'n3']) {
    const { store, state } = copies.node(node)
    t.same(store.state.damaged ?? [], [], node)
    t.same(store.recovered().facts.marks?.ids ?? [], [], `${node} keeps no mark`)
    t.same(awaitedMembers(state), [], node)
  }
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('D9: a mark that is written over is waited for no more, although who may have it is away', (t) => {
  const { copies, lost } = twoOfThree()
  rot(copies, 'n1', lost)
  copies.cut.clear()
  copies.isolate('n2')
  copies.run(30_000)
  t.same(awaitedMembers(copies.node('n3').state), ['n2'])
  copies.write(5, 999)
  copies.run(10_000)
  for (const node of ['n1', 'n3']) t.same(awaitedMembers(copies.node(node).state), [], node)
  t.same(copies.node('n3').store.recovered().facts.marks?.ids, [])
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('D9: who comes back is asked before a fill wipes it', (t) => {
  const { copies, lost } = twoOfThree()
  rot(copies, 'n1', lost)
  copies.cut.clear()
  copies.isolate('n2')
  copies.run(30_000)
  // It comes back as one whose history is not ours, so all of it is to be wiped.
  const { n2, ...others } = copies.config.members
  copies.change({ ...copies.config, members: { ...others, n2: { ...n2!, state: 'needs-full' } } })
  copies.cut.clear()
  copies.run(20_000)
  t.same(copies.config.inSync.toSorted(), ['n1', 'n2', 'n3'])
  for (const node of ['n1', 'n2', 'n3']) t.same(copies.node(node).store.state.damaged ?? [], [], node)
  t.same(contents(copies, 'n2'), contents(copies, 'n1'))
  t.end()
})

t.test('D8: a fill of a copy that is told of no marks waits with what it has', (t) => {
  const { copies, lost } = twoOfThree()
  for (const node of ['n1', 'n2']) rot(copies, node, lost)
  copies.isOfBefore = (node) => node === 'n3'
  const fills = fillsBegun(copies, 'n3')
  copies.cut.clear()
  copies.run(60_000)
  t.equal(copies.node('n3').state.consistency.state, 'filling')
  t.equal(fills.size, 1)
  copies.isOfBefore = () => false
  copies.run(20_000)
  t.same(copies.config.inSync.toSorted(), ['n1', 'n2', 'n3'])
  t.equal(fills.size, 1)
  t.end()
})
