/** Configurations in the store: what is written is read, and what is none is not believed. */
import t from 'tap'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { configKey, decodeConfig, encodeConfig, volumeOfKey } from '../../../cluster/store/volume-configs.ts'

const CONFIG: VolumeConfig = {
  volumeId: 'a'.repeat(32),
  epoch: 7,
  primary: 'n1',
  inSync: ['n1', 'n2'],
  members: { n1: { copyId: 'x', state: 'in-sync' }, n2: { copyId: 'y', state: 'in-sync' },
    n3: { copyId: 'z', state: 'catching-up' } },
  minInSync: 1,
  attach: { generation: 3, mode: 'single', holders: { n4: 3 } },
  nonce: 'n',
}

t.test('a configuration comes back as it was', async (t) => {
  t.same(decodeConfig(CONFIG.volumeId, encodeConfig(CONFIG)), CONFIG)
  t.equal(volumeOfKey(configKey(CONFIG.volumeId)), CONFIG.volumeId)
  t.equal(volumeOfKey('volumes/x'), undefined)
})

t.test('anything else is none', async (t) => {
  const bad: Array<[string, unknown]> = [
    ['another volume', { ...CONFIG, volumeId: 'b'.repeat(32) }],
    ['no epoch', { ...CONFIG, epoch: 0 }],
    ['a primary that is not in the set', { ...CONFIG, primary: 'n3' }],
    ['a set beyond the members', { ...CONFIG, inSync: ['n1', 'n9'] }],
    ['a set with repetition', { ...CONFIG, inSync: ['n1', 'n1'] }],
    ['a member of unknown state', { ...CONFIG, members: { ...CONFIG.members, n3: { copyId: 'z', state: 'well' } } }],
    ['two holders of a single attachment', { ...CONFIG, attach: { ...CONFIG.attach, holders: { n1: 1, n2: 2 } } }],
    ['a generation that was never given', { ...CONFIG, attach: { ...CONFIG.attach, holders: { n4: 4 } } }],
    ['an epoch that no disk holds', { ...CONFIG, epoch: 2 ** 32 }],
    ['an epoch behind which there are none', { ...CONFIG, epoch: 2 ** 32 - 1 }],
    ['a nonce that no peer takes', { ...CONFIG, nonce: 'n'.repeat(129) }],
    ['a copy of a long name', {
      ...CONFIG, members: { ...CONFIG.members, n3: { copyId: 'z'.repeat(65), state: 'failed' } },
    }],
    ['too many members', {
      ...CONFIG,
      members: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`n${i}`, { copyId: 'x', state: 'in-sync' }])),
    }],
    ['a member that is no node', {
      ...CONFIG, members: { ...CONFIG.members, 'n 3': { copyId: 'z', state: 'failed' } },
    }],
    ['a holder that is no node', { ...CONFIG, attach: { ...CONFIG.attach, holders: { '../x': 3 } } }],
    ['no attachment', { ...CONFIG, attach: null }],
    ['a list', []],
    ['nothing', null],
  ]
  for (const [what, value] of bad) {
    t.equal(decodeConfig(CONFIG.volumeId, Buffer.from(JSON.stringify(value))), undefined, what)
  }
  t.equal(decodeConfig(CONFIG.volumeId, Buffer.from('{')), undefined, 'no JSON')
  const proto = JSON.stringify(CONFIG).replace('"n3":', '"__proto__":')
  t.equal(decodeConfig(CONFIG.volumeId, Buffer.from(proto)), undefined, 'a member that is the prototype')
  const named = { ...CONFIG, volumeId: 'a b' }
  t.equal(decodeConfig('a b', Buffer.from(JSON.stringify(named))), undefined, 'of what is no volume')
})
