/** Turns of failover by a script, where what has to happen is too rare for seeds. */
import t from 'tap'
import type { ListedNode, PodFacts, StorageStates, Taint } from '../../../../csi/kube/failover/failover-facts.ts'
import type { FailoverPort } from '../../../../csi/kube/failover/failover-port.ts'
import { importMutant } from '../../../sim/mutants.ts'
import { LAST_GENERATION, LAST_LOOK, LAST_SESSION, LAST_START, ONE_SIGHT } from './planted-bugs.ts'

type Module = typeof import('../../../../csi/kube/failover/failover.ts')

const POD: PodFacts = {
  namespace: 'db', name: 'data-0', uid: 'u', version: '1', owner: 'StatefulSet', isOptedOut: false, isMirror: false,
  isOver: false, isGoing: false, isGone: false, wasStarted: true, toleratesUs: false, isStorageStarting: false,
  volumes: [{ isOurs: true, id: 'v', claim: 'data', claimUid: 'c' }],
}

const OURS: Taint = { key: 'holdfast.io/unreachable', effect: 'NoSchedule' }

const states = (n1: 'up' | 'down'): StorageStates => new Map([['n1', n1], ['n2', 'up'], ['n3', 'up']])

/** Nothing is there, and whatever is asked for is done. */
const NOTHING: FailoverPort = {
  nodes: async () => ({ ok: true, value: [] }),
  storage: async () => ({ ok: true, value: new Map() }),
  lease: async () => ({ ok: true, value: '' }),
  pods: async () => ({ ok: true, value: [] }),
  attachments: async () => ({ ok: true, value: [] }),
  use: async () => ({ ok: true, value: { holds: new Set(), stale: new Set() } }),
  generation: async () => ({ ok: true, value: 1 }),
  fence: async () => undefined,
  setTaints: async () => undefined,
  remove: async () => 'done',
  release: async () => undefined,
  tell: () => undefined,
  log: () => undefined,
  nowMs: () => 0,
  pause: async () => undefined,
}

/** Three nodes, of which n1 is dead as far as the watch tells; its kubelet comes back in a fence, or before. */
async function returnsWhile(
  { Failover }: Module, when: 'fenced' | 'generation is read' | 'never',
): Promise<string[]> {
  const did: string[] = []
  let [nowMs, lease, beat] = [0, '10', 10]
  const node = (name: string): ListedNode => ({
    name, uid: name, version: '1', holdfastNode: name, lease: name === 'n1' ? '10' : String(++beat),
    taints: [OURS],
  })
  const port: FailoverPort = {
    ...NOTHING,
    nodes: async () => ({ ok: true, value: ['n1', 'n2', 'n3'].map(node) }),
    storage: async () => ({ ok: true, value: states('down') }),
    lease: async (name) => ({ ok: true, value: name === 'n1' ? lease : '10' }),
    pods: async (name) => ({ ok: true, value: name === 'n1' ? [POD] : [] }),
    use: async () => ({ ok: true, value: { holds: new Set(), stale: new Set(['v']) } }),
    generation: async () => {
      if (when === 'generation is read') lease = '11'
      return { ok: true, value: 7 }
    },
    fence: async (_, _node, generation) => {
      did.push(`fence ${generation}`)
      if (when === 'fenced') lease = '11'
      return undefined
    },
    remove: async (_, how) => {
      did.push(how)
      return 'done'
    },
    nowMs: () => nowMs,
  }
  const failover = new Failover(port, () => true)
  for (; nowMs <= 20_000; nowMs += 1000) {
    await failover.turn()
    await failover.settled()
  }
  return did
}

t.test('a kubelet that comes back while its volumes are fenced keeps its pod', async (t) => {
  const ours = await import('../../../../csi/kube/failover/failover.ts')
  t.same(await returnsWhile(ours, 'never'), ['fence 7', 'delete'])
  t.same(await returnsWhile(ours, 'fenced'), ['fence 7'])
  const mutant = await importMutant<Module>(LAST_LOOK, 'csi/kube/failover/failover.ts')
  t.same(await returnsWhile(mutant, 'fenced'), ['fence 7', 'delete'], 'which is seen where it is not looked for')
})

t.test('a kubelet that comes back while generations are read keeps its volumes', async (t) => {
  t.same(await returnsWhile(await import('../../../../csi/kube/failover/failover.ts'), 'generation is read'), [])
  const mutant = await importMutant<Module>(LAST_GENERATION, 'csi/kube/failover/failover.ts')
  t.same(await returnsWhile(mutant, 'generation is read'), ['fence 7'], 'which is seen where it is not looked for')
})

/** When anything was done to n1, whose kubelet lives, in seconds; its storage is down from 0 on. */
async function whileStarted(
  { Failover }: Module, { startsS, runsS, upS, mostS }: Record<'startsS' | 'runsS' | 'upS' | 'mostS', number>,
): Promise<string[]> {
  const did: string[] = []
  let [nowMs, beat] = [0, 10]
  let taints: Taint[] = []
  const port: FailoverPort = {
    ...NOTHING,
    nodes: async () => ({
      ok: true,
      value: ['n1', 'n2', 'n3'].map((name): ListedNode => ({
        name, uid: name, version: '1', holdfastNode: name, lease: String(++beat),
        taints: name === 'n1' ? taints : [],
      })),
    }),
    storage: async () => ({ ok: true, value: states(nowMs < upS * 1000 ? 'down' : 'up') }),
    pods: async () => {
      const isStorageStarting = nowMs >= startsS * 1000 && nowMs < runsS * 1000
      return { ok: true, value: [POD, { ...POD, uid: 'node', owner: 'DaemonSet', volumes: [], isStorageStarting }] }
    },
    fence: async () => void did.push(`fence ${nowMs / 1000}`),
    setTaints: async (_, next) => {
      taints = [...next]
      did.push(`taint ${nowMs / 1000}`)
      return undefined
    },
    nowMs: () => nowMs,
  }
  const failover = new Failover(port, () => true)
  for (; nowMs <= mostS * 1000; nowMs += 1000) {
    await failover.turn()
    await failover.settled()
  }
  return did.slice(0, 2)
}

t.test('a data process that was started has a while to be up, before its pods lose their volumes', async (t) => {
  const ours = await import('../../../../csi/kube/failover/failover.ts')
  const soon = { startsS: 1, runsS: 18, upS: 25, mostS: 60 }
  t.same(await whileStarted(ours, soon), [], 'started before its storage was called dead')
  t.same(await whileStarted(ours, { startsS: 1, runsS: 90, upS: 100, mostS: 150 }), [], 'its image was pulled')
  const gap = { startsS: 1, runsS: 30, upS: 1000, mostS: 60 }
  t.same(await whileStarted(ours, gap), ['taint 49', 'fence 50'], 'no longer')
  t.same(await whileStarted(ours, { startsS: 1, runsS: 1, upS: 1000, mostS: 60 }), ['taint 20', 'fence 21'])
  t.same(await whileStarted(ours, { startsS: 1, runsS: 900, upS: 1000, mostS: 400 }), ['taint 319', 'fence 320'])
  const mutant = await importMutant<Module>(LAST_START, 'csi/kube/failover/failover.ts')
  t.same(await whileStarted(mutant, soon), ['taint 20', 'fence 21'], 'which is seen where it is not remembered')
})

t.test('a node of which nothing is left to do is looked at each ten seconds', async (t) => {
  const { Failover } = await import('../../../../csi/kube/failover/failover.ts')
  let [nowMs, beat, looks] = [0, 10, 0]
  let pods = [POD]
  const removedS: number[] = []
  const out: Taint = { key: 'node.kubernetes.io/out-of-service', value: 'holdfast', effect: 'NoExecute' }
  const failover = new Failover({
    ...NOTHING,
    nodes: async () => ({
      ok: true,
      value: ['n1', 'n2', 'n3'].map((name): ListedNode => ({
        name, uid: name, version: '1', holdfastNode: name, lease: name === 'n1' ? '10' : String(++beat),
        taints: name === 'n1' ? [OURS, out] : [],
      })),
    }),
    storage: async () => ({ ok: true, value: states('down') }),
    lease: async () => ({ ok: true, value: '10' }),
    pods: async () => {
      looks++
      return { ok: true, value: pods }
    },
    remove: async () => {
      removedS.push(nowMs / 1000)
      pods = []
      return 'done'
    },
    nowMs: () => nowMs,
  }, () => true)
  for (; nowMs < 120_000; nowMs += 1000) {
    if (nowMs === 63_000) pods = [{ ...POD, uid: 'u2' }]
    await failover.turn()
    await failover.settled()
  }
  t.ok(looks >= 10 && looks <= 13, `${looks} looks`)
  t.match(removedS, [20, 71], 'and what comes later is moved')
})

t.test('a kubelet that comes back while its node is looked at is not taken out of service', async (t) => {
  const { Failover } = await import('../../../../csi/kube/failover/failover.ts')
  for (const doesReturn of [false, true]) {
    let [nowMs, lease, beat] = [0, '10', 10]
    const tainted: string[] = []
    const failover = new Failover({
      ...NOTHING,
      // The watch of Leases stands still, as one does whose connection is dead.
      nodes: async () => ({
        ok: true,
        value: ['n1', 'n2', 'n3'].map((name): ListedNode => ({
          name, uid: name, version: '1', holdfastNode: name, lease: name === 'n1' ? '10' : String(++beat),
          taints: [OURS],
        })),
      }),
      storage: async () => ({ ok: true, value: states('down') }),
      lease: async (name) => ({ ok: true, value: name === 'n1' ? lease : '10' }),
      pods: async (name) => {
        if (doesReturn && name === 'n1') lease = '11'
        return { ok: true, value: [] }
      },
      setTaints: async ({ name }, taints) => {
        if (taints.length > 1) tainted.push(name)
        return undefined
      },
      nowMs: () => nowMs,
    }, () => true)
    for (; nowMs <= 20_000; nowMs += 1000) {
      await failover.turn()
      await failover.settled()
    }
    t.same(tainted, doesReturn ? [] : ['n1'])
  }
})

/** What is done to n1, which lives and has our taint, while it says for some seconds that a session is of before. */
async function whileStale({ Failover }: Module, staleS: (second: number) => boolean): Promise<string[]> {
  const did: string[] = []
  let [nowMs, beat] = [0, 10]
  let taints: Taint[] = [OURS]
  const failover = new Failover({
    ...NOTHING,
    nodes: async () => ({
      ok: true,
      value: ['n1', 'n2', 'n3'].map((name): ListedNode => ({
        name, uid: name, version: '1', holdfastNode: name, lease: String(++beat),
        taints: name === 'n1' ? taints : [],
      })),
    }),
    storage: async () => ({ ok: true, value: states('up') }),
    lease: async () => ({ ok: true, value: String(beat) }),
    pods: async () => ({ ok: true, value: [POD] }),
    attachments: async () =>
      ({ ok: true, value: [{ name: 'a', uid: 'a', volumeId: 'v', isAttached: true, isGoing: false }] }),
    use: async () => ({ ok: true, value: { holds: new Set('v'), stale: new Set(staleS(nowMs / 1000) ? 'v' : '') } }),
    setTaints: async (_, next) => {
      taints = [...next]
      did.push(`clean ${nowMs / 1000}`)
      return undefined
    },
    remove: async (_, how) => {
      did.push(`${how} ${nowMs / 1000}`)
      return 'done'
    },
    nowMs: () => nowMs,
  }, () => true)
  for (; nowMs <= 30_000; nowMs += 1000) {
    await failover.turn()
    await failover.settled()
  }
  return did
}

t.test('a session that is told late costs no pod that works', async (t) => {
  const ours = await import('../../../../csi/kube/failover/failover.ts')
  const late = (second: number): boolean => second <= 19
  t.same(await whileStale(ours, late), ['clean 20'])
  t.match(await whileStale(ours, () => true), ['evict 20'], 'one that stays does')
  const mutant = await importMutant<Module>(LAST_SESSION, 'csi/kube/failover/failover.ts')
  t.match(await whileStale(mutant, late), ['evict 15'], 'which is seen where one look is enough')
})

/** Since when, and until when, one of the APIs was silent, in seconds. */
type Gap = [fromS: number, untilS: number]

/** When n1 was tainted, and its pod gone; its Lease ends at 0, and what Holdfast says of it is `down` from 5 s on. */
async function whileSilent({ Failover }: Module, control: Gap, kubernetes: Gap): Promise<string[]> {
  const did: string[] = []
  let [nowMs, beat] = [0, 10]
  let taints: Taint[] = []
  const isIn = ([fromS, untilS]: Gap): boolean => nowMs >= fromS * 1000 && nowMs < untilS * 1000
  const away = { ok: false as const, problem: 'no answer' }
  const port: FailoverPort = {
    ...NOTHING,
    nodes: async () => isIn(kubernetes) ? away : {
      ok: true,
      value: ['n1', 'n2', 'n3'].map((name): ListedNode => ({
        name, uid: name, version: '1', holdfastNode: name, lease: name === 'n1' ? '10' : String(++beat),
        taints: name === 'n1' ? taints : [],
      })),
    },
    storage: async () => isIn(control) ? away : { ok: true, value: states(nowMs < 5000 ? 'up' : 'down') },
    lease: async () => ({ ok: true, value: '10' }),
    pods: async () => ({ ok: true, value: [POD] }),
    setTaints: async (_, next) => {
      taints = [...next]
      did.push(`taint ${nowMs / 1000}`)
      return undefined
    },
    remove: async () => {
      did.push(`delete ${nowMs / 1000}`)
      return 'done'
    },
    nowMs: () => nowMs,
  }
  const failover = new Failover(port, () => true)
  for (; nowMs <= 90_000 && did.length < 2; nowMs += 1000) {
    await failover.turn()
    await failover.settled()
  }
  return did
}

t.test('kubelets are silent while the control API is, and not while Kubernetes is', async (t) => {
  const ours = await import('../../../../csi/kube/failover/failover.ts')
  const never: Gap = [0, 0]
  t.same(await whileSilent(ours, never, never), ['taint 20', 'delete 21'])
  t.same(await whileSilent(ours, [2, 14], never), ['taint 20', 'delete 21'], 'who was elected died with its kubelet')
  t.same(await whileSilent(ours, [2, 62], never), ['taint 62', 'delete 63'], 'nothing while it is silent')
  t.same(await whileSilent(ours, [21, 40], never), ['taint 20', 'delete 40'], 'nor what was begun')
  t.same(await whileSilent(ours, never, [2, 14]), ['taint 34', 'delete 35'], 'kubelets could not renew')
  t.same(await whileSilent(ours, never, [2, 6]), ['taint 20', 'delete 21'], 'for 5 s at most')
  t.same(await whileSilent(ours, [2, 30], [10, 20]), ['taint 40', 'delete 41'], 'both, at different times')
  t.same(await whileSilent(ours, [10, 60], [2, 14]), ['taint 60', 'delete 61'])
  const mutant = await importMutant<Module>(ONE_SIGHT, 'csi/kube/failover/failover.ts')
  t.same(await whileSilent(mutant, [2, 14], never), ['taint 34', 'delete 35'], 'which is seen where both are one')
})
