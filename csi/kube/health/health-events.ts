/**
 * Health of volumes as Events of Kubernetes, and which pod uses a volume as its label (SPEC.md section 6). One look
 * after another, by whoever leads; what a look could not do the next one does.
 */
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import { segment } from '../../../cluster/kubernetes/api-client.ts'
import type { ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { listPages } from '../../../cluster/kubernetes/api-list.ts'
import { ERRORS, GRPC_STATUS, HoldfastError } from '../../../engine/errors.ts'
import { isRecord, isText } from '../../../engine/value-shape.ts'
import type { VolumeHealth } from '../../../engine/volume/volume-spec.ts'
import { volumeCondition } from '../../volume-condition.ts'
import { nodeNameOf } from '../node-name.ts'
import { podsByClaim } from './claim-pods.ts'
import type { ClaimPod } from './claim-pods.ts'
import type { EventRecorder } from '../event-recorder.ts'
import { ToldHealth } from './told-health.ts'
import type { Told } from './told-health.ts'

export const LOOK_MS = 5000
const VOLUMES_PAGE = 500
/** With their pods about as many Events as the recorder puts until the next look. */
const TOLD_A_LOOK = 12
const PODS_MAX = 8
const PODS_EVERY_MS = 60_000
const LABEL_BYTES_MAX = 253
export const POD_LABEL = 'csi-pod'

export const REASONS: Readonly<Record<VolumeHealth, string>> = {
  'healthy': 'VolumeHealthy',
  'degraded': 'VolumeDegraded',
  'at-risk': 'VolumeAtRisk',
  'suspended': 'VolumeSuspended',
  'faulted': 'VolumeFaulted',
}

export interface HealthEventsOptions {
  client: Pick<ApiClient, 'call'>
  api: Pick<ControlClient, 'listVolumes' | 'modifyVolume'>
  recorder: Pick<EventRecorder, 'tell'>
  /** As the recorder has it: by it we find what was told before. */
  component: string
  /** Nothing is asked of the control API before it resolves. */
  mayAsk(): Promise<void>
  log(line: string): void
  nowMs?(): number
  wallMs?(): number
}

/** A volume of a PVC. */
interface Claimed {
  volume: Volume
  id: string
  health: VolumeHealth
  claim: string
  namespace: string
}

interface ToldBefore extends Told {
  uid: string
}

interface PodsSeen {
  holders: string
  atMs: number
}

export class HealthEvents {
  readonly #options: HealthEventsOptions
  readonly #told = new ToldHealth()
  /** What was told before we led, by namespace and PVC; undefined: it is not read yet. */
  #before: Map<string, ToldBefore> | undefined
  /** When pods of a volume were looked up last, and under which attachment. */
  readonly #podsSeen = new Map<string, PodsSeen>()
  #problem = ''

  constructor(options: HealthEventsOptions) {
    this.#options = options
  }

  /** Never throws; what went wrong is logged once until it goes well. */
  async look(): Promise<void> {
    try {
      await this.#options.mayAsk()
      this.#before ??= await this.#readTold()
      const volumes = await this.#volumes()
      for (const one of volumes) await this.#adopt(one, this.#before)
      const pods = new NamespacePods(this.#options.client)
      await this.#tellHealth(volumes, pods)
      await this.#tellPods(volumes, pods)
      this.#problem = ''
    } catch (error) {
      const { message } = error as Error
      if (message !== this.#problem) this.#options.log(`health of volumes is not told: ${message}`)
      this.#problem = message
    }
  }

  async #volumes(): Promise<Claimed[]> {
    const found: Claimed[] = []
    let after = ''
    do {
      const page = await this.#options.api.listVolumes({ limit: VOLUMES_PAGE, after })
      for (const volume of page.volumes) {
        const { id, health, epoch, labels: { 'csi-pvc': claim, 'csi-pvc-namespace': namespace } } = volume
        if (claim === undefined || namespace === undefined || epoch === 0) continue
        found.push({ volume, id, health, claim, namespace })
      }
      after = page.next
    } while (after !== '')
    return found
  }

  /** M4: seen for the first time, it is as who led before us told it. */
  async #adopt(one: Claimed, before: Map<string, ToldBefore>): Promise<void> {
    const key = keyOf(one.namespace, one.claim)
    const told = this.#told.isKnown(one.id) ? undefined : before.get(key)
    if (told === undefined) return
    // Not what was told of a former PVC of that name.
    if ((await this.#claimUid(one)) === told.uid) this.#told.tell(one.id, told)
    before.delete(key)
  }

  async #tellHealth(volumes: readonly Claimed[], pods: NamespacePods): Promise<void> {
    const nowMs = this.#nowMs()
    for (const { volume: one, isWorse } of this.#told.due(volumes, nowMs).slice(0, TOLD_A_LOOK)) {
      const { volume, id, health, claim, namespace } = one
      const uid = await this.#claimUid(one)
      // It is not bound yet: a moment after the volume was made.
      if (uid === '') continue
      const users = uid === undefined ? [] : (await pods.of(namespace)).get(claim) ?? []
      this.#told.tell(id, { health, atMs: nowMs })
      // Nobody is told of one whose PVC is gone.
      if (uid === undefined) continue
      const type = isWorse ? 'Warning' : 'Normal'
      const { message: note } = volumeCondition(volume)
      const tell = (kind: string, name: string, of: string): void => this.#options.recorder.tell({
        about: { apiVersion: 'v1', kind, namespace, name, uid: of }, type, reason: REASONS[health], note,
      })
      tell('PersistentVolumeClaim', claim, uid)
      for (const pod of users.slice(0, PODS_MAX)) tell('Pod', pod.name, pod.uid)
    }
  }

  /** M6. */
  async #tellPods(volumes: readonly Claimed[], seenPods: NamespacePods): Promise<void> {
    const nowMs = this.#nowMs()
    const there = new Set(volumes.map(({ id }) => id))
    for (const id of this.#podsSeen.keys()) if (!there.has(id)) this.#podsSeen.delete(id)
    for (const { volume: { id, attach, labels }, claim, namespace } of volumes) {
      const seen = this.#podsSeen.get(id)
      const isHeld = attach.holders.length > 0
      if (!isHeld && labels[POD_LABEL] === undefined) continue
      const holders = attach.holders.map(({ node, generation }) => `${node} ${generation}`).join()
      if (seen?.holders === holders && nowMs - seen.atMs < PODS_EVERY_MS) continue
      const pods = isHeld ? (await seenPods.of(namespace)).get(claim) ?? [] : []
      const users = pods.filter((pod) => attach.holders.some(({ node }) => node === nodeNameOf(pod.node)))
      const label = labelOf(users)
      // Also of one that cannot be labelled: it is tried again as seldom, and others go on.
      this.#podsSeen.set(id, { holders, atMs: nowMs })
      if (label !== (labels[POD_LABEL] ?? '')) await this.#label(id, label)
    }
  }

  async #label(id: string, label: string): Promise<void> {
    try {
      await this.#options.api.modifyVolume({ name: id, parameters: {}, labels: { [POD_LABEL]: label } })
    } catch (error) {
      const isAway = error instanceof HoldfastError && ERRORS[error.code].grpc === GRPC_STATUS.UNAVAILABLE
      if (!(error instanceof HoldfastError) || isAway) throw error
      if (error.code !== 'volume-not-found') this.#options.log(`which pod uses ${id} is not noted: ${error.message}`)
    }
  }

  /** Empty: it is not bound yet; undefined: the PVC of that name is gone, or another volume's. @throws Error */
  async #claimUid({ claim, namespace, volume: { labels } }: Claimed): Promise<string | undefined> {
    const path = `/api/v1/namespaces/${segment(namespace)}/persistentvolumeclaims/${segment(claim)}`
    const answer = await this.#options.client.call({ method: 'GET', path })
    if (!answer.ok && answer.failure.status === 404) return undefined
    if (!answer.ok) throw new Error(`PVC ${namespace}/${claim}: ${answer.failure.reason}`)
    const { metadata, spec } = answer.body
    const { uid } = isRecord(metadata) ? metadata : {}
    const { volumeName } = isRecord(spec) ? spec : {}
    if (volumeName === undefined || volumeName === '') return ''
    return isText(uid) && volumeName === labels['csi-pv'] ? uid : undefined
  }

  /** M4. @throws Error */
  async #readTold(): Promise<Map<string, ToldBefore>> {
    const found = new Map<string, ToldBefore>()
    const newest = new Map<string, number>()
    const [nowMs, wallMs] = [this.#nowMs(), this.#wallMs()]
    const query = { fieldSelector: `source=${this.#options.component},involvedObject.kind=PersistentVolumeClaim` }
    for await (const page of listPages(this.#options.client, { path: '/api/v1/events', query })) {
      if (!page.ok) throw new Error(`Events: ${page.failure.reason}`)
      for (const item of page.items) {
        const event = toldIn(item)
        if (event === undefined || event.atMs <= (newest.get(event.key) ?? -Infinity)) continue
        newest.set(event.key, event.atMs)
        // How long ago, by the clocks of two hosts; one that is ahead told it now.
        const agoMs = Math.max(0, wallMs - event.atMs)
        found.set(event.key, { health: event.health, uid: event.uid, atMs: nowMs - agoMs })
      }
    }
    return found
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? performance.now()
  }

  #wallMs(): number {
    return this.#options.wallMs?.() ?? Date.now()
  }
}

/** Of one look: each namespace is read once. */
class NamespacePods {
  readonly #client: Pick<ApiClient, 'call'>
  readonly #known = new Map<string, Map<string, ClaimPod[]>>()

  constructor(client: Pick<ApiClient, 'call'>) {
    this.#client = client
  }

  async of(namespace: string): Promise<Map<string, ClaimPod[]>> {
    const found = this.#known.get(namespace) ?? (await podsByClaim(this.#client, namespace))
    this.#known.set(namespace, found)
    return found
  }
}

const keyOf = (namespace: string, claim: string): string => `${namespace}/${claim}`

const HEALTH_OF = new Map(Object.entries(REASONS).map(([health, reason]) => [reason, health as VolumeHealth]))

function toldIn(event: unknown): ToldBefore & { key: string } | undefined {
  if (!isRecord(event) || !isRecord(event.involvedObject) || !isText(event.reason)) return undefined
  const { namespace, name, uid } = event.involvedObject
  const health = HEALTH_OF.get(event.reason)
  const atMs = isText(event.lastTimestamp) ? Date.parse(event.lastTimestamp) : NaN
  if (health === undefined || Number.isNaN(atMs)) return undefined
  if (!isText(namespace) || !isText(name) || !isText(uid)) return undefined
  return { key: keyOf(namespace, name), uid, health, atMs }
}

/** Empty: nobody. */
function labelOf(pods: readonly ClaimPod[]): string {
  const [first, ...others] = pods
  if (first === undefined) return ''
  const more = others.length === 0 ? '' : ` +${others.length}`
  return `${first.name.slice(0, LABEL_BYTES_MAX - more.length)}${more}`
}
