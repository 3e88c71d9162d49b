/** Who may use a volume: what each wish makes of holders and generations, and whom it costs the volume. */
import t from 'tap'
import { attached, attachedAnew, detached, losers, restingMode } from '../../../engine/control/attach-wish.ts'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { AttachMode } from '../../../engine/replication/configuration.ts'

function configOf(mode: AttachMode, holders: Record<string, number> = {}, generation = 5): VolumeConfig {
  return {
    volumeId: 'v', epoch: 3, primary: 'n1', inSync: ['n1'], members: { n1: { copyId: 'c', state: 'in-sync' } },
    minInSync: 1, attach: { generation, mode, holders }, nonce: 'old',
  }
}

t.test('a node that holds it keeps its generation, a new holder gets the next', async (t) => {
  const held = configOf('single', { n1: 5 })
  t.equal(attached(held, 'n1', 'single', 'x'), held, 'the same object: nothing to write')
  t.same(losers(held, 'n1', 'single'), [])
  t.same(attached(held, 'n2', 'single', 'x').attach, { generation: 6, mode: 'single', holders: { n2: 6 } })
  t.same(losers(held, 'n2', 'single'), ['n1'])
  t.equal(attached(held, 'n2', 'single', 'x').epoch, 3, 'no epoch is spent on it')
})

t.test('shared and read-only are held by several, in one mode', async (t) => {
  for (const mode of ['shared', 'read-only'] as const) {
    const held = configOf(mode, { n1: 4, n2: 5 })
    t.same(attached(held, 'n3', mode, 'x').attach, { generation: 6, mode, holders: { n1: 4, n2: 5, n3: 6 } })
    t.same(losers(held, 'n3', mode), [])
    t.same(losers(held, 'n1', 'single'), ['n1', 'n2'], 'its own sessions are over as well: another mode')
    t.same(attached(held, 'n1', 'single', 'x').attach, { generation: 6, mode: 'single', holders: { n1: 6 } })
  }
  t.same(losers(configOf('open'), 'n1', 'shared'), [], 'nobody holds an open one')
})

t.test('who lets go is gone; with the last one the volume rests again', async (t) => {
  const held = configOf('shared', { n1: 4, n2: 5 })
  const one = detached(held, ['n1'], 'open', 'x')
  t.same(one.attach, { generation: 5, mode: 'shared', holders: { n2: 5 } })
  t.same(detached(one, ['n2'], 'open', 'y').attach, { generation: 6, mode: 'open', holders: {} }, 'open, anew')
  t.same(detached(one, ['n2'], 'single', 'y').attach, { generation: 5, mode: 'shared', holders: {} }, 'nobody')
  t.same(detached(held, ['n1', 'n2'], 'open', 'y').attach, { generation: 6, mode: 'open', holders: {} })
  t.equal(detached(held, ['n3'], 'open', 'y'), held)
  const open = configOf('open')
  t.equal(detached(open, [], 'open', 'y'), open)
  t.equal(detached(open, ['n1'], 'open', 'y'), open)
})

t.test('everybody anew: no generation of before is in force, and nobody loses the volume', async (t) => {
  t.same(attachedAnew(configOf('open'), 'x').attach, { generation: 6, mode: 'open', holders: {} })
  const shared = attachedAnew(configOf('shared', { n2: 4, n1: 5 }), 'x')
  t.same(shared.attach, { generation: 7, mode: 'shared', holders: { n1: 6, n2: 7 } })
  const nobody = configOf('single')
  t.equal(attachedAnew(nobody, 'x'), nobody)
})

t.test('what it gets when it comes back is new', async (t) => {
  const held = configOf('single', { n1: 5 })
  const back = attached(detached(held, ['n1'], 'single', 'x'), 'n1', 'single', 'y')
  t.same(back.attach, { generation: 6, mode: 'single', holders: { n1: 6 } })
  t.equal(restingMode('open'), 'open')
  t.equal(restingMode('read-only'), 'single')
})
