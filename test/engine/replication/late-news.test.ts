/**
 * Risk: what was said before a fill, and is heard during it, is taken for what is so now: a primary counts records as
 * stored that the copy dropped for the fill, or a copy gives up what it knows as committed. Or a copy that was filled
 * by one who lacks something speaks like one that has all.
 */
import t from 'tap'
import { Copies, serving } from './copies.ts'
import type { Letter } from './copies.ts'
import { contents } from './filling-worlds.ts'

interface Way {
  /** Whether it comes to, or from, the third copy. */
  passes(letter: Letter): boolean
}

/**
 * A third copy that is being filled has stored three records which are not committed, for one of the set is slow. Then
 * its link was down for so long that its fill was given up, and is up again.
 */
function givenUp() {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'], minInSync: 2 })
  const way: Way = { passes: ({ message }) => message.type !== 'fill' }
  const deliver = copies.deliver.bind(copies)
  copies.deliver = (letter) => {
    if ((letter.to !== 'n3' && letter.from !== 'n3') || way.passes(letter)) deliver(letter)
  }
  copies.run(500)
  copies.open()
  for (let i = 0; i < 10; i++) copies.write(i, i)
  copies.run(500)
  copies.isStalled = ({ name }) => name === 'n2'
  const requests = [20, 21, 22].map((lba) => copies.write(lba, lba))
  copies.run(500)
  const [first, third] = [copies.node('n1'), copies.node('n3')]
  const former = third.state.fillTarget!.fill
  t.equal(third.state.consistency.state, 'filling')
  t.equal(third.state.log.tail, first.state.log.tail)
  t.equal(first.state.log.commitSeq, first.state.log.tail - requests.length)
  copies.isolate('n3')
  copies.run(60_000)
  t.equal(first.state.primary!.peers.get('n3')!.fill, undefined, 'it is given up')
  t.equal(third.state.fillTarget!.fill, former)
  t.equal(copies.config.primary, 'n1')
  return { copies, deliver, way, first, third, former, requests }
}

function joins(copies: Copies, requests: readonly number[]): void {
  copies.run(20_000)
  t.same(copies.config.inSync.toSorted(), ['n1', 'n2', 'n3'])
  for (const request of requests) t.match(copies.answerOf(request), { ok: true })
  for (const name of ['n2', 'n3']) t.same(contents(copies, name), contents(copies, 'n1'))
}

t.test('F2: a copy that knows more as committed than a fill begins with does not take it', (t) => {
  const { copies, deliver, way, first, third, former, requests } = givenUp()
  const begins: Letter[] = []
  way.passes = (letter) => {
    if (letter.message.type === 'fill-start') begins.push(letter)
    return letter.message.type !== 'fill-start'
  }
  copies.cut.clear()
  copies.run(500)
  const [begin] = begins
  t.match(begin!.message, { type: 'fill-start', fork: first.state.log.commitSeq, target: first.state.log.commitSeq })
  copies.isStalled = () => false
  copies.run(100)
  const { commitSeq } = first.state.log
  t.equal(commitSeq, third.state.log.tail)
  // A beacon comes before what was sent earlier.
  const { epoch } = copies.config
  copies.event('n3', { type: 'beacon', from: 'n1', instance: 'n1#1', atMs: copies.nowMs, commitSeq, epoch })
  t.equal(third.state.log.appliedSeq, commitSeq)
  deliver(begin!)
  t.equal(third.state.fillTarget!.fill, former, 'it is not taken')
  t.equal(third.state.log.commitSeq, commitSeq)
  way.passes = () => true
  joins(copies, requests)
  t.end()
})

t.test('W3: what a copy stored before a fill began does not count in it', (t) => {
  const { copies, deliver, way, first, third, former, requests } = givenUp()
  const { tail } = third.state.log
  const said: Letter = {
    from: 'n3',
    instance: 'n3#1',
    to: 'n1',
    message: { type: 'stored', epoch: copies.config.epoch, fill: former, seq: tail, durableSeq: tail },
  }
  // Of what it dropped nothing comes again.
  way.passes = ({ message }) => message.type !== 'append' || message.records.length === 0
  copies.cut.clear()
  copies.run(100)
  for (let i = 0; i < 20; i++) {
    deliver(said)
    copies.run(50)
    t.ok(first.state.log.commitSeq <= third.state.log.tail, 'it is in the set, and lacks nothing that was answered')
  }
  t.same(copies.config.inSync, ['n1', 'n3'])
  t.ok(third.state.fillTarget!.fill > former)
  t.ok(third.state.log.tail < tail)
  t.ok(first.state.primary!.peers.get('n3')!.storedSeq < tail)
  way.passes = () => true
  copies.isStalled = () => false
  joins(copies, requests)
  t.end()
})

t.test('C4: who was filled by one that lost power leads to whoever kept it, and nothing is lost', (t) => {
  const copies = serving({ nodes: 3, minInSync: 3, copy: { mode: 'writeback' } })
  const write = (from: number, to: number): void => {
    for (let lba = from; lba <= to; lba++) copies.write(lba, lba)
    copies.run(1000)
  }
  write(1, 5)
  copies.node('n2').store.sync()
  copies.run(100)
  write(6, 10)
  copies.node('n1').store.sync()
  copies.run(100)
  write(11, 15)
  // Its machine keeps its power: what it has is there when it starts again.
  copies.kill('n3')
  for (const name of ['n1', 'n2']) copies.kill(name, { isPowerCut: true })
  t.ok(copies.node('n1').store.view.appliedSeq > copies.node('n2').store.view.tail, 'records do not bridge that')
  for (const name of ['n1', 'n2']) copies.start(name)
  copies.run(60_000)
  t.match(copies.config, { primary: 'n1', inSync: ['n1', 'n2', 'n3'] })
  t.equal(copies.node('n1').state.role, 'reconciling')
  t.equal(copies.node('n2').state.fillTarget?.phase, 'ended', 'it was filled where it is')
  copies.kill('n1')
  copies.run(20_000)
  t.equal(copies.config.primary, 'n2')
  copies.start('n3')
  copies.run(20_000)
  copies.start('n1')
  copies.run(60_000)
  t.equal(copies.node(copies.config.primary).state.role, 'primary')
  for (const name of ['n1', 'n2', 'n3']) {
    const { blocks } = copies.node(name).store.view
    for (let lba = 1; lba <= 15; lba++) t.equal(blocks.get(lba)?.at(-1)?.payload?.data, lba, `block ${lba} on ${name}`)
  }
  t.end()
})
