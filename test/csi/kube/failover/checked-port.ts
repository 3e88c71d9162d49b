/**
 * What a controller sees of the world and does to it: late, lost on the way there or back, carried out after it was
 * given up, from a list that lags, or never again since it was killed. Each thing that it asks for is held against the
 * rules of SPEC.md section 4, by what is true in the world and by what this controller was shown.
 */
import { isOurUnreachable, isOutOfService } from '../../../../csi/kube/failover/failover-facts.ts'
import type {
  HoldfastUse, ListedNode, NodeFacts, PodFacts, StorageStates, Taint,
} from '../../../../csi/kube/failover/failover-facts.ts'
import type { FailoverPort, Read, Removal } from '../../../../csi/kube/failover/failover-port.ts'
import type { VirtualTime } from './virtual-time.ts'
import type { SimNode, SimPod, World } from './world.ts'

const DEADLINE_MS = 5000
const FENCE_DEADLINE_MS = 15_000
const LOOK_DEADLINE_MS = 3000
const LOOK_MS = 5_000
const SILENT_MS = 20_000
const STEADY_MS = 15_000

type Answer<T> = { value: T } | { problem: string }

export class CheckedPort implements FailoverPort {
  readonly violations: string[] = []
  readonly did: Record<string, number> = {}
  isKilled = false
  /** How far behind its watch is. */
  lagSeconds = 0
  /** What it was behind once is seen as of later. */
  private lagMost = 0
  private readonly world: World
  private readonly time: VirtualTime
  private readonly startedAtMs: number
  private second = 0
  private shown: { atMs: number; nodes: ListedNode[] } | undefined
  private heard: { atMs: number; states: StorageStates } | undefined
  /** Since when Kubernetes was shown to this controller without a gap. */
  private sightSinceMs = Infinity
  /** When each storage was first shown as it is, to this controller, without a gap. */
  private readonly since = new Map<string, { storage: string; storageAtMs: number }>()
  private readonly leaseRead = new Map<string, { atMs: number; silentMs: number }>()
  private readonly generationRead = new Map<string, number>()
  private readonly podsShown = new Map<string, SimPod[]>()
  private readonly fenced = new Map<string, Map<string, number>>()
  private readonly removedAt = new Map<string, number>()
  private readonly begunAt = new Map<string, number>()
  private sessionsClean = new Map<string, number>()

  constructor(world: World, time: VirtualTime) {
    this.world = world
    this.time = time
    this.startedAtMs = time.nowMs
  }

  nowMs = (): number => this.time.nowMs
  tell = (): void => undefined
  log = (): void => undefined

  async pause(ms: number): Promise<void> {
    await this.time.sleep(ms)
    if (this.isKilled) await new Promise(() => undefined)
  }

  private count(what: string): void {
    this.did[what] = (this.did[what] ?? 0) + 1
  }

  private violate(rule: string): void {
    this.violations.push(`${this.time.nowMs}: ${rule}`)
  }

  /** One call with its fate. */
  private async call<T>(isOfControl: boolean, effect: () => Answer<T>, deadlineMs = DEADLINE_MS): Promise<Read<T>> {
    const { random } = this.world
    const away = { ok: false as const, problem: 'no answer' }
    const isAway = (): boolean =>
      this.time.nowMs < (isOfControl ? this.world.controlAwayUntilMs : this.world.apiAwayUntilMs)
    const isCalm = this.world.isCalm
    const fate = isCalm ? 1 : random.float()
    const thereMs = isCalm ? random.int(50) : random.chance(0.04) ? random.int(9000) : random.int(300)
    if (this.isKilled) return new Promise(() => undefined)
    const done = (async (): Promise<Read<T>> => {
      await this.time.sleep(thereMs)
      if (fate < 0.02 || isAway()) return this.time.sleep(random.int(deadlineMs)).then(() => away)
      const answer = effect()
      await this.time.sleep(isCalm ? 5 : random.int(100))
      if (fate < 0.05) return away
      return 'value' in answer ? { ok: true, value: answer.value } : { ok: false, problem: answer.problem }
    })()
    const read = await Promise.race([done, this.time.sleep(deadlineMs).then(() => away)])
    if (this.isKilled) return new Promise(() => undefined)
    return read
  }

  async nodes(): Promise<Read<ListedNode[]>> {
    const askedAtMs = this.time.nowMs
    // The list is a watch's.
    const read = await this.call(false, () => {
      const { history, seconds } = this.world
      // It stands still for a while, and never goes back.
      this.lagMost = Math.max(this.lagMost, this.lagSeconds)
      this.second = Math.max(this.second, seconds - 1 - this.lagSeconds)
      const listed = history[Math.max(0, history.length - (seconds - this.second))]!
      return { value: listed.map((one) => ({ ...one, uid: one.name, holdfastNode: one.name })) }
    }, LOOK_DEADLINE_MS)
    if (!read.ok) return read
    const nowMs = this.time.nowMs
    if (isGap(this.shown?.atMs, askedAtMs, nowMs)) this.sightSinceMs = nowMs
    this.shown = { atMs: nowMs, nodes: read.value }
    return read
  }

  async storage(): Promise<Read<StorageStates>> {
    const askedAtMs = this.time.nowMs
    const read = await this.call(true, () => ({ value: this.world.storageStates() }), LOOK_DEADLINE_MS)
    if (!read.ok) return read
    const nowMs = this.time.nowMs
    const wasBlind = isGap(this.heard?.atMs, askedAtMs, nowMs)
    for (const [name, storage] of read.value) {
      if (this.since.get(name)?.storage !== storage || wasBlind) this.since.set(name, { storage, storageAtMs: nowMs })
    }
    this.heard = { atMs: nowMs, states: read.value }
    return read
  }

  /** For how long this controller was shown, without a gap of either API, that it is as it is now. */
  private storageForMs(name: string): number {
    const atMs = this.since.get(name)?.storageAtMs ?? Infinity
    return this.time.nowMs - Math.max(atMs, this.sightSinceMs)
  }

  lease(name: string): Promise<Read<string>> {
    return this.call(false, () => {
      const node = this.world.node(name)
      const silentMs = Math.min(this.time.nowMs - node.renewedAtMs, this.time.nowMs - this.startedAtMs)
      this.leaseRead.set(name, { atMs: this.time.nowMs, silentMs })
      return { value: String(node.lease) }
    })
  }

  pods(name: string): Promise<Read<PodFacts[]>> {
    return this.call(false, () => {
      const pods = this.world.podsOn(name)
      this.podsShown.set(name, pods.map((pod) => ({ ...pod })))
      return { value: pods.map((pod) => ({ ...pod, version: String(pod.version) })) }
    })
  }

  attachments(name: string) {
    return this.call(false, () => ({
      value: [...this.world.attachments.values()].filter(({ node }) => node === name).map((one) => ({ ...one })),
    }))
  }

  use(name: string): Promise<Read<HoldfastUse>> {
    return this.call(true, () => {
      const stale = new Set(this.staleSessions(this.world.node(name)))
      if (stale.size === 0) this.sessionsClean.set(name, this.time.nowMs)
      const held = [...this.world.volumes.values()].filter(({ holders }) => holders.has(name))
      return { value: { stale, holds: new Set(held.map(({ id }) => id)) } }
    })
  }

  private staleSessions(node: SimNode): string[] {
    return [...node.sessions].filter(([id, generation]) =>
      !this.world.isAccepted(this.world.volumes.get(id)!, node.name, generation)).map(([id]) => id)
  }

  async generation(volumeId: string): Promise<Read<number>> {
    const read = await this.call(true, () =>
      ({ value: { generation: this.world.volumes.get(volumeId)!.generation, atMs: this.time.nowMs } }))
    if (!read.ok) return read
    this.generationRead.set(volumeId, read.value.atMs)
    return { ok: true, value: read.value.generation }
  }

  async fence(volumeId: string, name: string, generation: number): Promise<string | undefined> {
    this.judge('fence', name)
    if (this.leaseRead.get(name)!.atMs < this.generationRead.get(volumeId)!) {
      this.violate(`F3: ${name} was not looked at behind the generation of ${volumeId}`)
    }
    this.count('fence')
    // Whoever is asked waits for a primary for a while.
    for (let i = 0; i < 8 && !this.world.volumes.get(volumeId)!.isLed; i++) await this.pause(1000)
    const read = await this.call(true, () => {
      this.world.fencedByUs.add(`${name} ${volumeId}`)
      const isProved = this.world.unpublish(volumeId, name, generation)
      if (!isProved) return { problem: 'nobody leads it' }
      const fenced = this.fenced.get(name) ?? new Map<string, number>()
      this.fenced.set(name, fenced.set(volumeId, this.time.nowMs))
      return { value: true }
    }, FENCE_DEADLINE_MS)
    return read.ok ? undefined : read.problem
  }

  async setTaints(node: NodeFacts, taints: readonly Taint[]): Promise<string | undefined> {
    const { name } = node
    const isAdding = taints.length > node.taints.length
    const isOurs = (which: (taint: Taint) => boolean): boolean => taints.some(which) && !node.taints.some(which)
    if (isAdding) this.judge('taint', name)
    if (isAdding && isOurs(isOurUnreachable)) this.judgeBegin(name)
    if (isAdding && isOurs(isOutOfService)) this.judgeOutOfService(name)
    if (!isAdding) {
      const truth = this.world.node(name)
      const wasAsked = this.sessionsClean.get(name)! > this.time.nowMs - LOOK_MS
      if (!wasAsked) this.violate(`F5: sessions of ${name} not asked`)
      if (this.storageForMs(name) < STEADY_MS) this.violate(`F5: ${name} is cleaned too soon`)
      if (truth.renewedAtMs < this.startedAtMs) this.violate(`F5: ${name} is cleaned, and was not seen to renew`)
    }
    this.count(isAdding ? `taint ${taints.at(-1)!.key}` : 'untaint')
    const read = await this.call(false, () => {
      const truth = this.world.node(name)
      if (String(truth.version) !== node.version) return { problem: 'conflict' }
      const others = (of: readonly Taint[]): string =>
        JSON.stringify(of.filter(({ key, value }) => key !== 'holdfast.io/unreachable' && value !== 'holdfast'))
      if (others(truth.taints) !== others(taints)) this.violate(`F5: taints of others on ${name} change`)
      truth.taints = [...taints]
      truth.version++
      return { value: true }
    })
    return read.ok ? undefined : read.problem
  }

  async remove(pod: PodFacts, how: Removal): Promise<'done' | 'budget' | { problem: string }> {
    const shown = this.world.pods.get(pod.uid)
    const node = [...this.podsShown].find(([, pods]) => pods.some(({ uid }) => uid === pod.uid))![0]
    const isWell = this.since.get(node)?.storage === 'up'
    if (isWell) this.judgeBroken(pod, node, how)
    else {
      this.judge(how === 'delete' ? 'delete' : 'evict', node)
      this.judgePod(pod, node)
    }
    const lastMs = this.removedAt.get(node) ?? -Infinity
    if (how !== 'delete-gently' && this.time.nowMs - lastMs < 1000) this.violate(`F6: two pods of ${node} in a second`)
    this.removedAt.set(node, this.time.nowMs)
    this.count(how)
    if (how === 'evict' && this.world.random.chance(0.3)) return 'budget'
    const read = await this.call(false, () => {
      if (shown === undefined || !this.world.pods.has(pod.uid)) return { value: true }
      if (String(shown.version) !== pod.version) return { problem: 'conflict' }
      if (!isWell) this.judgeRemoval(shown, node)
      if (how === 'delete') this.world.pods.delete(pod.uid)
      else if (!shown.isGoing) {
        shown.isGoing = true
        shown.version++
      }
      return { value: true }
    })
    return read.ok ? 'done' : { problem: read.problem }
  }

  async release({ name, volumeId }: { name: string; volumeId: string }): Promise<string | undefined> {
    const found = this.world.attachments.get(name)
    if (found !== undefined) {
      const isWell = this.since.get(found.node)?.storage === 'up'
      const isLost = !this.world.volumes.get(volumeId)!.holders.has(found.node)
        || this.world.node(found.node).sessions.get(volumeId) !== this.world.volumes.get(volumeId)!.generation
      if (isWell && !isLost && !found.isGoing) this.violate(`F5: ${found.node} holds ${volumeId}, which goes`)
      if (!isWell) this.judge('release', found.node)
      const users = (this.podsShown.get(found.node) ?? []).filter(({ isOver, isGone, volumes }) =>
        !isOver && !isGone && volumes.some((one) => one.isOurs && one.id === volumeId))
      if (!isWell && users.length > 0) this.violate(`F3: volume ${volumeId} is released under ${users[0]!.name}`)
    }
    this.count('release')
    const read = await this.call(false, () => {
      const attachment = this.world.attachments.get(name)
      if (attachment !== undefined) attachment.isGoing = true
      return { value: true }
    })
    return read.ok ? undefined : read.problem
  }

  /** What holds of all that is done to a node, when it is asked for. */
  private judge(what: 'fence' | 'taint' | 'delete' | 'evict' | 'release', name: string): void {
    const { shown, heard, world: { nodes } } = this
    const nowMs = this.time.nowMs
    for (const [api, look] of [['Kubernetes', shown], ['Holdfast', heard]] as const) {
      const isLooked = look !== undefined && nowMs - look.atMs <= LOOK_MS
      if (!isLooked) this.violate(`F1: ${what} of ${name} without a look at ${api}`)
    }
    const down = [...heard?.states.values() ?? []].filter((storage) => storage === 'down').length
    if (down > 1 && down * 3 >= nodes.length) this.violate(`F1: ${what} of ${name} while ${down} are down`)
    const silent = nodes.filter((node) => world(this).isSilent(node, SILENT_MS + 2 * LOOK_MS + 1000 * this.lagMost))
    const isLongBegun = nowMs - this.startedAtMs > SILENT_MS + 3 * LOOK_MS
    if (isLongBegun && this.couldSee() && silent.length > 1 && silent.length * 3 >= nodes.length) {
      this.violate(`F1: ${what} of ${name} while ${silent.length} kubelets are silent`)
    }
    const lease = this.leaseRead.get(name)
    const isRecent = lease !== undefined && nowMs - lease.atMs < DEADLINE_MS + FENCE_DEADLINE_MS + 2 * LOOK_MS
    if (!isRecent) this.violate(`F3: ${what} of ${name} without a look at its Lease`)
    const storage = this.since.get(name)
    if (storage?.storage !== 'down') this.violate(`F3: ${what} of ${name}, whose storage is up`)
    const sightMs = nowMs - this.sightSinceMs
    const [isLate, isTaken] = [sightMs < SILENT_MS, this.storageForMs(name) < SILENT_MS]
    if (what === 'evict' ? isTaken : isLate && (isTaken || what === 'delete' || what === 'release')) {
      this.violate(`Silence: ${what} of ${name}, ${sightMs} ms after Kubernetes could be read`
        + `, and its storage down for ${this.storageForMs(name)} ms`)
    }
    if (what === 'taint') return
    if (!shown!.nodes.find((node) => node.name === name)!.taints.some(isOurUnreachable)) {
      this.violate(`F3: ${what} of ${name} before its taint`)
    }
    const isOld = lease !== undefined && nowMs - lease.atMs > 300
    if (what === 'delete' && (isOld || lease!.silentMs < SILENT_MS)) {
      this.violate(`F3: a pod of ${name} is deleted, whose kubelet was silent for ${lease?.silentMs} ms`)
    }
  }

  /** The API was there for long enough that silence is a kubelet's own. */
  private couldSee(): boolean {
    return this.time.nowMs - this.world.apiAwayUntilMs > SILENT_MS + 4 * LOOK_MS
  }

  private judgeBegin(name: string): void {
    const nowMs = this.time.nowMs
    if (!(nowMs - this.begunAt.get(name)! < 60_000)) this.begunAt.set(name, nowMs)
    const recent = [...this.begunAt.values()].filter((atMs) => nowMs - atMs < 50_000).length
    if (recent > 1 + Math.floor(this.world.nodes.length / 10)) this.violate(`F6: ${recent} nodes are begun at once`)
  }

  private judgeOutOfService(name: string): void {
    const left = this.podsShown.get(name)!.filter(({ uid, isOver, isGone, volumes, isOptedOut }) =>
      this.world.pods.get(uid)?.node === name && !isOver && !isGone && (volumes.length > 0 || isOptedOut))
      .filter((pod) => !(pod.toleratesUs && !pod.wasStarted))
    if (left.length > 0) this.violate(`F3: ${name} is out of service under ${left[0]!.name}`)
  }

  private judgePod(pod: PodFacts, node: string): void {
    const why = pod.isOptedOut ? 'is opted out' : pod.isMirror ? 'is a mirror pod'
      : pod.volumes.some(({ isOurs }) => !isOurs) ? 'has a foreign volume'
        : pod.volumes.length === 0 ? 'has no volume'
          : !pod.isGoing && ['', 'DaemonSet', 'Node'].includes(pod.owner) ? 'is made anew by nobody' : undefined
    if (why !== undefined) this.violate(`F2: pod ${pod.name} is removed, which ${why}`)
    const ids = pod.volumes.flatMap((one) => (one.isOurs ? [one.id] : []))
    const staying = this.podsShown.get(node)!.filter((one) => one.uid !== pod.uid && one.isOptedOut && !one.isOver)
      .find(({ volumes }) => volumes.some((one) => one.isOurs && ids.includes(one.id)))
    if (staying !== undefined) this.violate(`F2: pod ${pod.name} shares a volume with ${staying.name}, which stays`)
    for (const id of ids) {
      const atMs = this.fenced.get(node)?.get(id)
      if (atMs === undefined || this.time.nowMs - atMs > FENCE_DEADLINE_MS + 2 * DEADLINE_MS) {
        this.violate(`F3: pod ${pod.name} is removed before its volume ${id} is fenced`)
      }
    }
  }

  /** F5: on a node that lives only what does not work any more is ended. */
  private judgeBroken(pod: PodFacts, name: string, how: Removal): void {
    const stale = this.staleSessions(this.world.node(name))
    const attached = [...this.world.attachments.values()].filter((one) => one.node === name && one.isAttached)
    const lost = attached.some(({ volumeId }) => pod.volumes.some((one) => one.isOurs && one.id === volumeId)
      && (!this.world.volumes.get(volumeId)!.holders.has(name) || stale.includes(volumeId)))
    const isOver = !this.world.pods.has(pod.uid) || this.world.pods.get(pod.uid)!.isGoing
    if (!lost && !isOver) this.violate(`F5: pod ${pod.name} of ${name} is ended, which works`)
    if (how === 'delete') this.violate(`F5: pod ${pod.name} of ${name} is deleted without grace`)
  }

  /** When it is carried out: nothing that the node has mounted is accepted any more. */
  private judgeRemoval(pod: SimPod, name: string): void {
    for (const one of pod.volumes) {
      if (!one.isOurs) continue
      const volume = this.world.volumes.get(one.id)!
      const session = this.world.node(name).sessions.get(one.id)
      if (session === undefined) continue
      const isOver = !this.world.isAccepted(volume, name, session) && (volume.proven.get(name) ?? -1) >= session
      if (!isOver) this.violate(`F3: pod ${pod.name} goes while ${name} may write to ${one.id}`)
    }
  }
}

/** Whether one of the APIs could not be seen for too long. */
const isGap = (beforeMs: number | undefined, askedAtMs: number, nowMs: number): boolean =>
  beforeMs === undefined || Math.max(askedAtMs - beforeMs, nowMs - askedAtMs) > LOOK_MS

const world = (port: CheckedPort): World => (port as unknown as { world: World }).world
