/**
 * Risk: of a volume that asks before each read, and that nobody reads, a member that died counts as in sync for ever.
 */
import t from 'tap'
import { Copies } from './copies.ts'

t.test('who is gone is let go while nobody asks for anything', (t) => {
  const copies = new Copies({ copy: { readCheck: 'confirm' } })
  copies.run(500)
  copies.isolate('n3')
  copies.run(20_000)
  t.same(copies.config.inSync, ['n1', 'n2'])
  t.end()
})

t.test('while all are there nothing is asked', (t) => {
  const copies = new Copies({ copy: { readCheck: 'confirm' } })
  copies.run(5000)
  const { sent } = copies
  copies.run(60_000)
  t.equal(copies.sent, sent)
  t.equal(copies.config.inSync.length, 3)
  t.end()
})
