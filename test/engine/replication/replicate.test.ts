/**
 * A write is answered when every member of the set has it, and read when it is committed.
 */
import t from 'tap'
import { Copies } from './copies.ts'

t.test('three copies: write, read, apply everywhere', (t) => {
  const copies = new Copies()
  copies.run(500)
  t.equal(copies.node('n1').state.role, 'primary')
  t.ok(copies.open())
  const one = copies.write(3, 33)
  t.equal(copies.answerOf(one), undefined, 'not before it is stored')
  copies.settle()
  t.match(copies.answerOf(one), { ok: true })
  t.equal(copies.read(3), 33)
  t.equal(copies.read(4), 'nothing')
  copies.run(500)
  for (const { state, store } of copies.nodes.values()) {
    t.equal(state.log.commitSeq, copies.node('n1').state.log.tail, 'replicas learn the commit point')
    t.equal(store.view.blocks.get(3)?.at(-1)?.payload?.data, 33)
  }
  t.end()
})

t.test('a write that a replica has not stored is neither answered nor read', (t) => {
  const copies = new Copies()
  copies.run(500)
  copies.open()
  copies.cut.add('n1>n3')
  const one = copies.write(3, 33)
  copies.settle()
  t.equal(copies.answerOf(one), undefined)
  t.equal(copies.read(3), 'nothing')
  copies.cut.clear()
  copies.run(300)
  t.match(copies.answerOf(one), { ok: true })
  t.equal(copies.read(3), 33)
  t.end()
})

t.test('what comes together leaves in one message to each peer, also when the last of it is refused', (t) => {
  const copies = new Copies()
  copies.run(500)
  t.ok(copies.open())
  const write = (lba: number, isMore: boolean): number => {
    const payload = { bytes: 4096, data: lba }
    return copies.ask({ type: 'write', lba, blockCount: 1, payload, fua: false, edges: [] }, { isMore })
  }
  const numbers = [write(1, true), write(2, true), write(3, true)]
  t.same(copies.letters, [], 'not before the last')
  const beyond = write(64, false)
  t.same(copies.letters.map(({ to, message }) => [to, message.type === 'append' ? message.records.length : 0]),
    [['n2', 3], ['n3', 3]])
  copies.settle()
  for (const number of numbers) t.match(copies.answerOf(number), { ok: true })
  t.match(copies.answerOf(beyond), { ok: false, code: 'range' })
  t.end()
})

t.test('any order: who lacks much is not sent everything again for each message that overtook another', (t) => {
  for (let seed = 1; seed <= 5; seed++) {
    // Each record a message of its own, all of them under way at once; none is repeated, but any comes first.
    const copies = new Copies({ seed, repeatRate: Number.MIN_VALUE, copy: { fillBytesMax: 1, windowRecordsMax: 4096 } })
    copies.run(500)
    t.ok(copies.open())
    copies.cut.add('n1>n3')
    const numbers = Array.from({ length: 200 }, (_, i) => copies.write(i % 64, i))
    copies.settle()
    copies.cut.clear()
    copies.sent = 0
    copies.run(5000)
    for (const number of numbers) t.match(copies.answerOf(number), { ok: true })
    t.ok(copies.sent < 3000, `seed ${seed}: ${copies.sent} messages for 200 records`)
  }
  t.end()
})

t.test('loss, repetition and any order', (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const copies = new Copies({ seed, lossRate: 0.2, repeatRate: 0.2 })
    copies.run(3000)
    for (let i = 0; i < 20 && !copies.open(); i++) copies.run(300)
    const numbers = Array.from({ length: 20 }, (_, i) => copies.write(i, i))
    for (let i = 0; i < 20; i++) {
      copies.run(500)
      if (!copies.open()) continue
      numbers.forEach((number, lba) => {
        const payload = { bytes: 4096, data: lba }
        if (copies.answerOf(number) === undefined) {
          copies.ask({ type: 'write', lba, blockCount: 1, payload, fua: false, edges: [] }, { number })
        }
      })
    }
    copies.lossRate = 0
    copies.run(3000)
    t.ok(
      numbers.every((number) => copies.answerOf(number)?.ok === true),
      `seed ${seed}: all are answered`,
    )
  }
  t.end()
})
