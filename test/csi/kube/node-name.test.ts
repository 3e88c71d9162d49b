/** Names of nodes of Kubernetes here: names of ours, stable, and no two alike. */
import t from 'tap'
import { isName } from '../../../cluster/api/names.ts'
import { nodeNameOf } from '../../../csi/kube/node-name.ts'

t.test('a name of ours is kept, another one is made of it', async (t) => {
  t.equal(nodeNameOf('worker-1'), 'worker-1')
  const made = nodeNameOf('ip-10-0-0-1.eu-west-1.compute.internal')
  t.match(made, /^ip-10-0-0-1-eu-west-1-compute-internal-[0-9a-f]{16}$/)
  const names = ['a.b', 'a-b', 'a.b.', `${'x'.repeat(63)}`, `${'x'.repeat(64)}`, `${'x'.repeat(253)}`, made, 'A', '']
  const ours = names.map(nodeNameOf)
  t.ok(ours.every(isName))
  t.equal(new Set(ours).size, names.length)
  t.not(nodeNameOf(made), made, 'a node that is really called like that is another one')
})
