/**
 * What somebody sends to the scheduler extender, as its body. Promises: it is refused with a sentence, or has a pod and
 * names of nodes; claims of a pod are texts, each once, and not too many.
 */
import { assert } from '../../../engine/assert.ts'
import { isText } from '../../../engine/value-shape.ts'
import { askedOf } from '../../../csi/kube/scheduling/scheduler-extender.ts'
import { volumeIdOf } from '../../../csi/kube/pod-claims.ts'
import { parsed } from '../../../cluster/kubernetes/api-client.ts'
import type { Target } from '../target.ts'

const volumes = [{ name: 'a', persistentVolumeClaim: { claimName: 'data' } }, { name: 'b', ephemeral: {} }]
const Pod = { metadata: { name: 'pod', namespace: 'db' }, spec: { volumes } }
const items = [{ metadata: { name: 'n1', labels: { rack: 'r' } } }]

export const target: Target = {
  parsers: ['csi/kube/pod-claims.ts'],
  seeds: () => [
    { Pod, NodeNames: ['n1', 'n2'], Nodes: null }, { Pod, Nodes: { items } }, { spec: { csi: { volumeHandle: 'v' } } },
    { spec: { csi: { driver: 'csi.holdfast.io', volumeHandle: 'v' } } },
  ].map((value) => Buffer.from(JSON.stringify(value))),
  words: ['"Pod":', '"NodeNames":', '"Nodes":{"items":', '"metadata":', '"volumes":', '"claimName":', '"ephemeral":{}'],
  execute(input) {
    const text = Buffer.from(input).toString()
    const asked = askedOf(text)
    const volumeId = volumeIdOf(parsed(text) ?? {})
    assert(volumeId === undefined || volumeId !== '', 'a volume has an id')
    if (isText(asked)) return assert(/^the request is no .{1,100}$/.test(asked), 'why not is one line')
    const { pod, names, nodes } = asked
    assert(names.every(isText) && (nodes === undefined || nodes.length === names.length), 'nodes have names')
    assert(pod.pod !== '' && pod.namespace !== '' && pod.claims.every(isText), 'a pod is named')
    assert(pod.claims.length <= 1000 && new Set(pod.claims).size === pod.claims.length, 'each claim once')
  },
}
