/**
 * A scheduler's requests over real HTTP, in the form of Kubernetes' extender/v1, up to the Kubernetes API and the
 * control API, which answer as they are told. Risk: an error of ours keeps pods from being scheduled, or a request of a
 * stranger ends the controller.
 */
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { CapacityRequest, Node } from '../../../cluster/api/node-messages.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import type { ApiAnswer, ApiCall, ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { TlsFolder } from '../../../cluster/tls/tls-folder.ts'
import { ClaimLook } from '../../../csi/kube/health/claim-look.ts'
import { BODY_BYTES_MAX, serveExtender } from '../../../csi/kube/scheduling/scheduler-extender.ts'
import { Scheduling } from '../../../csi/kube/scheduling/scheduling.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { GIB } from '../../../engine/units.ts'
import { TestCa } from '../../cluster/tls/certificates.ts'

const VOLUME = 'a'.repeat(32)
const HOST = '127.0.0.1'

const claim = (spec: object) => ({ kind: 'PersistentVolumeClaim', spec })
const csi = (driver: string, volumeHandle: string) => ({ spec: { csi: { driver, volumeHandle } } })
const storageClass = (provisioner: string, parameters: object = {}, volumeBindingMode = 'WaitForFirstConsumer') =>
  ({ provisioner, parameters, volumeBindingMode })
const attributesClass = (driverName: string) =>
  ({ driverName, parameters: { 'holdfast.io/data-locality': 'strict', 'holdfast.io/replicas': '1' } })
const of = (storage: string) => ({ resources: { requests: { storage } } })

const OBJECTS: Record<string, object> = {
  '/api/v1/namespaces/db/persistentvolumeclaims/data': claim({ volumeName: 'pv-1' }),
  '/api/v1/namespaces/db/persistentvolumeclaims/other': claim({ volumeName: 'pv-2' }),
  '/api/v1/namespaces/db/persistentvolumeclaims/lost': claim({ volumeName: 'pv-3' }),
  '/api/v1/namespaces/db/persistentvolumeclaims/new': claim({ storageClassName: 'near', ...of('10Gi') }),
  '/api/v1/namespaces/db/persistentvolumeclaims/moved': claim({
    storageClassName: 'anywhere', volumeAttributesClassName: 'near', ...of('10Gi'),
  }),
  '/api/v1/namespaces/db/persistentvolumeclaims/beta': claim({
    storageClassName: 'anywhere', volumeAttributesClassName: 'beta', ...of('10Gi'),
  }),
  '/api/v1/namespaces/db/persistentvolumeclaims/ahead': claim({
    storageClassName: 'near', volumeAttributesClassName: 'missing', ...of('10Gi'),
  }),
  '/api/v1/namespaces/db/persistentvolumeclaims/mixed': claim({
    storageClassName: 'near', volumeAttributesClassName: 'foreign', ...of('10Gi'),
  }),
  '/api/v1/namespaces/db/persistentvolumeclaims/pod-scratch': claim({ storageClassName: 'near', ...of('10Gi') }),
  '/api/v1/namespaces/db/persistentvolumeclaims/odd': claim({ storageClassName: 'near', ...of('many') }),
  '/api/v1/namespaces/db/persistentvolumeclaims/wrong': claim({ storageClassName: 'wrong', ...of('1Gi') }),
  '/api/v1/namespaces/db/persistentvolumeclaims/foreign': claim({ storageClassName: 'foreign', ...of('1Gi') }),
  '/api/v1/namespaces/db/persistentvolumeclaims/at-once': claim({ storageClassName: 'at-once', ...of('1Gi') }),
  '/api/v1/persistentvolumes/pv-1': csi('csi.holdfast.io', VOLUME),
  '/api/v1/persistentvolumes/pv-2': csi('ebs.csi.aws.com', 'vol-1'),
  '/api/v1/persistentvolumes/pv-3': csi('csi.holdfast.io', 'b'.repeat(32)),
  '/apis/storage.k8s.io/v1/storageclasses/near': storageClass('csi.holdfast.io', {
    'holdfast.io/data-locality': 'strict',
  }),
  '/apis/storage.k8s.io/v1/storageclasses/anywhere': storageClass('csi.holdfast.io', {
    'holdfast.io/data-locality': 'disabled', 'holdfast.io/pool': 'fast',
  }),
  '/apis/storage.k8s.io/v1/volumeattributesclasses/near': attributesClass('csi.holdfast.io'),
  '/apis/storage.k8s.io/v1beta1/volumeattributesclasses/beta': attributesClass('csi.holdfast.io'),
  '/apis/storage.k8s.io/v1/volumeattributesclasses/foreign': attributesClass('ebs.csi.aws.com'),
  '/apis/storage.k8s.io/v1/storageclasses/wrong': storageClass('csi.holdfast.io', { 'holdfast.io/replicaz': '2' }),
  '/apis/storage.k8s.io/v1/storageclasses/foreign': storageClass('ebs.csi.aws.com'),
  '/apis/storage.k8s.io/v1/storageclasses/at-once': storageClass('csi.holdfast.io', {}, 'Immediate'),
}

class World {
  readonly asked: string[] = []
  readonly log: string[] = []
  /** What the APIs do instead of answering. */
  trouble: 'none' | 'silent' | 'refused' | 'former' = 'none'
  readonly objects = { ...OBJECTS }
  dataLocality: Volume['dataLocality'] = 'disabled'

  readonly call = async ({ path: place }: ApiCall): Promise<ApiAnswer> => {
    this.asked.push(place)
    if (this.trouble === 'silent') await new Promise(() => {})
    const status = this.trouble === 'refused' ? 403 : 404
    const body = this.trouble === 'refused' ? undefined : this.objects[place]
    if (body !== undefined) return { ok: true, body: body as Record<string, unknown> }
    return { ok: false, failure: { status, isUnknown: false, reason: 'it is refused' } }
  }

  readonly api = {
    listNodes: async () => {
      this.asked.push('nodes')
      const node = (name: string, state: Node['state'] = 'up') => ({ name, state, zone: '' }) as Node
      return { nodes: [node('n1'), node('n2'), node('n3', 'down')] }
    },
    getVolume: async ({ name }: { name: string }) => {
      if (name !== VOLUME) throw new HoldfastError('volume-not-found', { name })
      const copies = [{ node: 'n1', role: 'primary', state: 'in-sync' }]
      return { name: 'data', copies, dataLocality: this.dataLocality } as Volume
    },
    capacity: async ({ parameters, eachNode }: CapacityRequest) => {
      this.asked.push(`capacity ${JSON.stringify(parameters)} ${eachNode}`)
      const nodes = [
        { node: 'n1', localBytes: GIB, freeBytes: GIB }, { node: 'n2', localBytes: 50 * GIB, freeBytes: 50 * GIB },
      ]
      return { largestBytes: 50 * GIB, localBytes: 50 * GIB, freeBytes: 51 * GIB, nodes }
    },
  }

  readonly mayAsk = async (): Promise<void> => {
    if (this.trouble === 'former') throw new Error('n2 is of a former version')
  }
}

interface Given {
  status: number
  text: string
  json: any
}

async function served(t: Test, world = new World(), { tls, bodyMs }: { tls?: string; bodyMs?: number } = {}) {
  const claims = new ClaimLook({ call: world.call } as unknown as ApiClient, 1000)
  const log = (line: string): void => void world.log.push(line)
  const scheduling = new Scheduling({ api: world.api, claims, mayAsk: world.mayAsk, answerMs: 300, log })
  const extender = await serveExtender({
    host: HOST, port: 0, judge: (pod, names) => scheduling.judge(pod, names),
    onBug: (error) => log(`bug: ${String(error)}`), tls: tls === undefined ? undefined : new TlsFolder(tls),
    ...(bodyMs === undefined ? {} : { bodyMs }),
  })
  t.teardown(() => extender.close())
  const post = (place: string, body: unknown, options: https.RequestOptions = {}): Promise<Given> =>
    new Promise((resolve, reject) => {
      const client = tls === undefined ? http : https
      const address = { host: HOST, port: extender.port, path: place, method: 'POST', agent: false as const }
      const request = client.request({ ...address, ...options }, (response) => {
        const pieces: Buffer[] = []
        response.on('data', (piece: Buffer) => pieces.push(piece))
        response.on('end', () => {
          const text = Buffer.concat(pieces).toString()
          const isJson = response.headers['content-type'] === 'application/json'
          resolve({ status: response.statusCode!, text, json: isJson ? JSON.parse(text) : undefined })
        })
      })
      request.on('error', reject)
      request.end(typeof body === 'string' ? body : JSON.stringify(body))
    })
  return { world, post, port: extender.port }
}

const pod = (...claims: string[]) => ({
  metadata: { name: 'pod', namespace: 'db' },
  spec: { volumes: claims.map((claimName) => ({ name: claimName, persistentVolumeClaim: { claimName } })) },
})
const NodeNames = ['n1', 'n2', 'n3', 'n4']

t.test('filter and prioritize, by names of nodes', async (t) => {
  const { world, post } = await served(t)
  const { status, json } = await post('/filter', { Pod: pod('data'), Nodes: null, NodeNames })
  t.equal(status, 200)
  t.same(json, {
    NodeNames: ['n1', 'n2'], FailedNodes: {}, Error: '',
    FailedAndUnresolvableNodes: {
      n3: 'Holdfast: its data process there is down', n4: 'Holdfast: no node of it runs there',
    },
  })
  const scores = await post('/prioritize', { Pod: pod('data'), NodeNames: ['n2', 'n1'] })
  t.same(scores.json, [{ Host: 'n2', Score: 0 }, { Host: 'n1', Score: 10 }])
  t.equal(world.asked.filter((one) => one === 'nodes').length, 1, 'asked once for both')
  world.dataLocality = 'strict'
  t.equal((await post('/filter', { Pod: pod('data'), NodeNames: [] })).status, 200)
})

t.test('a strict volume goes where its copies are', async (t) => {
  const { world, post } = await served(t)
  world.dataLocality = 'strict'
  t.match((await post('/filter', { Pod: pod('data'), NodeNames })).json, {
    NodeNames: ['n1'], FailedAndUnresolvableNodes: { n2: /data-locality strict and no copy there/ },
  })
})

t.test('of a scheduler that sends whole nodes', async (t) => {
  const { post } = await served(t)
  const items = NodeNames.map((name) => ({ metadata: { name, labels: { rack: name } } }))
  const { json } = await post('/filter', { Pod: pod('data'), Nodes: { items }, NodeNames: null })
  t.same(json.Nodes, { items: items.slice(0, 2) })
  t.equal(json.NodeNames, undefined)
})

t.test('one that waits for its first consumer, also of an ephemeral volume', async (t) => {
  const { world, post } = await served(t)
  const volumes = [{ name: 'scratch', ephemeral: {} }]
  const ephemeral = { metadata: { name: 'pod', namespace: 'db' }, spec: { volumes } }
  for (const Pod of [pod('new'), ephemeral]) {
    const { json } = await post('/filter', { Pod, NodeNames })
    t.match(json, { NodeNames: ['n2'], FailedAndUnresolvableNodes: { n1: /no copy of a volume of 10 GiB/ } })
  }
  t.same((await post('/prioritize', { Pod: pod('new'), NodeNames: ['n2'] })).json, [{ Host: 'n2', Score: 10 }])
  t.same(world.asked.filter((one) => one.startsWith('capacity')), ['capacity {"data-locality":"strict"} true'])
})

t.test('what its attributes class says wins over the storage class, as when its volume is made', async (t) => {
  for (const name of ['moved', 'beta']) {
    const { world, post } = await served(t)
    const { json } = await post('/filter', { Pod: pod(name), NodeNames })
    t.match(json, { NodeNames: ['n2'], FailedAndUnresolvableNodes: { n1: /no copy of a volume of 10 GiB/ } }, name)
    const asked = 'capacity {"data-locality":"strict","pool":"fast","replicas":"1"} true'
    t.same(world.asked.filter((one) => one.startsWith('capacity')), [asked])
  }
})

t.test('what is not ours is given back untouched', async (t) => {
  const { world, post } = await served(t)
  t.same((await post('/filter', { Pod: pod(), NodeNames })).json.NodeNames, NodeNames)
  t.same(world.asked, [], 'at once')
  const Pod = pod('other', 'foreign', 'at-once', 'missing', 'lost')
  t.same((await post('/filter', { Pod, NodeNames })).json, {
    NodeNames, FailedNodes: {}, FailedAndUnresolvableNodes: {}, Error: '',
  })
  t.same(world.log, [])
})

t.test('an error filters nothing, and scores nothing', async (t) => {
  for (const [trouble, Pod, why] of [
    ['silent', pod('data'), /not known within 300 ms/], ['refused', pod('data'), /it is refused/],
    ['former', pod('data'), /former version/], ['none', pod('odd'), /size cannot be read/],
    ['none', pod('wrong'), /did you mean holdfast.io\/replicas/],
    ['none', pod('ahead'), /attributes class missing is not there/],
    ['none', pod('mixed'), /attributes class foreign is of another driver/],
  ] as const) {
    const { world, post } = await served(t)
    world.trouble = trouble
    t.same((await post('/filter', { Pod, NodeNames })).json.NodeNames, NodeNames, trouble)
    const { json } = await post('/prioritize', { Pod, NodeNames })
    t.same(json, NodeNames.map((Host) => ({ Host, Score: 0 })))
    t.match(world.log[0], why)
    t.match(world.log[0], /^pod db\/pod is scheduled without a look at its volumes: /)
    world.trouble = 'none'
    // A question that is under way is not asked twice.
    if (trouble === 'silent' || Pod.spec.volumes[0]!.name !== 'data') continue
    t.equal((await post('/filter', { Pod, NodeNames })).json.NodeNames.length, 2, 'no failure is kept')
  }
})

t.test('what is no request', async (t) => {
  const { world, post, port } = await served(t)
  const wrongs: Array<[body: unknown, sentence: RegExp]> = [
    ['', /no JSON/], ['{"Pod":', /no JSON/], ['[]', /no object/], ['null', /no object/], [{}, /its Pod has no name/],
    [{ Pod: 7, NodeNames }, /its Pod/], [{ Pod: pod('data') }, /neither NodeNames nor Nodes/],
    [{ Pod: { metadata: { name: 'x', namespace: 'y' }, spec: { volumes: 'z' } }, NodeNames }, /list of volumes/],
    [{ Pod: pod('data'), NodeNames: [1] }, /neither NodeNames/],
    [{ Pod: pod('data'), Nodes: { items: [{}] } }, /one of its Nodes has no name/],
    [{ Pod: pod('data'), Nodes: { items: [null] } }, /one of its Nodes has no name/],
    [{ Pod: pod(...Array.from({ length: 1001 }, (_, i) => `c${i}`)), NodeNames }, /its Pod/],
  ]
  for (const [body, sentence] of wrongs) {
    const { status, text } = await post('/filter', body)
    t.equal(status, 400, JSON.stringify(body).slice(0, 60))
    t.match(text, sentence)
  }
  const odd = ['__proto__', 'constructor', '']
  const { json } = await post('/filter', { Pod: pod('data'), NodeNames: odd })
  t.same(Object.keys(json.FailedAndUnresolvableNodes).sort(), [...odd].sort())
  t.match(await post('/bind', {}), { status: 404 })
  t.match(await post('/filter', '', { method: 'GET' }), { status: 405 })
  t.match(await post('/healthz', '', { method: 'GET' }), { status: 200 })
  const long = 'x'.repeat(BODY_BYTES_MAX + 1)
  const told = await post('/filter', long).catch((error: NodeJS.ErrnoException) => error.code)
  t.ok(told === 'EPIPE' || told === 'ECONNRESET' || (typeof told === 'object' && told.status === 413), String(told))
  const cut = http.request({ host: HOST, port, path: '/filter', method: 'POST', headers: { 'content-length': 100 } })
  cut.on('error', () => {})
  cut.write('{')
  await new Promise((resolve) => cut.once('socket', (socket) => socket.once('connect', resolve)))
  cut.destroy()
  t.match(await post('/filter', { Pod: pod('data'), NodeNames }), { status: 200 }, 'it goes on')
  t.same(world.log, [])
})

t.test('who sends slowly holds no place of who asks, and is cut off', async (t) => {
  const { world, post, port } = await served(t, new World(), { bodyMs: 300 })
  const sockets = await Promise.all(Array.from({ length: 40 }, () => new Promise<net.Socket>((resolve) => {
    const socket: net.Socket = net.connect({ host: HOST, port }, () => resolve(socket))
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    socket.write('POST /filter HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{')
  })))
  const asked = { Pod: pod('data'), NodeNames }
  for (let i = 0; i < 3; i++) t.match(await post('/filter', asked), { status: 200 })
  await Promise.all(sockets.map((socket) => new Promise((resolve) => {
    if (socket.closed) resolve(undefined)
    else socket.resume().once('close', resolve)
  })))
  t.match(await post('/filter', asked), { status: 200 })
  t.same(world.log, [])
})

t.test('thousands of nodes', async (t) => {
  const { post } = await served(t)
  const names = Array.from({ length: 5000 }, (_, i) => `worker-${i}.${'x'.repeat(240)}`)
  const { json } = await post('/filter', { Pod: pod('data'), NodeNames: [...names, 'n1'] })
  t.same(json.NodeNames, ['n1'])
  t.equal(Object.keys(json.FailedAndUnresolvableNodes).length, 5000)
})

t.test('over TLS only to who shows a certificate', async (t) => {
  const ca = new TestCa(t)
  const dir = ca.issue({ role: 'store', name: 'extender', ip: [HOST] })
  const { post } = await served(t, new World(), { tls: dir })
  const file = (name: string) => readFileSync(path.join(dir, name))
  const asked = { Pod: pod('data'), NodeNames }
  const proved = { ca: file('ca.crt'), cert: file('tls.crt'), key: file('tls.key') }
  t.match(await post('/filter', asked, proved), { status: 200 })
  await t.rejects(post('/filter', asked, { ca: file('ca.crt') }))
})
