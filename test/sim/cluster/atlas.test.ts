/**
 * What the rule of damage allows: something of a member may be gone as long as another one is believed that has it.
 */
import t from 'tap'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { Atlas, type Mark } from './atlas.ts'

const config: VolumeConfig = {
  volumeId: 'v',
  epoch: 1,
  primary: 'n1',
  inSync: ['n1', 'n2', 'n3'],
  members: {},
  minInSync: 1,
  attach: { generation: 1, mode: 'open', holders: {} },
  nonce: '',
}

/** With a disk of n3 that lied. */
function newAtlas(): { atlas: Atlas; mark: Mark & { isUndone: boolean } } {
  const atlas = new Atlas(() => true)
  const mark = { what: 'disk' as const, lies: true, isUndone: false, isGone: () => false, undo: () => {} }
  mark.undo = () => void (mark.isUndone = true)
  atlas.note('n3', mark)
  return { atlas, mark }
}

t.test('what a member lost is undone when the last of the others has lost power', (t) => {
  const { atlas, mark } = newAtlas()
  t.ok(atlas.lostPower('n1', true))
  t.ok(atlas.check(config))
  t.notOk(mark.isUndone, 'n2 has it')
  t.ok(atlas.lostPower('n2', true))
  t.notOk(atlas.lostPower('n2', true), 'as before')
  t.ok(atlas.check(config))
  t.ok(mark.isUndone)
  t.notOk(atlas.mayDamage(config, 'n3', 'disk'))
  t.ok(atlas.lostPower('n2', false))
  t.ok(atlas.mayDamage(config, 'n3', 'disk'), 'n2 counts as whole again')
  t.end()
})

t.test('nobody has everything when one is believed that came back short, and the others are not', (t) => {
  const { atlas } = newAtlas()
  atlas.cameBackShort('n3')
  atlas.lostPower('n1', true)
  t.ok(atlas.check(config), 'n2 has it')
  atlas.lostPower('n2', true)
  t.notOk(atlas.check(config))
  atlas.lostPower('n3', true)
  t.ok(atlas.check(config), 'now nobody is believed: what was synced is all there has to be')
  atlas.broughtInLine(config.inSync)
  for (const node of config.inSync) atlas.lostPower(node, false)
  t.ok(atlas.check(config))
  t.end()
})

t.test('a set that came back short has nothing to be judged by', (t) => {
  const { atlas } = newAtlas()
  atlas.cameBackShort('n3')
  t.notOk(atlas.check({ ...config, inSync: ['n3'], primary: 'n3' }))
  t.end()
})
