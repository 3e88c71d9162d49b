/**
 * Risk: a primary that is only cut off goes on being acknowledged by a member that the one who was put in its place by
 * force reaches, so that both answer writes; only what the operator was told of may be lost.
 */
import t from 'tap'
import { withForcedPrimary } from '../../../engine/replication/configuration.ts'
import { Copies } from './copies.ts'

t.test('C9: who serves by force does so when those it reaches answer nobody else', (t) => {
  const copies = new Copies({ members: ['n1', 'n2'], minInSync: 1, copy: { retryMs: 50 } })
  copies.cut.add('n1>n3').add('n3>n1')
  copies.run(5000)
  t.ok(copies.open())
  copies.config = withForcedPrimary(copies.config, 'n3', 'forced')!
  copies.version++
  copies.event('n3', { type: 'config-hint', value: copies.value() })
  const { state } = copies.node('n3')
  for (let waitedMs = 0; state.role !== 'primary' && waitedMs < 20_000; waitedMs += 10) {
    copies.run(10)
    // The two others hear of it from n3 alone.
    if (state.change === undefined) copies.storeIsOut = true
  }
  t.equal(state.role, 'primary')
  const late = copies.write(1, 10, 'n1')
  copies.settle()
  t.equal(copies.answerOf(late), undefined)
  t.end()
})
