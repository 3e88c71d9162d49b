/** Risk: a node of a former version is elected, does not know a volume by its id, and it is told as gone. */
// test-timeout-seconds: 120
import t from 'tap'
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { Node } from '../../../cluster/api/node-messages.ts'
import { controllerServices } from '../../../csi/controller/controller-services.ts'
import { NodeProtocols, PROTOCOL_NEEDED, whyNotAsked } from '../../../csi/controller/node-protocols.ts'
import { identityService } from '../../../csi/identity.ts'
import { Operations } from '../../../csi/operations.ts'
import { VERSION_GREATEST } from '../../../dataplane/peer/protocol.ts'
import { ControlCluster } from '../../cluster/reconcile/control-cluster.ts'

t.setTimeout(110_000)

const node = (name: string, protocol: number, state: Node['state'] = 'up', version = '0.1'): Node =>
  ({ name, protocol, state, version }) as Node

t.test('which nodes are in the way', async (t) => {
  t.ok(PROTOCOL_NEEDED <= VERSION_GREATEST, 'not this version itself')
  const now = node('n1', PROTOCOL_NEEDED)
  t.equal(whyNotAsked([now, node('n2', PROTOCOL_NEEDED + 1)]), undefined)
  t.match(whyNotAsked([now, node('n2', PROTOCOL_NEEDED - 1)]), /newer nodes: n2 \(version 0.1\) would/)
  t.match(whyNotAsked([now, node('n2', 0, 'cordoned')]), /n2 \(version 0.1\)/, 'it does not tell its protocol')
  t.equal(whyNotAsked([now, node('n2', 0, 'down')]), undefined, 'it cannot be elected')
  t.equal(whyNotAsked([now, node('n2', 0, 'up', '')]), undefined, 'nothing was heard of it yet')
  t.match(whyNotAsked([node('n1', 0), node('n2', 0)]), /n1 .* and n2 /, 'who is elected does not tell it')
  t.match(whyNotAsked([node('n1', 0, 'up', '')]), /who answers for the cluster/)
})

t.test('one question for all, and again after ten seconds', async (t) => {
  let [asked, nowMs, protocol] = [0, 0, PROTOCOL_NEEDED]
  const listNodes = async () => {
    asked++
    return { nodes: [node('n1', protocol)] }
  }
  const protocols = new NodeProtocols({ listNodes }, () => nowMs)
  await Promise.all([protocols.check(), protocols.check()])
  nowMs = 9_999
  await protocols.check()
  t.equal(asked, 1)
  nowMs = 10_000
  protocol = PROTOCOL_NEEDED - 1
  await t.rejects(protocols.check(), { code: 14 })
  await t.rejects(protocols.check(), { code: 14 }, 'what was refused is looked at each time')
  protocol = PROTOCOL_NEEDED
  await protocols.check()
  t.equal(asked, 4)
})

t.test('while one is there, nothing is done and nothing is told as done', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  cluster.node('n3').protocol = PROTOCOL_NEEDED - 1
  await cluster.until('one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  const api = cluster.elected()[0]!.volumes as unknown as ControlClient
  const told = async (protocol: number): Promise<void> => cluster.until('it is told', async () => {
    const { nodes } = await api.listNodes()
    return nodes.length === 3 && nodes.some((one) => one.name === 'n3' && one.protocol === protocol)
  })
  await told(PROTOCOL_NEEDED - 1)
  const diff = async function* (): AsyncGenerator<never> {}
  const protocols = new NodeProtocols(api, () => cluster.nowMs)
  const services = controllerServices({
    api, diff, operations: new Operations(), volumesMax: 0, mayAsk: () => protocols.check(), log: () => undefined,
  })
  const identity = identityService({ version: '0', probe: () => protocols.look(), log: () => undefined })
  const calls = Object.assign({}, ...[...services, identity].map((one) => one.calls)) as
    Record<string, (request: object) => Promise<unknown>>
  const volumeId = 'a'.repeat(32)
  for (const rpc of Object.keys(calls)) {
    if (/Capabilities$|^GetPluginInfo$|^Probe$/.test(rpc)) continue
    const request = { volumeId, nodeId: 'n1', name: 'x', sourceVolumeId: volumeId, groupSnapshotId: 'g.i' }
    await t.rejects(calls[rpc]!(request), { code: 14, message: /n3 \(version 0\)/ }, rpc)
  }
  for (const { streams = {} } of services) {
    for (const [rpc, run] of Object.entries(streams)) {
      await t.rejects(run({} as never)[Symbol.asyncIterator]().next(), { code: 14 }, rpc)
    }
  }
  t.same(await calls.Probe!({}), { ready: { value: false } })
  cluster.node('n3').protocol = VERSION_GREATEST
  await told(VERSION_GREATEST)
  t.same(await calls.DeleteVolume!({ volumeId }), {})
  t.same(await calls.Probe!({}), { ready: { value: true } })
})
