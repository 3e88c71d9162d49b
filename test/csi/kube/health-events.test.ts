/**
 * Health of volumes as Events, against objects that are held in memory. Risk: an Event on somebody else's PVC, one too
 * many after another leader took over, none of the end of what a former one told, or a pod that has gone as the user.
 */
import t from 'tap'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import type { ListVolumesRequest, ModifyVolumeRequest } from '../../../cluster/api/volume-wish-messages.ts'
import type { ApiAnswer, ApiCall } from '../../../cluster/kubernetes/api-client.ts'
import type { ToldEvent } from '../../../csi/kube/event-recorder.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { HealthEvents, REASONS } from '../../../csi/kube/health/health-events.ts'

const WALL_MS = Date.UTC(2026, 10, 30)
const PVC = '/api/v1/namespaces/db/persistentvolumeclaims/data'
const PODS = '/api/v1/namespaces/db/pods'

const podOf = (name: string, claimName: string, node = 'n1', phase = 'Running') => ({
  metadata: { name, namespace: 'db', uid: `uid-${name}` }, status: { phase },
  spec: { nodeName: node, volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }] },
})

class World {
  nowMs = 0
  readonly told: ToldEvent[] = []
  readonly log: string[] = []
  readonly asked: string[] = []
  readonly modified: ModifyVolumeRequest[] = []
  isAway = false
  refused = ''
  events: object[] = []
  objects: Record<string, object> = {
    [PVC]: { metadata: { uid: 'uid-1' }, spec: { volumeName: 'pv-1' } },
    [PODS]: { items: [podOf('db-0', 'data'), podOf('other', 'x'), podOf('done', 'data', 'n1', 'Succeeded')] },
  }
  volumes: Volume[] = [volume()]

  private readonly call = async ({ path, query }: ApiCall): Promise<ApiAnswer> => {
    this.asked.push(`${path} ${query?.fieldSelector ?? ''}`)
    const body = path === '/api/v1/events' ? { items: this.events } : this.objects[path]
    if (!this.isAway && body !== undefined) return { ok: true, body: body as Record<string, unknown> }
    return { ok: false, failure: { status: this.isAway ? 503 : 404, isUnknown: false, reason: 'not there' } }
  }

  leader(): HealthEvents {
    return new HealthEvents({
      client: { call: this.call },
      api: {
        listVolumes: async ({ after = '' }: ListVolumesRequest = {}) => {
          const left = this.volumes.filter(({ id }) => id > after)
          return { volumes: left.slice(0, 2), next: left.length > 2 ? left[1]!.id : '' }
        },
        modifyVolume: async (request) => {
          this.modified.push(request)
          if (request.name === this.refused) {
            throw new HoldfastError('node-too-old', { name: 'a', what: 'labels', nodes: 'n2' })
          }
          const at = this.volumes.findIndex(({ id }) => id === request.name)
          const labels = Object.fromEntries(Object.entries({ ...this.volumes[at]!.labels, ...request.labels })
            .filter(([, value]) => value !== ''))
          this.volumes[at] = { ...this.volumes[at]!, labels }
          return this.volumes[at]!
        },
      },
      recorder: { tell: (event) => void this.told.push(event) },
      component: 'holdfast-health', mayAsk: async () => {}, log: (line) => void this.log.push(line),
      nowMs: () => this.nowMs, wallMs: () => WALL_MS + this.nowMs,
    })
  }

  /** What was told since. */
  taken(): string[] {
    return this.told.splice(0).map(({ about, type, reason }) => `${type} ${reason} ${about.kind} ${about.name}`)
  }
}

const labels = { 'csi-pvc': 'data', 'csi-pvc-namespace': 'db', 'csi-pv': 'pv-1' }

function volume(change: Partial<Volume> = {}): Volume {
  const attach = { mode: 'single' as const, generation: 3, holders: [{ node: 'n1', generation: 3 }] }
  return { id: 'a', name: 'pv-1', health: 'healthy', healthReason: '', epoch: 1, labels, attach, ...change } as Volume
}

const degraded = (change: Partial<Volume> = {}): Volume =>
  volume({ health: 'degraded', healthReason: '1 of 3 copies is in sync', ...change })

t.test('worse is a Warning, better is Normal, at the PVC and its pods', async (t) => {
  const world = new World()
  const leader = world.leader()
  await leader.look()
  t.same(world.taken(), [], 'healthy, and never told otherwise')
  world.volumes = [degraded()]
  await leader.look()
  const [event] = world.told
  t.match(event, {
    about: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace: 'db', name: 'data', uid: 'uid-1' },
    type: 'Warning', reason: 'VolumeDegraded',
    note: /^degraded, it works, and a copy is missing: 1 of 3 copies is in sync; `holdfast explain pv-1`/,
  })
  t.same(world.taken(), [
    'Warning VolumeDegraded PersistentVolumeClaim data', 'Warning VolumeDegraded Pod db-0',
  ])
  await leader.look()
  t.same(world.taken(), [], 'once')
  world.volumes = [volume()]
  world.nowMs = 29_000
  await leader.look()
  t.same(world.taken(), [], 'not within 30 s')
  world.nowMs = 30_000
  await leader.look()
  t.same(world.taken(), ['Normal VolumeHealthy PersistentVolumeClaim data', 'Normal VolumeHealthy Pod db-0'])
})

t.test('nobody else is told', async (t) => {
  const world = new World()
  const leader = world.leader()
  world.volumes = [
    degraded({ labels: {} }), degraded({ id: 'b', epoch: 0 }),
    degraded({ id: 'c', labels: { ...labels, 'csi-pv': 'x' } }),
    degraded({ id: 'd', labels: { ...labels, 'csi-pvc': 'gone' } }),
  ]
  await leader.look()
  t.same(world.taken(), [])
  t.same(world.log, [])
  const asked = world.asked.length
  await leader.look()
  t.same(world.asked.slice(asked).filter((one) => one.includes('claims')), [], 'and that is not asked for again')
})

t.test('a new volume is told of when its PVC is bound', async (t) => {
  const world = new World()
  const leader = world.leader()
  world.volumes = [degraded()]
  world.objects[PVC] = { metadata: { uid: 'uid-1' }, spec: {} }
  await leader.look()
  t.same(world.taken(), [])
  world.objects[PVC] = { metadata: { uid: 'uid-1' }, spec: { volumeName: 'pv-1' } }
  await leader.look()
  t.match(world.taken(), ['Warning VolumeDegraded PersistentVolumeClaim data', /./])
})

const told = (health: keyof typeof REASONS, agoMs: number, uid = 'uid-1') => ({
  involvedObject: { kind: 'PersistentVolumeClaim', namespace: 'db', name: 'data', uid }, reason: REASONS[health],
  lastTimestamp: new Date(WALL_MS - agoMs).toISOString(),
})

t.test('another leader goes on where the former one ended', async (t) => {
  const after = async (events: object[], now: Volume) => {
    const world = new World()
    world.events = events
    world.volumes = [now]
    const leader = world.leader()
    await leader.look()
    t.match(world.asked[0], 'source=holdfast-health,involvedObject.kind=PersistentVolumeClaim')
    return world.taken().filter((one) => one.includes('Claim'))
  }
  t.same(await after([told('degraded', 60_000)], degraded()), [], 'not again')
  t.same(await after([told('degraded', 60_000)], volume()), ['Normal VolumeHealthy PersistentVolumeClaim data'])
  t.same(await after([told('degraded', 10_000)], volume()), [], 'soon')
  t.same(await after([told('at-risk', 60_000), told('faulted', 90_000)], degraded()), [
    'Normal VolumeDegraded PersistentVolumeClaim data',
  ])
  t.same(await after([told('degraded', 60_000, 'uid-0')], volume()), [], 'of a former PVC of that name')
  t.same(await after([told('degraded', 60_000, 'uid-0')], degraded()), [
    'Warning VolumeDegraded PersistentVolumeClaim data',
  ])
  const good = told('degraded', 1)
  const odd = [{}, { involvedObject: 1 }, { ...good, reason: 'Other' }, { ...good, lastTimestamp: 'x' }]
  t.same(await after(odd, volume()), [])
})

t.test('what could not be looked up is due', async (t) => {
  const world = new World()
  world.volumes = [degraded()]
  world.isAway = true
  const leader = world.leader()
  await leader.look()
  await leader.look()
  t.same(world.taken(), [])
  t.same(world.log, ['health of volumes is not told: Events: not there'], 'once')
  world.isAway = false
  await leader.look()
  t.equal(world.taken().length, 2)
})

t.test('many at once: the worst first, the others later', async (t) => {
  const world = new World()
  world.volumes = Array.from({ length: 30 }, (_, index) => degraded({
    id: `v${String(index).padStart(2, '0')}`, ...(index === 29 ? { health: 'faulted' } : {}),
  }))
  const leader = world.leader()
  await leader.look()
  const first = world.taken()
  t.match(first[0], 'VolumeFaulted')
  t.equal(first.length, 24)
  await leader.look()
  await leader.look()
  t.equal(world.taken().length, 36)
})

t.test('which pod', async (t) => {
  const world = new World()
  const leader = world.leader()
  await leader.look()
  t.same(world.modified, [{ name: 'a', parameters: {}, labels: { 'csi-pod': 'db-0' } }])
  await leader.look()
  t.equal(world.modified.length, 1)
  const moved = { items: [podOf('db-1', 'data', 'n2'), podOf('db-0', 'data', 'n1'), podOf('db-2', 'data', 'n2')] }
  world.objects[PODS] = moved
  const attach = { mode: 'single' as const, generation: 4, holders: [{ node: 'n2', generation: 4 }] }
  world.volumes = [volume({ attach, labels: { ...labels, 'csi-pod': 'db-0' } })]
  await leader.look()
  t.same(world.modified.at(-1)!.labels, { 'csi-pod': 'db-1 +1' }, 'those on the node that holds it')
  world.objects[PODS] = { items: [podOf('db-2', 'data', 'n2')] }
  world.nowMs = 59_000
  await leader.look()
  t.equal(world.modified.length, 2)
  world.nowMs = 60_000
  await leader.look()
  t.same(world.modified.at(-1)!.labels, { 'csi-pod': 'db-2' })
  world.volumes = [volume({ attach: { ...attach, holders: [] }, labels: { ...labels, 'csi-pod': 'db-2' } })]
  await leader.look()
  t.same(world.modified.at(-1)!.labels, { 'csi-pod': '' })
  t.equal(world.volumes[0]!.labels['csi-pod'], undefined)
  await leader.look()
  t.equal(world.modified.length, 4)
})

t.test('one that cannot be labelled keeps no other from it', async (t) => {
  const world = new World()
  const leader = world.leader()
  world.volumes = [volume(), volume({ id: 'b' })]
  world.refused = 'a'
  await leader.look()
  await leader.look()
  t.same(world.modified.map(({ name }) => name), ['a', 'b'], 'nor is it tried at every look')
  t.match(world.log, [/^which pod uses a is not noted: /])
})
