/**
 * Risk: a copy is taken into the set with what was flushed before in the memory of its machine alone, because nobody
 * who leads now answered those flushes: then its power and another one's disk are two faults too many.
 */
import t from 'tap'
import { Copies } from './copies.ts'

/**
 * Two copies have flushed writes; their primary is gone for good, and its set may not shrink. Who takes its place fills
 * a third one, which gets the records that are not known to be committed there behind the end of its fill.
 */
function replaced() {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'], minInSync: 2, copy: { mode: 'writeback' } })
  const deliver = copies.deliver.bind(copies)
  let isHeld = true
  copies.deliver = (letter) => {
    const { to, message } = letter
    if (to === 'n3' && message.type === 'append' && message.records.length > 0 && isHeld) return
    // Nobody is told of what is committed.
    const isTold = to === 'n2' && message.type === 'append' && isHeld
    deliver(isTold ? { ...letter, message: { ...message, commitSeq: 1 } } : letter)
  }
  copies.isolate('n3')
  copies.run(500)
  copies.open()
  for (let lba = 0; lba < 5; lba++) copies.write(lba, lba)
  copies.settle()
  const flush = copies.ask({ type: 'flush' })
  copies.settle()
  t.match(copies.answerOf(flush), { ok: true })
  const flushedSeq = copies.node('n1').state.log.commitSeq
  copies.kill('n1')
  const [second, third] = [copies.node('n2'), copies.node('n3')]
  t.ok(second.state.log.commitSeq < flushedSeq)
  copies.cut.clear()
  copies.run(20_000)
  t.equal(second.state.role, 'reconciling')
  t.equal(third.state.fillTarget?.phase, 'ended')
  t.ok(third.store.durableSeq < flushedSeq)
  // From now on what it gets is in the memory of its machine.
  copies.isStalled = ({ name, store }) => name === 'n3' && store.state.tasks.every(({ type }) => type === 'sync')
  const letRecordsCome = (): void => void (isHeld = false)
  return { copies, flushedSeq, third, letRecordsCome }
}

/** For a while in which its machine syncs nothing, and then. */
function joinsWithAll({ copies, flushedSeq, third, letRecordsCome }: ReturnType<typeof replaced>): void {
  letRecordsCome()
  for (let i = 0; i < 20; i++) {
    copies.run(50)
    const isIn = copies.config.inSync.includes('n3')
    t.notOk(isIn && third.store.durableSeq < flushedSeq, 'it would lose flushed writes with its power')
  }
  t.ok(third.state.log.writtenSeq >= flushedSeq)
  copies.isStalled = () => false
  copies.run(10_000)
  t.ok(copies.config.inSync.includes('n3'))
  t.equal(copies.node('n2').state.role, 'primary')
}

t.test('C5: who is taken in while the lead is not served has all that was flushed', (t) => {
  const world = replaced()
  joinsWithAll(world)
  t.same(world.copies.config.inSync, ['n2', 'n3'])
  t.end()
})
