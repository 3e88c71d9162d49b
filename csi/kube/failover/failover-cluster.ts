/**
 * What failover sees of a real cluster, and does to it: the port of `failover.ts` on the Kubernetes API and the control
 * API. Nodes, their Leases and CSINodes are watched, of which a few words are kept each; pods, claims, volumes and
 * attachments are read of one node when they are needed, page by page.
 */
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import { segment } from '../../../cluster/kubernetes/api-client.ts'
import type { ApiCall, ApiClient, ApiFailure } from '../../../cluster/kubernetes/api-client.ts'
import { listPages } from '../../../cluster/kubernetes/api-list.ts'
import { ApiMirror } from '../../../cluster/kubernetes/api-mirror.ts'
import { recordOf, textOf, uidOf, versionOf } from '../../../cluster/kubernetes/api-objects.ts'
import type { ApiObject } from '../../../cluster/kubernetes/api-objects.ts'
import { pause } from '../../../cluster/pause.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { whyNotAsked } from '../../controller/node-protocols.ts'
import { endAttachment } from '../../controller/publish-volume.ts'
import { findVolume } from '../../controller/volumes.ts'
import { CsiRefusal } from '../../refusal.ts'
import { ControlLink } from '../control-link.ts'
import type { EventRecorder, ToldEvent } from '../event-recorder.ts'
import type {
  AttachmentFacts, HoldfastUse, ListedNode, NodeFacts, PodFacts, PodVolume, StorageStates, Taint,
} from './failover-facts.ts'
import { attachmentOf, kubeNodeOf, nodeIdOf, podOf } from './failover-objects.ts'
import type { KubeNode, PodObject } from './failover-objects.ts'
import type { FailoverPort, Read, Removal } from './failover-port.ts'
import { nodeNameOf } from '../node-name.ts'
import { volumeIdOf } from '../pod-claims.ts'
import { wishedNodeOf } from '../pod-state.ts'

const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases'
const ATTACHMENTS = '/apis/storage.k8s.io/v1/volumeattachments'
const LOOK_MS = 3000
/** Of a volume that nobody leads it takes ten seconds to say so. */
const FENCE_MS = 15_000
const VOLUMES_PAGE = 200
const READS_AT_ONCE = 8
/** Pods of data processes that the scheduler has still to bind. */
const UNBOUND_STORAGE = {
  fieldSelector: 'spec.nodeName=',
  labelSelector: 'app.kubernetes.io/name=holdfast,app.kubernetes.io/component=node',
}

export interface FailoverClusterOptions {
  client: ApiClient
  /** Where Holdfast's own pods are. */
  namespace: string
  connect(): ControlClient
  events: Pick<EventRecorder, 'tell'>
  log(line: string): void
}

/** A call that has no answer to go on with. */
class Unread extends Error {}

const unread = ({ reason }: ApiFailure): Unread => new Unread(`the Kubernetes API: ${reason}`)

export class FailoverCluster implements FailoverPort {
  private readonly options: FailoverClusterOptions
  private readonly control: ControlLink
  private readonly nodesSeen: ApiMirror<KubeNode>
  private readonly leases: ApiMirror<string>
  private readonly ids: ApiMirror<string>

  constructor(options: FailoverClusterOptions) {
    this.options = options
    const { client } = options
    this.control = new ControlLink(options.connect)
    this.nodesSeen = new ApiMirror({ client, path: '/api/v1/nodes', project: kubeNodeOf })
    this.leases = new ApiMirror({ client, path: LEASES, project: (_, version) => version })
    const path = '/apis/storage.k8s.io/v1/csinodes'
    this.ids = new ApiMirror({ client, path, project: (object) => nodeIdOf(object) || undefined })
  }

  close(): void {
    this.control.close()
    for (const mirror of [this.nodesSeen, this.leases, this.ids]) mirror.close()
  }

  nowMs = (): number => performance.now()
  tell = (event: ToldEvent): void => this.options.events.tell(event)
  log = (line: string): void => this.options.log(line)
  pause = (ms: number): Promise<void> => pause(ms)

  nodes(): Promise<Read<ListedNode[]>> {
    return read(async () => {
      // Whether the API answers at all: a watch that is cut off looks like one without news.
      const query = { limit: '1' }
      const answer = await this.options.client.call({ method: 'GET', path: LEASES, query, deadlineMs: LOOK_MS })
      if (!answer.ok) throw unread(answer.failure)
      const [seen, leases, ids] = [this.nodesSeen, this.leases, this.ids].map(({ entries, problem }) => {
        if (entries === undefined) throw new Unread(problem)
        return entries
      }) as [ReadonlyMap<string, KubeNode>, ReadonlyMap<string, string>, ReadonlyMap<string, string>]
      return [...seen.values()].map((node) =>
        ({ ...node, lease: leases.get(node.name) ?? '', holdfastNode: ids.get(node.name) ?? nodeNameOf(node.name) }))
    })
  }

  storage(): Promise<Read<StorageStates>> {
    return read(async () => {
      const { nodes } = await this.control.ask(LOOK_MS, (api) => api.listNodes())
      const why = whyNotAsked(nodes)
      if (why !== undefined) throw new Unread(why)
      return new Map(nodes.map(({ name, state }) => [name, state === 'down' ? 'down' : 'up']))
    })
  }

  lease(node: string): Promise<Read<string>> {
    return read(async () => {
      const lease = await this.find(`${LEASES}/${segment(node)}`)
      return lease === undefined ? '' : versionOf(lease)
    })
  }

  pods(node: string): Promise<Read<PodFacts[]>> {
    return read(async () => {
      const found: PodObject[] = []
      // First those that are not bound yet, so that one which is bound meanwhile is seen once at least.
      const { namespace } = this.options
      for await (const item of this.all(`/api/v1/namespaces/${segment(namespace)}/pods`, UNBOUND_STORAGE)) {
        // It has nothing on that node yet.
        if (wishedNodeOf(item) === node) found.push({ ...podOf(item, namespace), claims: [], hasOthers: false })
      }
      const query = { fieldSelector: `spec.nodeName=${node}` }
      for await (const item of this.all('/api/v1/pods', query)) found.push(podOf(item, namespace))
      const claims = new Map<string, PodVolume>()
      // Of pods that are over nobody asks.
      for (const pod of found) if (!pod.isOver) for (const claim of pod.claims) claims.set(claimKey(pod, claim), OTHERS)
      await each([...claims.keys()], async (key) => claims.set(key, await this.claim(key)))
      return found.map(({ claims: names, hasOthers, ...pod }) => {
        const own = names.map((claim) => claims.get(claimKey(pod, claim)) ?? OTHERS)
        return { ...pod, volumes: hasOthers ? [...own, OTHERS] : own }
      })
    })
  }

  attachments(node: string): Promise<Read<AttachmentFacts[]>> {
    return read(async () => {
      const found: AttachmentFacts[] = []
      const there: Array<NonNullable<ReturnType<typeof attachmentOf>>> = []
      for await (const item of this.all(ATTACHMENTS)) {
        const attachment = attachmentOf(item)
        if (attachment?.node === node) there.push(attachment)
      }
      await each(there, async ({ volume, node: _, ...rest }) => {
        const volumeId = await this.volume(volume)
        if (volumeId !== undefined) found.push({ ...rest, volumeId })
      })
      return found
    })
  }

  use(holdfastNode: string): Promise<Read<HoldfastUse>> {
    return read(async () => {
      const [holds, stale] = [new Set<string>(), new Set<string>()]
      let after = ''
      do {
        const page = await this.control.ask(FENCE_MS, (api) => api.listVolumes({ limit: VOLUMES_PAGE, after }))
        for (const volume of page.volumes) {
          const isHeld = volume.attach.holders.some(({ node }) => node === holdfastNode)
          // Who is elected anew has not read whose it is: nothing is concluded from that.
          if (isHeld || volume.epoch === 0) holds.add(volume.id)
          const { epoch, frontends } = volume
          // Nor which of its sessions are in force.
          if (epoch === 0 && frontends.some(({ node }) => node === holdfastNode)) {
            throw new Unread(`who is elected has not read yet who holds volume ${volume.name}`)
          }
          if (isStale(volume, holdfastNode)) stale.add(volume.id)
        }
        after = page.next
      } while (after !== '')
      return { holds, stale }
    })
  }

  generation(volumeId: string): Promise<Read<number>> {
    return read(async () => {
      const volume = await this.control.ask(LOOK_MS, (api) => findVolume(api, volumeId))
      if (volume?.epoch === 0) throw new Unread(`who is elected has not read yet who holds volume ${volume.name}`)
      return volume?.attach.generation ?? 0
    })
  }

  async fence(volumeId: string, nodeId: string, generation: number): Promise<string | undefined> {
    const fenced = await read(() =>
      this.control.ask(FENCE_MS, (api) => endAttachment(api, { volumeId, nodeId }, generation)))
    return fenced.ok ? undefined : fenced.problem
  }

  setTaints({ name, version: resourceVersion }: NodeFacts, taints: readonly Taint[]): Promise<string | undefined> {
    const body = { metadata: { resourceVersion }, spec: { taints } }
    return this.change({ method: 'PATCH', path: `/api/v1/nodes/${segment(name)}`, body })
  }

  async remove(
    { namespace, name, uid, version: resourceVersion }: PodFacts, how: Removal,
  ): Promise<'done' | 'budget' | { problem: string }> {
    const path = `/api/v1/namespaces/${segment(namespace)}/pods/${segment(name)}`
    const preconditions = { uid, resourceVersion }
    if (how !== 'evict') {
      const grace = how === 'delete' ? { gracePeriodSeconds: 0 } : {}
      const body = { apiVersion: 'v1', kind: 'DeleteOptions', ...grace, preconditions }
      const problem = await this.change({ method: 'DELETE', path, body })
      return problem === undefined ? 'done' : { problem }
    }
    const body = {
      apiVersion: 'policy/v1', kind: 'Eviction', metadata: { namespace, name }, deleteOptions: { preconditions },
    }
    const answer = await this.options.client.call({ method: 'POST', path: `${path}/eviction`, body })
    if (answer.ok || answer.failure.status === 404) return 'done'
    const { status, reason } = answer.failure
    // 500: several budgets are for this pod, which the API does not judge.
    return status === 429 || status === 500 ? 'budget' : { problem: reason }
  }

  release({ name, uid }: AttachmentFacts): Promise<string | undefined> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid } }
    return this.change({ method: 'DELETE', path: `${ATTACHMENTS}/${segment(name)}`, body })
  }

  private async change(call: ApiCall): Promise<string | undefined> {
    const answer = await this.options.client.call(call)
    return answer.ok || answer.failure.status === 404 ? undefined : answer.failure.reason
  }

  private async claim(key: string): Promise<PodVolume> {
    const [namespace = '', claim = ''] = key.split('/')
    const found = await this.find(`/api/v1/namespaces/${segment(namespace)}/persistentvolumeclaims/${segment(claim)}`)
    if (found === undefined) return OTHERS
    const name = textOf(recordOf(found.spec).volumeName)
    const id = name === '' ? undefined : await this.volume(name)
    return id === undefined ? OTHERS : { isOurs: true, id, claim, claimUid: uidOf(found) }
  }

  private async volume(name: string): Promise<string | undefined> {
    const found = await this.find(`/api/v1/persistentvolumes/${segment(name)}`)
    return found === undefined ? undefined : volumeIdOf(found)
  }

  private async *all(path: string, query: Record<string, string> = {}): AsyncGenerator<ApiObject> {
    for await (const page of listPages(this.options.client, { path, query })) {
      if (!page.ok) throw unread(page.failure)
      yield* page.items
    }
  }

  /** Undefined: there is none. */
  private async find(path: string): Promise<ApiObject | undefined> {
    const answer = await this.options.client.call({ method: 'GET', path })
    if (answer.ok) return answer.body
    if (answer.failure.status === 404) return undefined
    throw unread(answer.failure)
  }
}

const OTHERS: PodVolume = { isOurs: false }
const claimKey = ({ namespace }: Pick<PodFacts, 'namespace'>, claim: string): string => `${namespace}/${claim}`

/** A session of that node whose generation is not in force. */
const isStale = ({ attach: { mode, generation, holders }, frontends }: Volume, node: string): boolean =>
  frontends.some((one) => one.node === node
    && one.generation !== (mode === 'open' ? generation : holders.find((holder) => holder.node === node)?.generation))

/** What the world refuses is a sentence; anything else is a bug. */
async function read<T>(look: () => Promise<T>): Promise<Read<T>> {
  try {
    return { ok: true, value: await look() }
  } catch (error) {
    if (error instanceof HoldfastError || error instanceof CsiRefusal || error instanceof Unread) {
      return { ok: false, problem: error.message }
    }
    throw error
  }
}

/** A few at a time. */
async function each<T>(all: readonly T[], run: (one: T) => Promise<unknown>): Promise<void> {
  const rest = all[Symbol.iterator]()
  const worker = async (): Promise<void> => {
    for (const one of rest) await run(one)
  }
  await Promise.all(Array.from({ length: READS_AT_ONCE }, worker))
}
