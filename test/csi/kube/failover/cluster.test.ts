/** Risk: failover reads another thing than what is there, or asks the API for more than it decided. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import type { ControlClient } from '../../../../cluster/api/client.ts'
import { HoldfastError } from '../../../../engine/errors.ts'
import { FailoverCluster } from '../../../../csi/kube/failover/failover-cluster.ts'
import { podOf } from '../../../../csi/kube/failover/failover-objects.ts'
import type { NodeFacts, PodFacts } from '../../../../csi/kube/failover/failover-facts.ts'
import { standIn } from '../../../cluster/kubernetes/stand-in.ts'

type Json = Record<string, any>

const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases'
const meta = (name: string, more: Json = {}): Json =>
  ({ metadata: { name, resourceVersion: '7', uid: `u-${name}`, ...more } })
const claimed = (...claims: string[]): Json[] =>
  claims.map((claimName) => ({ name: claimName, persistentVolumeClaim: { claimName } }))

/** What the API has, by path; a list with `continue` in its query goes on at its second page. */
async function cluster(t: Test, objects: Record<string, Json>, api: Partial<ControlClient> = {}) {
  const asked: Array<{ method: string; url: string; body: Json }> = []
  let connections = 0
  const answer = (request: IncomingMessage, response: ServerResponse, body: Json): void => {
    const { pathname, searchParams } = new URL(request.url!, 'https://x')
    asked.push({ method: request.method!, url: request.url!, body })
    if (searchParams.get('watch') === 'true') return void response.writeHead(200).flushHeaders()
    const found = objects[`${request.method} ${pathname}${searchParams.has('continue') ? ' 2' : ''}`]
    const status = found === undefined ? 404 : found.code ?? 200
    response.writeHead(status).end(JSON.stringify(found ?? { message: 'there is none' }))
  }
  const { client } = await standIn(t, (request, response) => {
    let text = ''
    request.on('data', (piece: Buffer) => (text += piece.toString()))
    request.on('end', () => answer(request, response, text === '' ? {} : JSON.parse(text) as Json))
  })
  const port = new FailoverCluster({
    client, namespace: 'holdfast', events: { tell: () => undefined }, log: () => undefined,
    connect: () => {
      connections++
      return { close: () => undefined, ...api } as ControlClient
    },
  })
  t.teardown(() => port.close())
  return { port, asked, connections: () => connections }
}

t.test('nodes: what is watched, and what Holdfast says', async (t) => {
  let nodes: Json[] | undefined = [
    { name: 'n-1', state: 'down', protocol: 8, version: 'x' },
    { name: 'w2', state: 'draining', protocol: 8, version: 'x' },
  ]
  const { port, connections } = await cluster(t, {
    'GET /api/v1/nodes': {
      items: [{ ...meta('w1'), spec: { taints: [{ key: 'a', effect: 'NoExecute', timeAdded: 'then' }] } }, meta('w2')],
      metadata: { resourceVersion: '9' },
    },
    [`GET ${LEASES}`]: { items: [meta('w1')], metadata: { resourceVersion: '9', continue: 'more' } },
    [`GET ${LEASES} 2`]: { items: [meta('w2', { resourceVersion: '8' })], metadata: { resourceVersion: '9' } },
    'GET /apis/storage.k8s.io/v1/csinodes': {
      items: [{
        ...meta('w1'), spec: { drivers: [{ name: 'other', nodeID: 'o' }, { name: 'csi.holdfast.io', nodeID: 'n-1' }] },
      }],
      metadata: { resourceVersion: '9' },
    },
  }, {
    listNodes: (async () => {
      if (nodes !== undefined) return { nodes }
      throw new HoldfastError('unreachable', { endpoint: 'e', source: 's', reason: 'r' })
    }) as unknown as ControlClient['listNodes'],
  })
  let read = await port.nodes()
  while (!read.ok) read = await port.nodes()
  t.same(await port.storage(), { ok: true, value: new Map([['n-1', 'down'], ['w2', 'up']]) })
  t.same(read.value, [
    {
      name: 'w1', uid: 'u-w1', version: '7', taints: [{ key: 'a', effect: 'NoExecute', timeAdded: 'then' }], lease: '7',
      holdfastNode: 'n-1',
    },
    { name: 'w2', uid: 'u-w2', version: '7', taints: [], lease: '8', holdfastNode: 'w2' },
  ])
  nodes = [...nodes, { name: 'old', state: 'up', protocol: 3, version: '0.0.1' }]
  t.match(await port.storage(), { ok: false, problem: /old \(version 0.0.1\)/ })
  nodes = undefined
  const before = connections()
  t.match(await port.storage(), { ok: false })
  t.match(await port.storage(), { ok: false })
  t.equal(connections(), before + 1, 'over another connection the next time')
  t.match(await port.nodes(), { ok: true }, 'of which Kubernetes knows nothing')
})

t.test('pods: their volumes, page by page', async (t) => {
  const pod = (name: string, spec: Json, status: Json = { phase: 'Running', startTime: 'then' }): Json =>
    ({ ...meta(name, { namespace: 'db' }), spec, status })
  const { port, asked } = await cluster(t, {
    'GET /api/v1/namespaces/holdfast/pods': { items: [] },
    'GET /api/v1/pods': {
      items: [pod('a', { volumes: [...claimed('data'), { name: 'c', configMap: {} }] })],
      metadata: { continue: 'more' },
    },
    'GET /api/v1/pods 2': {
      items: [
        pod('b', { volumes: [...claimed('data', 'foreign'), { name: 'n', nfs: {} }] }),
        pod('c', { volumes: [{ name: 'e', ephemeral: {} }, ...claimed('gone')] }),
        pod('over', { volumes: claimed('never-asked') }, { phase: 'Succeeded' }),
      ],
    },
    'GET /api/v1/namespaces/db/persistentvolumeclaims/data': { ...meta('data'), spec: { volumeName: 'pv-1' } },
    'GET /api/v1/namespaces/db/persistentvolumeclaims/foreign': { ...meta('foreign'), spec: { volumeName: 'pv-2' } },
    'GET /api/v1/namespaces/db/persistentvolumeclaims/c-e': { ...meta('c-e'), spec: { volumeName: 'pv-1' } },
    'GET /api/v1/persistentvolumes/pv-1': { spec: { csi: { driver: 'csi.holdfast.io', volumeHandle: 'v1' } } },
    'GET /api/v1/persistentvolumes/pv-2': { spec: { csi: { driver: 'other', volumeHandle: 'v1' } } },
  })
  const read = await port.pods('w1')
  t.ok(read.ok)
  const found = read.ok ? read.value : []
  const data = { isOurs: true, id: 'v1', claim: 'data', claimUid: 'u-data' }
  const others = { isOurs: false }
  t.same(found.map(({ volumes }) => volumes), [
    [data], [data, others, others], [{ ...data, claim: 'c-e', claimUid: 'u-c-e' }, others], [others],
  ])
  t.match(asked.find(({ url }) => url.startsWith('/api/v1/pods'))!.url, /fieldSelector=spec.nodeName%3Dw1/)
  t.notOk(asked.some(({ url }) => url.includes('never-asked')))
})

t.test('a data process that is not bound yet is started', async (t) => {
  const labels = { 'app.kubernetes.io/name': 'holdfast', 'app.kubernetes.io/component': 'node' }
  const unbound = (node: string): Json => ({
    ...meta(`holdfast-node-${node}`, { namespace: 'holdfast', labels }),
    spec: {
      volumes: [{ name: 'unknown', other: {} }],
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [
              { matchExpressions: [{ key: 'zone', operator: 'Exists' }] },
              { matchFields: [{ key: 'metadata.name', operator: 'In', values: [node] }] },
            ],
          },
        },
      },
    },
    status: { phase: 'Pending' },
  })
  const elsewhere = { ...unbound('w1'), spec: {} }
  const { port, asked } = await cluster(t, {
    'GET /api/v1/namespaces/holdfast/pods': { items: [unbound('w2'), unbound('w1'), elsewhere] },
    'GET /api/v1/pods': { items: [] },
  })
  t.match(await port.pods('w1'), {
    ok: true, value: { length: 1, 0: { name: 'holdfast-node-w1', isStorageStarting: true, volumes: { length: 0 } } },
  })
  const { url } = asked.find((one) => one.url.startsWith('/api/v1/namespaces'))!
  t.match(url, /fieldSelector=spec.nodeName%3D&labelSelector=app.*component%3Dnode/)
})

t.test('what a pod is', async (t) => {
  const of = (metadata: Json, spec: Json = {}, status: Json = {}) =>
    podOf({ metadata: { namespace: 'db', ...metadata }, spec, status }, 'holdfast')
  t.match(of({ labels: { 'holdfast.io/failover': 'disabled' } }), { isOptedOut: true })
  t.match(of({ labels: { 'storageos.com/fenced': 'false' } }), { isOptedOut: true })
  t.match(of({ labels: { 'storageos.com/fenced': 'true' } }), { isOptedOut: false })
  t.match(of({ annotations: { 'kubernetes.io/config.mirror': 'x' } }), { isMirror: true })
  const owners = [{ kind: 'ReplicaSet' }, { kind: 'StatefulSet', controller: true }]
  t.match(of({ ownerReferences: owners }), { owner: 'StatefulSet' })
  t.match(of({ ownerReferences: [{ kind: 'ReplicaSet' }] }), { owner: '' })
  t.match(of({ deletionTimestamp: 'then', deletionGracePeriodSeconds: 30 }), { isGoing: true, isGone: false })
  t.match(of({ deletionTimestamp: 'then', deletionGracePeriodSeconds: 0 }), { isGoing: true, isGone: true })
  const tolerates = (toleration: Json): boolean => of({}, { tolerations: [toleration] }).toleratesUs
  t.ok(tolerates({ operator: 'Exists' }))
  t.ok(tolerates({ key: 'holdfast.io/unreachable', operator: 'Exists', effect: 'NoSchedule' }))
  t.notOk(tolerates({ operator: 'Exists', effect: 'NoExecute' }))
  t.notOk(tolerates({ key: 'node.kubernetes.io/unreachable', operator: 'Exists' }))
  const inline = (driver: string): boolean => of({}, { volumes: [{ name: 'i', csi: { driver } }] }).hasOthers
  t.notOk(inline('secrets-store.csi.k8s.io'), 'made on its node')
  for (const driver of ['smb.csi.k8s.io', 'file.csi.azure.com', 'example.com']) {
    t.ok(inline(driver), `${driver} may reach beyond its node`)
  }
  const labels = { 'app.kubernetes.io/name': 'holdfast', 'app.kubernetes.io/component': 'node' }
  const own = { namespace: 'holdfast', labels }
  t.match(of(own, {}, { phase: 'Pending' }), { isStorageStarting: true })
  t.match(of(own, {}, { phase: 'Running' }), { isStorageStarting: false })
  t.match(of({ ...own, namespace: 'db' }, {}, { phase: 'Pending' }), { isStorageStarting: false })
})

t.test('what is asked of the API, and no more', async (t) => {
  const pods = '/api/v1/namespaces/db/pods/data-0'
  const attachments = '/apis/storage.k8s.io/v1/volumeattachments'
  const source = { persistentVolumeName: 'pv' }
  const objects: Record<string, Json> = {
    [`DELETE ${pods}`]: {}, [`POST ${pods}/eviction`]: { code: 429 },
    'PATCH /api/v1/nodes/w1': { code: 409, message: 'conflict' },
    [`DELETE ${attachments}/a`]: {},
    [`GET ${attachments}`]: {
      items: [
        { ...meta('a'), spec: { attacher: 'csi.holdfast.io', nodeName: 'w1', source }, status: { attached: true } },
        { ...meta('b'), spec: { attacher: 'other', nodeName: 'w1', source } },
        { ...meta('c'), spec: { attacher: 'csi.holdfast.io', nodeName: 'w2', source } },
      ],
    },
    'GET /api/v1/persistentvolumes/pv': { spec: { csi: { driver: 'csi.holdfast.io', volumeHandle: 'v1' } } },
  }
  const { port, asked } = await cluster(t, objects)
  const pod = { namespace: 'db', name: 'data-0', uid: 'u', version: '5' } as PodFacts
  const preconditions = { uid: 'u', resourceVersion: '5' }
  const last = (): unknown => {
    const { method, url, body } = asked.filter((one) => one.method !== 'GET').at(-1)!
    return [method, url, body]
  }
  t.equal(await port.remove(pod, 'delete'), 'done')
  t.same(last(), ['DELETE', pods, { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0, preconditions }])
  t.equal(await port.remove(pod, 'delete-gently'), 'done')
  t.same(last(), ['DELETE', pods, { apiVersion: 'v1', kind: 'DeleteOptions', preconditions }])
  t.equal(await port.remove(pod, 'evict'), 'budget')
  t.same(last(), ['POST', `${pods}/eviction`, {
    apiVersion: 'policy/v1', kind: 'Eviction', metadata: { namespace: 'db', name: 'data-0' },
    deleteOptions: { preconditions },
  }])
  t.equal(await port.remove({ ...pod, name: 'gone' }, 'delete'), 'done', 'what is gone is gone')
  const node = { name: 'w1', version: '3' } as NodeFacts
  t.equal(await port.setTaints(node, [{ key: 'k', effect: 'NoSchedule' }]), 'conflict')
  t.same(last(), ['PATCH', '/api/v1/nodes/w1', {
    metadata: { resourceVersion: '3' }, spec: { taints: [{ key: 'k', effect: 'NoSchedule' }] },
  }])
  const read = await port.attachments('w1')
  t.same(read, { ok: true, value: [{ name: 'a', uid: 'u-a', isAttached: true, isGoing: false, volumeId: 'v1' }] })
  t.equal(await port.release({ name: 'a', uid: 'u-a', isAttached: true, isGoing: false, volumeId: 'v1' }), undefined)
  const options = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid: 'u-a' } }
  t.same(last(), ['DELETE', `${attachments}/a`, options])
  objects[`GET ${attachments}`] = { code: 500, message: 'broken' }
  t.match(await port.attachments('w1'), { ok: false, problem: /broken/ })
})

t.test('what Holdfast says of a node: what it holds, and sessions that are over', async (t) => {
  const volume = (id: string, attach: Json, frontends: Json[], epoch = 1): Json => ({ id, epoch, attach, frontends })
  const session = (node: string, generation: number): Json => ({ node, session: 's', generation })
  const held = (generation: number): Json => ({ mode: 'single', generation, holders: [{ node: 'n1', generation }] })
  const open = { mode: 'open', generation: 2, holders: [] }
  let volumes = [volume('a', held(3), [session('n1', 3)]), volume('b', open, [session('n1', 2)])]
  const calls = { listVolumes: async () => ({ volumes, next: '' }) } as unknown as Partial<ControlClient>
  const { port } = await cluster(t, {}, calls)
  t.same(await port.use('n1'), { ok: true, value: { holds: new Set(['a']), stale: new Set() } })
  const unread = volume('d', { mode: 'single', generation: 0, holders: [] }, [], 0)
  volumes = [volume('c', held(4), [session('n2', 3)]), unread]
  t.match(await port.use('n3'), { value: { holds: new Set(['d']) } }, 'what was not read is lost to nobody')
  t.match(await port.use('n2'), { value: { stale: new Set(['c']) } })
  t.match(await port.use('n1'), { value: { stale: new Set() } })
  volumes = [volume('e', { mode: 'single', generation: 0, holders: [] }, [session('n1', 3)], 0)]
  t.match(await port.use('n1'), { ok: false, problem: /has not read/ }, 'a session is over when that is known')
})

t.test('a fence is under the generation that was read when its node was judged', async (t) => {
  const id = 'a'.repeat(32)
  const asked: Json[] = []
  let volume: Json | undefined = { id, name: 'data', epoch: 3, attach: { generation: 5, holders: [] } }
  const calls = {
    getVolume: async () => {
      if (volume === undefined) throw new HoldfastError('volume-not-found', { name: id })
      return volume
    },
    detachVolume: async (request: Json) => {
      asked.push(request)
      // It came back, and was given it anew.
      if (request.generation !== 5) return { id, attach: { generation: 8, holders: [] } }
      throw new HoldfastError('volume-attached', { name: id, holders: 'n1', mode: 'single' })
    },
  } as unknown as Partial<ControlClient>
  const { port } = await cluster(t, {}, calls)
  t.same(await port.generation(id), { ok: true, value: 5 })
  volume = { ...volume, attach: { generation: 7, holders: [{ node: 'n1', generation: 7 }] } }
  t.match(await port.fence(id, 'n1', 5), /published again meanwhile/)
  t.match(asked, [{ name: id, node: 'n1', generation: 5, spend: true }])
  volume = { ...volume, epoch: 0 }
  t.match(await port.generation(id), { ok: false, problem: /has not read/ })
  volume = undefined
  t.same(await port.generation(id), { ok: true, value: 0 })
  t.equal(await port.fence('no id', 'n1', 0), undefined)
  t.equal(asked.length, 1)
})

t.test('a port that is closed between two pages makes no other connection', async (t) => {
  let page = (): void => undefined
  const calls = {
    listVolumes: () => new Promise((resolve) => (page = () => resolve({ volumes: [], next: 'more' }))),
  } as unknown as Partial<ControlClient>
  const { port, connections } = await cluster(t, {}, calls)
  const asked = port.use('n1')
  port.close()
  page()
  t.match(await asked, { ok: false, problem: /was closed/ })
  t.equal(connections(), 1)
})
