/** Turns of failover by a script, where what has to happen is too rare for seeds. */
import t from 'tap'
import type { NodeFacts, PodFacts } from '../../../../csi/kube/failover-facts.ts'
import type { FailoverPort } from '../../../../csi/kube/failover-port.ts'
import { importMutant } from '../../../sim/mutants.ts'
import { LAST_LOOK } from './planted-bugs.ts'

type Module = typeof import('../../../../csi/kube/failover.ts')

const POD: PodFacts = {
  namespace: 'db', name: 'data-0', uid: 'u', version: '1', owner: 'StatefulSet', isOptedOut: false, isMirror: false,
  isOver: false, isGoing: false, isGone: false, wasStarted: true, toleratesUs: false, isStorageStarting: false,
  volumes: [{ isOurs: true, id: 'v', claim: 'data', claimUid: 'c' }],
}

/** Three nodes, of which n1 is dead as far as the watch tells; its kubelet comes back in the middle of a fence. */
async function returnsWhileFenced({ Failover }: Module, doesReturn: boolean): Promise<string[]> {
  const did: string[] = []
  let [nowMs, lease, beat] = [0, '10', 10]
  const node = (name: string): NodeFacts => ({
    name, uid: name, version: '1', holdfastNode: name, lease: name === 'n1' ? '10' : String(++beat),
    taints: [{ key: 'holdfast.io/unreachable', effect: 'NoSchedule' }], storage: name === 'n1' ? 'down' : 'up',
  })
  const port: FailoverPort = {
    nodes: async () => ({ ok: true, value: ['n1', 'n2', 'n3'].map(node) }),
    lease: async (name) => ({ ok: true, value: name === 'n1' ? lease : '10' }),
    pods: async (name) => ({ ok: true, value: name === 'n1' ? [POD] : [] }),
    attachments: async () => ({ ok: true, value: [] }),
    use: async () => ({ ok: true, value: { holds: new Set(), stale: new Set(['v']) } }),
    fence: async () => {
      did.push('fence')
      if (doesReturn) lease = '11'
      return undefined
    },
    setTaints: async () => undefined,
    remove: async (_, how) => {
      did.push(how)
      return 'done'
    },
    release: async () => undefined,
    tell: () => undefined,
    log: () => undefined,
    nowMs: () => nowMs,
    pause: async () => undefined,
  }
  const failover = new Failover(port, () => true)
  for (; nowMs <= 20_000; nowMs += 1000) {
    await failover.turn()
    await failover.settled()
  }
  return did
}

t.test('a kubelet that comes back while its volumes are fenced keeps its pod', async (t) => {
  const ours = await import('../../../../csi/kube/failover.ts')
  t.same(await returnsWhileFenced(ours, false), ['fence', 'delete'])
  t.same(await returnsWhileFenced(ours, true), ['fence'])
  const mutant = await importMutant<Module>(LAST_LOOK, 'csi/kube/failover.ts')
  t.same(await returnsWhileFenced(mutant, true), ['fence', 'delete'], 'which is seen where it is not looked for')
})
