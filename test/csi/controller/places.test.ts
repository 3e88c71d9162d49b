/** What topologies of a request bind, and what they do not. */
import t from 'tap'
import { placesOf } from '../../../csi/controller/places.ts'
import type { Topology } from '../../../csi/messages.ts'
import { NODE_KEY, topologyOf, ZONE_KEY } from '../../../csi/topology.ts'
import type { Node } from '../../../cluster/api/node-messages.ts'

const nodes = [['n1', 'a'], ['n2', 'a'], ['n3', 'b'], ['n4', 'c']].map(([name, zone]) => ({ name, zone }) as Node)
const api = { listNodes: async () => ({ nodes }) }
const zone = (name: string): Topology => ({ segments: { [ZONE_KEY]: name } })
const places = (requisite: Topology[], preferred: Topology[] = []) => placesOf(api, { requisite, preferred })

t.test('nodes where pods may be bind nothing, and the first preferred one leads', async (t) => {
  const whole = nodes.map(topologyOf)
  t.same(await places(whole, [whole[2]!, whole[0]!]), {
    preferredNodes: ['n3', 'n1'], allowedNodes: [], allowedZones: [],
  })
  t.same((await places(whole.slice(0, 1))).allowedNodes, [], 'some may not be registered yet')
  t.same(await placesOf(api, null), { preferredNodes: [], allowedNodes: [], allowedZones: [] })
})

t.test('zones of a class bind copies, and pin what is answered', async (t) => {
  const two = [zone('a'), zone('b')]
  t.same(await places(two, [zone('b')]), {
    preferredNodes: ['n3'], allowedNodes: [], allowedZones: ['a', 'b'],
  })
  t.same((await places(['a', 'b', 'c'].map(zone))).allowedZones, [], 'all that there are is no bound')
  const named = [{ segments: { [NODE_KEY]: 'n1' } }, { segments: { [NODE_KEY]: 'n3' } }]
  t.same(await places(named), { preferredNodes: [], allowedNodes: ['n1', 'n3'], allowedZones: [] })
  t.same((await places([zone('a'), named[1]!])).allowedNodes, ['n1', 'n2', 'n3'])
})

t.test('a node whose zone has changed since it was registered binds nothing', async (t) => {
  const moved = topologyOf({ name: 'n1', zone: 'former' })
  const whole = [moved, ...nodes.slice(1, 3).map(topologyOf)]
  t.same(await places(whole, [moved]), { preferredNodes: ['n1'], allowedNodes: [], allowedZones: [] })
})

t.test('a place that nobody is in is none', async (t) => {
  await t.rejects(places([zone('x')]), { code: 8, message: /allowed topologies/ })
  await t.rejects(places([{ segments: { 'topology.kubernetes.io/zone': 'a' } }]), { code: 8 })
})
