/**
 * A cluster as far as failover can see it and touch it: nodes with kubelets and data processes, pods of several kinds,
 * volumes with generations and a primary or none, attachments. Kubernetes' own parts (controllers of pods, scheduler,
 * attach/detach, attacher, kubelets, eviction) act each second, and trouble comes by seed until it is calm.
 */
import type {
  AttachmentFacts, ListedNode, PodFacts, StorageStates, Taint,
} from '../../../../csi/kube/failover/failover-facts.ts'
import { isOutOfService, isOurUnreachable } from '../../../../csi/kube/failover/failover-facts.ts'
import { Random } from '../../../sim/random.ts'

const RENEW_MS = 10_000
const HOLDFAST_DOWN_MS = 10_000
const KUBERNETES_NOT_READY_MS = 40_000
const KUBERNETES_EVICTS_MS = 300_000
const KUBERNETES_FORCES_MS = 360_000

export interface SimNode {
  name: string
  version: number
  taints: Taint[]
  isUp: boolean
  hasKubelet: boolean
  /** Until then nothing is unmounted. */
  isSlowUntilMs: number
  /** Neither the API nor its peers hear of it, though it runs. */
  isCut: boolean
  hasStorage: boolean
  storageGoneAtMs: number
  lease: number
  renewedAtMs: number
  /** Volume -> generation of what is mounted there. */
  sessions: Map<string, number>
}

export interface SimVolume {
  id: string
  generation: number
  holders: Map<string, number>
  /** Whether some primary is active. */
  isLed: boolean
  ledAgainAtMs: number
  /** Node -> the highest generation of it that a primary was seen to refuse. */
  proven: Map<string, number>
}

export interface Workload {
  name: string
  owner: string
  volumes: PodFacts['volumes']
  isOptedOut: boolean
  isMirror: boolean
  toleratesUs: boolean
  /** To this node only. */
  pinned: string | undefined
  makesAnewAtMs: number
}

export interface SimPod extends Omit<PodFacts, 'version'> {
  workload: Workload
  version: number
  node: string | undefined
}

export interface SimAttachment extends AttachmentFacts {
  node: string
  isAttached: boolean
  unusedSinceMs: number
}

export const foreignTaint: Taint = { key: 'example.com/other', effect: 'NoSchedule', value: 'x' }
export const humansTaint: Taint =
  { key: 'node.kubernetes.io/out-of-service', effect: 'NoExecute', value: 'nodeshutdown' }

export class World {
  readonly random: Random
  readonly nodes: SimNode[] = []
  readonly volumes = new Map<string, SimVolume>()
  readonly workloads: Workload[] = []
  readonly pods = new Map<string, SimPod>()
  readonly attachments = new Map<string, SimAttachment>()
  /** What the list of nodes was, each second: watches lag. */
  readonly history: Array<Array<Pick<ListedNode, 'name' | 'version' | 'taints' | 'lease'>>> = []
  nowMs = 0
  /** How many lists were noted so far; the last of them are in `history`. */
  seconds = 0
  isCalm = false
  /** Node and volume that failover asked to be fenced. */
  readonly fencedByUs = new Set<string>()
  apiAwayUntilMs = 0
  controlAwayUntilMs = 0
  /** Until then one that was elected before may answer, of what it knew when it stood still. */
  staleUntilMs = 0
  staleStates: StorageStates = new Map()
  #uids = 0

  constructor(seed: number) {
    const random = (this.random = new Random(seed))
    const count = random.between(3, 12)
    for (let i = 1; i <= count; i++) {
      this.nodes.push({
        name: `n${i}`, version: 1, taints: random.chance(0.1) ? [foreignTaint] : [], isUp: true, isCut: false,
        hasKubelet: true, isSlowUntilMs: 0,
        hasStorage: true, storageGoneAtMs: 0, lease: 100, renewedAtMs: -random.int(RENEW_MS), sessions: new Map(),
      })
    }
    for (let i = 1; i <= random.between(8, 30); i++) this.#workload(i)
  }

  #workload(i: number): void {
    const { random } = this
    const owner = random.pick(['StatefulSet', 'StatefulSet', 'StatefulSet', 'ReplicaSet', 'Cluster', 'DaemonSet', ''])
    const ours = (id: string) => ({ isOurs: true as const, id, claim: id, claimUid: id })
    const volumes: Array<PodFacts['volumes'][number]> = []
    for (let v = 0; v < (random.chance(0.85) ? random.between(1, 2) : 0); v++) volumes.push(ours(`v${i}.${v}`))
    if (random.chance(0.1)) volumes.push({ isOurs: false })
    // Two pods of one node may use one volume.
    const shared = [...this.volumes.keys()]
    if (shared.length > 0 && random.chance(0.15)) volumes.push(ours(random.pick(shared)))
    for (const volume of volumes) {
      if (!volume.isOurs || this.volumes.has(volume.id)) continue
      this.volumes.set(volume.id, {
        id: volume.id, generation: 0, holders: new Map(), isLed: true, ledAgainAtMs: 0, proven: new Map(),
      })
    }
    this.workloads.push({
      name: `w${i}`, owner, volumes, isOptedOut: random.chance(0.12), isMirror: owner === '' && random.chance(0.2),
      toleratesUs: random.chance(0.1), makesAnewAtMs: 0,
      pinned: owner === 'DaemonSet' || random.chance(0.05) ? random.pick(this.nodes).name : undefined,
    })
  }

  node(name: string): SimNode {
    return this.nodes.find((node) => node.name === name)!
  }

  kubeletLives({ isUp, isCut, hasKubelet }: SimNode): boolean {
    return isUp && hasKubelet && !isCut && this.nowMs >= this.apiAwayUntilMs
  }

  /** As its peers say. */
  storageOf(node: SimNode): 'up' | 'down' {
    const isGone = !node.isUp || node.isCut || !node.hasStorage
    return isGone && this.nowMs - node.storageGoneAtMs > HOLDFAST_DOWN_MS ? 'down' : 'up'
  }

  isSilent(node: SimNode, forMs: number): boolean {
    return this.nowMs - node.renewedAtMs >= forMs
  }

  podsOn(name: string): SimPod[] {
    return [...this.pods.values()].filter(({ node }) => node === name)
  }

  /** Under that generation a write from there would be acknowledged. */
  isAccepted(volume: SimVolume, node: string, generation: number): boolean {
    return volume.holders.get(node) === generation
  }

  second(): void {
    for (const node of this.nodes) {
      const isGone = !node.isUp || node.isCut || !node.hasStorage
      if (!isGone) node.storageGoneAtMs = this.nowMs
      if (this.kubeletLives(node) && this.nowMs - node.renewedAtMs >= RENEW_MS) {
        node.lease++
        node.renewedAtMs = this.nowMs
      }
    }
    for (const volume of this.volumes.values()) if (this.nowMs >= volume.ledAgainAtMs) volume.isLed = true
    if (!this.isCalm) this.#trouble()
    if (this.nowMs >= this.apiAwayUntilMs) this.#kubernetes()
    for (const node of this.nodes) if (this.kubeletLives(node)) this.#kubelet(node)
    this.seconds++
    this.history.push(this.nodes.map(({ name, version, taints, lease }) =>
      ({ name, version: String(version), taints: [...taints], lease: String(lease) })))
    if (this.history.length > 40) this.history.shift()
  }

  /** As somebody who is asked says. */
  storageStates(): StorageStates {
    if (this.nowMs < this.staleUntilMs && this.random.chance(0.5)) return this.staleStates
    return new Map(this.nodes.map((node) => [node.name, this.storageOf(node)]))
  }

  #trouble(): void {
    const { random, nodes } = this
    const node = random.pick(nodes)
    if (random.chance(0.012)) this.kill(node)
    else if (!node.isUp && random.chance(0.05)) this.boot(node)
    if (random.chance(0.008)) node.isCut = true
    else if (node.isCut && random.chance(0.06)) this.#join(node)
    if (random.chance(0.015)) node.hasStorage = false
    else if (!node.hasStorage && random.chance(0.05)) node.hasStorage = node.isUp
    if (random.chance(0.012)) {
      node.hasKubelet = false
      if (random.chance(0.6)) node.hasStorage = false
    } else if (!node.hasKubelet && random.chance(0.1)) node.hasKubelet = true
    if (random.chance(0.02)) node.isSlowUntilMs = this.nowMs + random.int(90_000)
    if (random.chance(0.004)) for (const one of nodes) if (random.chance(0.5)) one.isCut = true
    if (random.chance(0.02)) for (const one of nodes) if (one.isCut) this.#join(one)
    if (random.chance(0.004)) this.apiAwayUntilMs = this.nowMs + random.int(60_000)
    if (random.chance(0.006)) {
      this.controlAwayUntilMs = this.nowMs + random.int(60_000)
      // Mostly since who was elected died, or its data process alone.
      if (random.chance(0.4)) this.kill(node)
      else if (random.chance(0.4)) node.hasStorage = false
    }
    if (random.chance(0.004)) {
      this.staleStates = this.storageStates()
      this.staleUntilMs = this.nowMs + random.int(40_000)
    }
    for (const volume of this.volumes.values()) {
      if (!random.chance(0.004)) continue
      volume.isLed = false
      volume.ledAgainAtMs = this.nowMs + random.int(60_000)
    }
    if (random.chance(0.02)) {
      const human = random.pick(nodes)
      human.version++
      const others = human.taints.filter((taint) => !isOutOfService(taint))
      human.taints = random.chance(0.5) ? others.concat(random.chance(0.7) ? [humansTaint] : []) : human.taints
    }
    if (random.chance(0.02)) {
      const workload = random.pick(this.workloads)
      workload.isOptedOut = !workload.isOptedOut
      for (const pod of this.pods.values()) {
        if (pod.workload !== workload) continue
        pod.isOptedOut = workload.isOptedOut
        pod.version++
      }
    }
    if (random.chance(0.01) && this.pods.size > 0) {
      const pod = random.pick([...this.pods.values()])
      pod.isGoing = true
      pod.version++
    }
  }

  /** It has much to unmount. */
  #join(node: SimNode): void {
    node.isCut = false
    if (this.random.chance(0.5)) node.isSlowUntilMs = this.nowMs + this.random.int(90_000)
  }

  kill(node: SimNode): void {
    node.isUp = false
    node.hasStorage = false
    node.sessions.clear()
  }

  boot(node: SimNode): void {
    node.isUp = true
    node.hasKubelet = true
    node.hasStorage = true
    node.isCut = false
  }

  /** Everything that is not dead for good works. */
  calm(dead: readonly string[]): void {
    this.isCalm = true
    this.apiAwayUntilMs = this.controlAwayUntilMs = this.staleUntilMs = 0
    for (const node of this.nodes) {
      if (dead.includes(node.name)) this.kill(node)
      else this.boot(node)
    }
    for (const volume of this.volumes.values()) volume.ledAgainAtMs = 0
  }

  #kubernetes(): void {
    for (const workload of this.workloads) this.#make(workload)
    for (const pod of [...this.pods.values()]) {
      if (pod.node === undefined) this.#schedule(pod)
      else this.#collect(pod, this.node(pod.node))
    }
    for (const pod of this.pods.values()) if (pod.node !== undefined) this.#attach(pod)
    for (const attachment of [...this.attachments.values()]) this.#detach(attachment)
  }

  /** What has no controller is made once. */
  #make(workload: Workload): void {
    const isThere = [...this.pods.values()].some((pod) => pod.workload === workload)
    if (isThere) workload.makesAnewAtMs = this.nowMs + this.random.int(4000)
    if (isThere || this.nowMs < workload.makesAnewAtMs) return
    workload.makesAnewAtMs = workload.owner === '' && !this.isCalm ? this.nowMs + 100_000 : Infinity
    if (workload.owner !== '') workload.makesAnewAtMs = 0
    const { name, owner, volumes, isOptedOut, isMirror, toleratesUs } = workload
    const uid = `u${++this.#uids}`
    this.pods.set(uid, {
      workload, namespace: 'db', name, uid, version: 1, owner, isOptedOut, isMirror, toleratesUs, volumes,
      isOver: false, isGoing: false, isGone: false, wasStarted: false, isStorageStarting: false, node: undefined,
    })
  }

  #schedule(pod: SimPod): void {
    if (pod.isGoing) return void this.pods.delete(pod.uid)
    const held = pod.volumes.flatMap((one) => (one.isOurs ? [...this.podsUsing(one.id)] : []))
      .flatMap(({ node }) => (node === undefined ? [] : [node]))
    const fits = this.nodes.filter((node) => {
      const taints = node.taints.filter((taint) => !(isOurUnreachable(taint) && pod.toleratesUs))
      const isTainted = taints.some(({ effect, key }) => effect === 'NoSchedule' && key !== foreignTaint.key)
        || taints.some(isOutOfService)
      const isReady = !this.isSilent(node, KUBERNETES_NOT_READY_MS) || pod.toleratesUs
      const isPinned = pod.workload.pinned === undefined || pod.workload.pinned === node.name
      return !isTainted && isReady && isPinned
    })
    // Who shares a volume goes where it is.
    const there = fits.filter(({ name }) => held.includes(name))
    const from = held.length > 0 ? there : fits
    if (from.length > 0) pod.node = this.random.pick(from).name
  }

  podsUsing(id: string): SimPod[] {
    return [...this.pods.values()].filter(({ volumes }) => volumes.some((one) => one.isOurs && one.id === id))
  }

  /** Eviction by taint after a while, and the collection of pods of nodes that are out of service. */
  #collect(pod: SimPod, node: SimNode): void {
    const isOut = node.taints.some(isOutOfService)
    if ((this.isSilent(node, KUBERNETES_EVICTS_MS) && !pod.toleratesUs) || isOut) {
      if (!pod.isGoing) pod.version++
      pod.isGoing = true
    }
    if (pod.isGoing && isOut && this.isSilent(node, KUBERNETES_NOT_READY_MS)) this.pods.delete(pod.uid)
  }

  #attach(pod: SimPod): void {
    for (const one of pod.volumes) {
      if (!one.isOurs) continue
      const all = [...this.attachments.values()].filter(({ volumeId }) => volumeId === one.id)
      const own = all.find(({ node }) => node === pod.node)
      if (own === undefined && all.length === 0 && !pod.isGoing) {
        const name = `a${++this.#uids}`
        this.attachments.set(name, {
          name, uid: name, volumeId: one.id, node: pod.node!, isAttached: false, isGoing: false,
          unusedSinceMs: Infinity,
        })
      }
      if (own !== undefined && !own.isAttached && !own.isGoing) own.isAttached = this.publish(one.id, pod.node!)
    }
  }

  publish(id: string, node: string): boolean {
    const volume = this.volumes.get(id)!
    if (volume.holders.has(node)) return true
    if (volume.holders.size > 0) return false
    volume.holders.set(node, ++volume.generation)
    return true
  }

  /** @param newest  a newer attachment stays  @returns whether it is proved */
  unpublish(id: string, node: string, newest = Infinity): boolean {
    const volume = this.volumes.get(id)!
    if ((volume.holders.get(node) ?? 0) > newest) return false
    volume.holders.delete(node)
    if (!volume.isLed) return false
    volume.proven.set(node, volume.generation)
    return true
  }

  #detach(attachment: SimAttachment): void {
    const node = this.node(attachment.node)
    const users = this.podsOn(node.name).filter(({ isOver }) => !isOver)
      .filter(({ volumes }) => volumes.some((one) => one.isOurs && one.id === attachment.volumeId))
    if (users.length > 0) attachment.unusedSinceMs = Infinity
    else attachment.unusedSinceMs = Math.min(attachment.unusedSinceMs, this.nowMs)
    const unusedMs = this.nowMs - attachment.unusedSinceMs
    const isUnmounted = this.kubeletLives(node) && !node.sessions.has(attachment.volumeId)
    const mayGo = isUnmounted || node.taints.some(isOutOfService) || unusedMs > KUBERNETES_FORCES_MS
    if (users.length === 0 && unusedMs > 0 && mayGo) attachment.isGoing = true
    if (!attachment.isGoing || this.nowMs < this.controlAwayUntilMs) return
    if (this.unpublish(attachment.volumeId, attachment.node)) this.attachments.delete(attachment.name)
  }

  #kubelet(node: SimNode): void {
    const pods = this.podsOn(node.name)
    const isStale = (id: string): boolean =>
      !this.isAccepted(this.volumes.get(id)!, node.name, node.sessions.get(id) ?? -1)
    for (const pod of pods) {
      const ids = pod.volumes.flatMap((one) => (one.isOurs ? [one.id] : []))
      if (pod.isGoing) {
        const others = pods.filter((one) => one !== pod && !one.isGoing)
        const own = ids.filter((id) => !others.some((one) => one.volumes.some((v) => v.isOurs && v.id === id)))
        // What is written to a device waits for its data process, unless the device has failed.
        const isStuck = own.some((id) => node.sessions.has(id) && !node.hasStorage && !isStale(id))
        if (isStuck || this.nowMs < node.isSlowUntilMs) continue
        for (const id of own) node.sessions.delete(id)
        this.pods.delete(pod.uid)
        continue
      }
      let isReady = true
      for (const id of ids) {
        const attachment = [...this.attachments.values()].find((one) => one.volumeId === id && one.node === node.name)
        const isThere = node.sessions.has(id) && !isStale(id)
        const mayStage = attachment?.isAttached === true && !attachment.isGoing && node.hasStorage
        // What is mounted stays so for this pod, also when its device has failed.
        if (!node.sessions.has(id) && mayStage && this.volumes.get(id)!.holders.has(node.name)) {
          node.sessions.set(id, this.volumes.get(id)!.holders.get(node.name)!)
          // It says that it has begun before it does.
          pod.version++
        } else if (!isThere) isReady = false
      }
      if (isReady && !pod.wasStarted) {
        pod.wasStarted = true
        pod.version++
      }
    }
    for (const id of [...node.sessions.keys()]) {
      const isUsed = pods.some((pod) => pod.volumes.some((one) => one.isOurs && one.id === id))
      const mayGo = this.nowMs >= node.isSlowUntilMs && (node.hasStorage || isStale(id))
      if (!isUsed && mayGo) node.sessions.delete(id)
    }
  }
}
