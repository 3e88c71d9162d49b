/** Risk: a claim asks for copies, in the way of StorageOS, and nobody tells its user that he has not got them. */
import t from 'tap'
import { claimEvents } from '../../../cli/csi-health.ts'
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { CreateVolumeRequest as ApiRequest } from '../../../cluster/api/volume-wish-messages.ts'
import type { ApiAnswer, ApiCall } from '../../../cluster/kubernetes/api-client.ts'
import { createVolume } from '../../../csi/controller/create-volume.ts'
import type { CreateVolumeRequest } from '../../../csi/messages.ts'
import type { ToldEvent } from '../../../csi/kube/event-recorder.ts'
import { IgnoredWishes } from '../../../csi/kube/health/ignored-wishes.ts'
import { HoldfastError } from '../../../engine/errors.ts'

const OF_PVC = { 'csi.storage.k8s.io/pvc/name': 'data', 'csi.storage.k8s.io/pvc/namespace': 'db' }
const about = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace: 'db', name: 'data', uid: 'u1' }

/** What is told of a claim with such metadata. */
async function told(metadata: object, sentences: string[], status = 200) {
  const events: ToldEvent[] = []
  const log: string[] = []
  const call = async ({ path }: ApiCall): Promise<ApiAnswer> => {
    t.equal(path, '/api/v1/namespaces/db/persistentvolumeclaims/data')
    if (status === 200) return { ok: true, body: { metadata: { uid: 'u1', ...metadata } } }
    return { ok: false, failure: { status, isUnknown: false, reason: 'it is refused' } }
  }
  const wishes = new IgnoredWishes({
    client: { call }, recorder: { tell: (one) => void events.push(one) }, log: (line) => void log.push(line),
  })
  await wishes.tell({ namespace: 'db', name: 'data' }, sentences)
  return { events, log }
}

t.test('parameters of the class, and labels of the claim, each in one Event', async (t) => {
  const labels = {
    app: 'db', 'storageos.com/replicas': '2', 'storageos.com/nfs-squash': 'all', 'storageos.com/other': 'x',
  }
  const annotations = { 'storageos.com/storageclass': 'fast', 'kubernetes.io/x': 'y' }
  const { events } = await told({ labels, annotations }, ['storageos.com/throttle has no effect: limits', 'b has none'])
  t.same(events, [
    {
      about, type: 'Normal', reason: 'ParameterIgnored',
      note: 'parameter storageos.com/throttle has no effect: limits; parameter b has none',
    },
    {
      about, type: 'Warning', reason: 'LabelIgnored',
      note: 'label storageos.com/replicas has no effect: it is read of a class only; name one that says it; '
        + 'label storageos.com/nfs-squash has no effect: no file system is served over NFS; '
        + 'annotation storageos.com/storageclass has no effect: the class of a volume is in its PersistentVolume',
    },
  ])
})

t.test('nothing to say, nobody to say it to', async (t) => {
  t.same(await told({ labels: { app: 'db', replicas: '2' } }, []), { events: [], log: [] })
  t.same(await told({ labels: 'none', annotations: null }, []), { events: [], log: [] }, 'whatever it is')
  t.same(await told({}, ['a'], 404), { events: [], log: [] }, 'it was deleted')
  t.match(await told({}, ['a'], 403), { events: [], log: [/^PVC db\/data is not told .*: it is refused$/] })
})

t.test('they reach the Kubernetes API, and a bug does not end in silence', async (t) => {
  const calls: ApiCall[] = []
  const bugs: unknown[] = []
  const call = async (one: ApiCall): Promise<ApiAnswer> => {
    calls.push(one)
    if (one.path.endsWith('/odd')) throw new TypeError('planted')
    return { ok: true, body: { metadata: { uid: 'u1' } } }
  }
  const events = claimEvents({ kubernetes: { call }, log: () => undefined, onBug: (error) => void bugs.push(error) })
  events.tell({ namespace: 'db', name: 'data' }, ['storageos.com/throttle has no effect: limits'])
  events.tell({ namespace: 'db', name: 'odd' }, [])
  await new Promise((resolve) => setImmediate(resolve))
  await events.close()
  t.match(calls.find(({ method }) => method === 'POST'), {
    path: '/api/v1/namespaces/db/events', body: { reason: 'ParameterIgnored', involvedObject: about },
  })
  t.match(bugs, [{ message: 'planted' }])
})

t.test('CreateVolume tells the claim that it makes a volume for, once it is to be made', async (t) => {
  const calls: unknown[][] = []
  const api = {
    getVolume: async ({ name }: { name: string }) => { throw new HoldfastError('volume-not-found', { name }) },
    createVolume: async ({ name, sizeBytes, labels }: ApiRequest) =>
      ({ id: 'a'.repeat(32), name, sizeBytes, labels, allowedNodes: [], allowedZones: [] }),
  } as unknown as ControlClient
  const request = (parameters: Record<string, string>): CreateVolumeRequest => ({
    name: 'pvc-one', capacityRange: null, parameters, secrets: {}, mutableParameters: {},
    volumeCapabilities: [{ block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } }],
    volumeContentSource: null, accessibilityRequirements: null,
  })
  const tellClaim = (...given: unknown[]): void => void calls.push(given)
  const create = (parameters: Record<string, string>) =>
    createVolume({ api, log: () => undefined, tellClaim }, request(parameters))
  await create({ 'storageos.com/fenced': 'true' })
  t.same(calls, [], 'of whom nobody says whose it is')
  await create({ ...OF_PVC, 'storageos.com/fenced': 'true' })
  await create(OF_PVC)
  const claim = { namespace: 'db', name: 'data' }
  t.same(calls, [[claim, ['storageos.com/fenced has no effect: it is a label of pods']], [claim, []]])
  await t.rejects(create({ ...OF_PVC, 'storageos.com/replcas': '2' }), { code: 3 })
  t.equal(calls.length, 2)
})
