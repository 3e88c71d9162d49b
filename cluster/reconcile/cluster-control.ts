/**
 * The control API of a cluster, at the node that is elected: wishes are written as records, and answered from what the
 * controller knows. A wish that was stored is carried out by itself, whoever is elected then.
 */
import { createHash, randomUUID } from 'node:crypto'
import type { GroupRecord } from '../../engine/control/snapshot-group.ts'
import { attachedAnew, isInForce } from '../../engine/control/attach-wish.ts'
import { judgeForcedPromotion } from '../../engine/control/forced-promotion.ts'
import type { Cluster } from '../../engine/control/cluster.ts'
import { capacityFor } from '../../engine/control/capacity.ts'
import { firstNodeOf } from '../../engine/control/creation.ts'
import { whyNeverCreated } from '../../engine/control/creation-refusal.ts'
import type { CreationRefusal } from '../../engine/control/creation-refusal.ts'
import { whyNodeStays } from '../../engine/control/node-removal.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { withForcedPrimary } from '../../engine/replication/configuration.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import { formatSize } from '../api/amounts.ts'
import type { ControlApi } from '../api/definition.ts'
import type {
  AddDiskRequest, CapacityAnswer, CapacityRequest, CreateTokenRequest, Disk, Node, SetNodeWishRequest, Status, Token,
} from '../api/node-messages.ts'
import type {
  CreateGroupRequest, CreateSnapshotRequest, DeleteGroupRequest, DeleteSnapshotRequest, ListGroupsRequest,
  ListSnapshotsRequest, RollBackRequest, SetSnapshotScheduleRequest, Snapshot, SnapshotGroup, SnapshotList,
} from '../api/snapshot-messages.ts'
import type { Explanation, RekeyProgress, Volume, VolumeKeys } from '../api/volume-messages.ts'
import type {
  AttachVolumeRequest, ChangeKeysRequest, CreateVolumeRequest, DeleteVolumeRequest, DetachVolumeRequest,
  ForcePromotionRequest, HydrateVolumeRequest, HydrateVolumeResponse, ListVolumesRequest, ModifyVolumeRequest,
  MoveVolumeRequest, ResizeVolumeRequest, ScrubVolumeRequest, ScrubVolumeResponse,
} from '../api/volume-wish-messages.ts'
import { shown } from '../api/names.ts'
import { checkSchedule } from '../api/schedule-request.ts'
import {
  REPLICAS_MAX, capacityRecordOf, checkHoldingMode, checkKept, checkVolumeSize, cloneWishOf,
  clusterVolumeOf,
} from '../api/volume-request.ts'
import { changesOf, withChanges } from '../api/volume-change.ts'
import { withLabels } from '../api/volume-labels.ts'
import { pageOfIds } from '../api/volume-page.ts'
import { hydrated } from '../../engine/control/volume-record.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { hasSameKeys, isRekeyed, wrappedKeyOf } from '../../engine/volume/volume-encryption.ts'
import type { VolumeEncryption } from '../../engine/volume/volume-encryption.ts'
import type { UserKey } from '../keys/user-key.ts'
import { isVolumeId } from '../store/json-value.ts'
import { decodeEncryption } from '../store/volume-records.ts'
import { allDisks, attachOf, isServed, nodesOf, statusOf, volumeOf, whyNotServed } from './cluster-view.ts'
import { untilOthersAreRefused } from './attach-end.ts'
import { CloneControl, hydrateCopies } from './clone-control.ts'
import type { Controller, Term } from './controller.ts'
import { DurabilityControl } from './durability-control.ts'
import { explanationOf } from './explanation.ts'
import { GroupControl } from './group-control.ts'
import { newerWishes, tooOld } from './node-versions.ts'
import type { RecordStore } from './record-store.ts'
import { ScheduleRunner } from './schedule-runner.ts'
import { RekeyControl } from './rekey-control.ts'
import { scrubCopies } from './scrub-control.ts'
import { SizeControl } from './size-control.ts'
import { SnapshotControl } from './snapshot-control.ts'
import { TokenControl } from './token-control.ts'
import { presentClients } from './volume-clients.ts'
import type { Client, VolumeWishes } from './volume-wishes.ts'

/** A volume that can be used is answered although copies of it are not seen to be in sync yet, after so long. */
const HEALTHY_WAIT_MS = 5_000
/** Who is elected anew shows nothing before all nodes have spoken, or for so long: reports come every second. */
const INFORMED_WAIT_MS = 2_500
/** A volume that is not served by then goes on by itself; the caller hears what it waits for. */
const SERVED_WAIT_MS = 30_000
/** The watch of the cluster store is late by milliseconds. */
const SEEN_WAIT_MS = 2_000
const LOOK_EVERY_MS = 20

export interface ClusterControlOptions {
  /** Name of this one. */
  node: string
  controller: Controller
  wishes: VolumeWishes
  records: RecordStore
  /** Wraps data keys of volumes for which no key is named. */
  clusterKey?: UserKey | undefined
  /** A group snapshot was taken; writes of none of its volumes waited for longer. */
  onGroup?(group: GroupRecord, heldMs: number): void
  clusterId: string
  /** Where the cluster store is: addresses with commas between them. */
  storeAddress: string
  /** Monotonic. */
  nowMs(): number
  /** Since 1970. */
  wallMs(): number
  /** Of a schedule. */
  retryMs?: number
  onBug(error: unknown): void
}

/** All nodes, in answer to what they were asked since then. */
const haveSpoken = ({ nodes }: Cluster, sinceMs: number): boolean =>
  [...nodes.values()].every(({ record, said }) => record === undefined || (said !== undefined && said.atMs >= sinceMs))

function unplaced({ spec: { name, sizeBytes, replicas } }: VolumeRecord, refusal: CreationRefusal): HoldfastError {
  const copies = replicas === 0 ? 'one copy' : `${replicas + 1} copies`
  const detail = { name, size: formatSize(sizeBytes), copies, reason: refusal.why, instead: refusal.next }
  return new HoldfastError('volume-unplaced', detail)
}

export class ClusterControl implements ControlApi {
  private readonly options: ClusterControlOptions
  private readonly wishes: VolumeWishes
  readonly groups: GroupControl
  private readonly snapshots: SnapshotControl
  private readonly clones: CloneControl
  private readonly sizes: SizeControl
  private readonly durabilities: DurabilityControl
  private readonly tokens: TokenControl
  readonly schedules: ScheduleRunner
  private readonly rekeys: RekeyControl

  constructor(options: ClusterControlOptions) {
    this.options = options
    this.wishes = options.wishes
    const onGroup = (group: GroupRecord, heldMs: number): void => {
      for (const { volumeId } of group.members) this.snapshots.made(volumeId)
      options.onGroup?.(group, heldMs)
    }
    this.groups = new GroupControl({ ...options, onGroup })
    this.snapshots = new SnapshotControl({ ...options, isMember: (...which) => this.groups.isMember(...which) })
    this.clones = new CloneControl({ ...options, snapshots: this.snapshots })
    this.sizes = new SizeControl(options)
    this.durabilities = new DurabilityControl(options)
    this.tokens = new TokenControl(options)
    this.rekeys = new RekeyControl(options)
    this.schedules = new ScheduleRunner({ ...options, snapshots: this.snapshots })
  }

  /** Every second or so: begins what is to be done without being asked for, and waits for nothing. */
  turn(): void {
    this.schedules.turn()
    this.groups.remains.turn()
    this.rekeys.turn()
  }

  async createVolume(request: CreateVolumeRequest): Promise<Volume> {
    const wish = cloneWishOf(request)
    const make = (record: VolumeRecord) => this.make(record, request.preferredNodes ?? [])
    if (wish !== undefined) {
      const judge = (record: VolumeRecord) => this.judge(record)
      const served = (record: VolumeRecord) => this.served(record)
      return this.clones.create(request, wish, this.nodesCount(), { judge, make, served })
    }
    const { volumeId } = request
    const isNamed = volumeId !== undefined && volumeId !== ''
    if (isNamed && !isVolumeId(volumeId))
      throw new HoldfastError('parameter', { parameter: 'volume id', value: shown(volumeId), allowed: '32 hex digits' })
    const id = isNamed ? volumeId : randomUUID().replaceAll('-', '')
    const { clusterKey } = this.options
    return make(clusterVolumeOf(request, { id, nodes: this.nodesCount(), clusterKey }))
  }

  private async make(wished: VolumeRecord, preferred: readonly string[]): Promise<Volume> {
    await this.judge(wished)
    const firstNode = firstNodeOf(this.term().cluster, wished, preferred, this.options.nowMs())
    const record = { ...wished, firstNode }
    await this.wishes.create(record)
    return this.served(record)
  }

  private judge(wished: VolumeRecord): Promise<void> {
    this.checkKnown(wished)
    return this.placeable(wished)
  }

  async listVolumes(request: ListVolumesRequest = {}): Promise<{ volumes: Volume[]; next: string }> {
    const { isInTrash = false } = request
    const term = this.informedTerm()
    const nowMs = this.options.nowMs()
    const { volumes } = term.cluster
    const wanted: string[] = []
    for (const { id, record } of volumes.values())
      if (record !== undefined && (record.trash !== null) === isInTrash) wanted.push(id)
    const { ids, next } = pageOfIds(wanted, request)
    return { volumes: ids.map((id) => volumeOf(term, volumes.get(id)!.record!, nowMs)), next }
  }

  /** @throws HoldfastError `node-too-old` */
  private checkKnown(wished: VolumeRecord, former?: VolumeRecord): void {
    for (const what of newerWishes(wished, former)) {
      const refusal = tooOld(this.term().beats, what, wished.spec.name)
      if (refusal !== undefined) throw refusal
    }
  }

  async getVolume({ name }: { name: string }): Promise<Volume> {
    return this.view(await this.wishes.find(name))
  }

  /** First the volume, then the wish: what clients are offered is there. */
  async resizeVolume(request: ResizeVolumeRequest): Promise<Volume> {
    checkVolumeSize(request.sizeBytes)
    return this.view(await this.sizes.resize(await this.wishes.find(request.name), request))
  }

  async deleteVolume({ name, force, purge, keep }: DeleteVolumeRequest): Promise<{ keptMs: number }> {
    const keptMs = checkKept(keep, purge === true)
    const { spec: { id } } = await this.wishes.find(name)
    const attach = this.term().cluster.volumes.get(id)?.config?.attach
    const clients = await this.clientsOf(id)
    const inForce = clients.filter((client) => attach === undefined || isInForce(attach, client)).length
    const sessions = inForce + this.readersOf(id)
    if (sessions > 0 && !force) throw new HoldfastError('volume-in-use', { name, sessions })
    await this.wishes.delete(id, { force, keepMs: keptMs })
    return { keptMs }
  }

  async restoreVolume({ name }: { name: string }): Promise<Volume> {
    return this.view(await this.wishes.restore(name))
  }

  async purgeVolume({ name }: { name: string }): Promise<object> {
    await this.wishes.purge(name)
    return {}
  }

  /**
   * Nodes hear of it as of every wish: frontends of limits and compression, copies by the note of the record. Another
   * durability is settled with the primary, and the record has all of it or nothing.
   */
  async modifyVolume({ name, parameters, labels = {} }: ModifyVolumeRequest): Promise<Volume> {
    const isOfLabels = Object.keys(labels).length > 0 && Object.keys(parameters).length === 0
    const changes = isOfLabels ? new Map() : changesOf(parameters)
    const found = await this.wishes.find(name)
    const nodes = found.allowDegraded ? REPLICAS_MAX + 1 : this.nodesCount()
    const changed = (one: VolumeRecord): VolumeRecord => {
      // Who was elected before may get to this late, behind a newer wish.
      this.term()
      const next = withLabels(withChanges(one, changes, nodes), labels)
      this.checkKnown(next, one)
      return next
    }
    const write = (): Promise<VolumeRecord> => this.wishes.update(found.spec.id, changed)
    const { spec: { durability } } = changed(found)
    if (!changes.has('durability')) return this.view(await write())
    return this.settled(await this.durabilities.set(found, durability, write))
  }

  /** Who asks next is told it, too: what is shown goes by what the primary's node reported last. */
  private async settled(record: VolumeRecord): Promise<Volume> {
    const { controller, nowMs } = this.options
    const untilMs = nowMs() + INFORMED_WAIT_MS
    for (let shown = this.view(record); ; shown = this.view(record)) {
      if (shown.durabilityNext === '' || nowMs() > untilMs || controller.term() === undefined) {
        // It was found in force, whatever was reported since.
        return { ...shown, durability: record.spec.durability, durabilityNext: '' }
      }
      await controller.passed()
    }
  }

  async getKeys({ name }: { name: string }): Promise<VolumeKeys> {
    const { spec: { id: volumeId, encryption } } = await this.wishes.find(name)
    const { cluster } = this.term()
    const nodes = Object.keys(cluster.volumes.get(volumeId)?.config?.members ?? {}).sort()
    if (encryption === undefined) return { volumeId, encryption: '', nodes, sharedWith: [] }
    const sharedWith: string[] = []
    for (const { record } of cluster.volumes.values()) {
      if (record === undefined || record.spec.id === volumeId) continue
      if (record.spec.encryption?.keys[0]?.volumeId === encryption.keys[0]!.volumeId) sharedWith.push(record.spec.name)
    }
    return { volumeId, encryption: JSON.stringify(encryption), nodes, sharedWith: sharedWith.sort() }
  }

  /** The same data keys, wrapped otherwise; frontends go on with what they have. */
  async changeKeys({ name, former, encryption: wanted, wrappedBy }: ChangeKeysRequest): Promise<Volume> {
    const { spec: { id } } = await this.wishes.find(name)
    const next = encryptionOf(wanted, id)
    const record = await this.wishes.update(id, (one) => {
      const { encryption } = one.spec
      if (encryption === undefined) throw new HoldfastError('volume-plain', { volume: name })
      if (JSON.stringify(encryption) !== former) throw new HoldfastError('key-changed', { volume: name })
      const isAllowed = next !== undefined && (hasSameKeys(encryption, next) || isRekeyed(encryption, next))
      if (!isAllowed || wrappedKeyOf(next).wrappedBy !== wrappedBy) {
        const allowed = 'the same, wrapped anew, or one more under which nobody writes yet'
        throw new HoldfastError('parameter', { parameter: 'keys', value: 'others', allowed })
      }
      return { ...one, spec: { ...one.spec, encryption: next } }
    })
    return this.view(record)
  }

  async rekeyVolume({ name }: { name: string }): Promise<RekeyProgress> {
    const record = await this.wishes.find(name)
    return this.rekeys.step(this.term(), record)
  }

  async moveVolume({ name, what, to, from }: MoveVolumeRequest): Promise<Volume> {
    const record = await this.wishes.find(name)
    for (const node of from === '' ? [to] : [to, from]) this.checkNode(node)
    await this.wishes.move(record.spec.id, { what: what === 'primary' ? 'primary' : 'copy', to, from })
    return this.view(record)
  }

  /**
   * The copy there leads with what it has, as soon as its node has read that. The token is of the configuration that
   * the costs were judged by, and so is the compare-and-swap: what was confirmed is what happens.
   */
  async forcePromotion({ name, to, confirm }: ForcePromotionRequest): Promise<Volume> {
    this.checkNode(to)
    const record = await this.wishes.find(name)
    const { id } = record.spec
    const { cluster } = this.term()
    const view = cluster.volumes.get(id)
    if (view === undefined) throw new HoldfastError('volume-waits', { name, reason: whyNotServed(view) })
    const judged = judgeForcedPromotion(cluster, view, to, this.options.nowMs())
    if (!judged.isPossible) throw new HoldfastError('promotion-refused', { name, to, reason: judged.why })
    const { config, configVersion } = view
    const token = createHash('sha256').update(`${id} ${configVersion} ${to}`).digest('hex').slice(0, 10)
    if (confirm !== token) {
      throw new HoldfastError('promotion-unconfirmed', { name, to, costs: judged.costs.join('; '), token })
    }
    const nonce = randomUUID()
    const forced = withForcedPrimary(config!, to, nonce)!
    const next = judged.endsSessions ? attachedAnew(forced, nonce) : forced
    const won = await this.wishes.configure(id, configVersion, next)
    if (!won) throw new HoldfastError('promotion-refused', { name, to, reason: 'its configuration has just changed' })
    return this.view(record)
  }

  async attachVolume(request: AttachVolumeRequest): Promise<Volume> {
    const { name, node, mode, force, primary, heldMost = 0, follows } = request
    this.checkNode(node)
    const wish = { node, mode: checkHoldingMode(mode), force, follows: follows?.generation }
    const record = await this.wishes.find(name)
    const { spec: { id } } = record
    if (heldMost > 0) this.checkRoom(node, id, heldMost)
    const config = await this.wishes.attach(record, wish, await this.clientsOf(id))
    if (primary === true || record.dataLocality !== undefined) await this.leadAt(node, config)
    await this.offeredAt(node, id, config.attach.holders[node] ?? 0)
    await this.untilSeen(config)
    return { ...this.view(record), attach: attachOf(config.attach) }
  }

  /** Who reads the volume next, to attach it behind what was agreed here, finds that generation; or after so long. */
  private async untilSeen({ volumeId, attach: { generation } }: VolumeConfig): Promise<void> {
    const { controller, nowMs } = this.options
    const deadlineMs = nowMs() + SEEN_WAIT_MS
    const isSeen = (): boolean =>
      (controller.term()?.cluster.volumes.get(volumeId)?.config?.attach.generation ?? generation) >= generation
    while (!isSeen() && nowMs() < deadlineMs) {
      await Promise.race([controller.passed(), new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))])
    }
  }

  /** As far as is known here: several that are asked for at once may be some too many. */
  private checkRoom(node: string, volumeId: string, heldMost: number): void {
    let held = 0
    for (const { id, config } of this.term().cluster.volumes.values()) {
      if (config?.attach.holders[node] === undefined) continue
      if (id === volumeId) return
      held++
    }
    if (held >= heldMost) throw new HoldfastError('node-attachments', { node, held })
  }

  /** It is looked at whether others are refused, also of a node that does not hold it: maybe it did a moment ago. */
  async detachVolume({ name, node, all, generation = 0, spend = false }: DetachVolumeRequest): Promise<Volume> {
    this.term()
    const from = all === true ? 'all' : { node }
    const { record, config, was } = await this.wishes.detach(name, from, generation, spend)
    if (config !== undefined && was) await this.wishes.endLead(config).catch(onlyExpected)
    if (config !== undefined && record.trash === null) await untilOthersAreRefused(this.options, record, config)
    if (config !== undefined) await this.untilSeen(config)
    if (!was && all !== true) {
      const { holders = {}, mode = 'open' } = config?.attach ?? {}
      const newer = Object.keys(holders).filter((one) => node === '' || one === node)
      // Not the one that was meant; who asked has seen too little to know that it is over.
      if (newer.length > 0) {
        throw new HoldfastError('volume-attached', { name: record.spec.name, holders: newer.join(', '), mode })
      }
      const whom = node === '' ? 'any node' : shown(node)
      throw new HoldfastError('volume-not-attached', { name: record.spec.name, node: whom })
    }
    const volume = this.view(record)
    return config === undefined ? volume : { ...volume, attach: attachOf(config.attach) }
  }

  /** NodeService of the API: the largest volume that could be made now. */
  async capacity({ parameters, node, zone, eachNode = false }: CapacityRequest): Promise<CapacityAnswer> {
    const { cluster } = this.informedTerm()
    if (node !== '') this.checkNode(node)
    try {
      const record = capacityRecordOf(parameters, this.nodesCount())
      const answer = capacityFor(cluster, record, { node, zone }, this.options.nowMs())
      return eachNode ? answer : { ...answer, nodes: [] }
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'too-few-nodes') throw error
      return { largestBytes: 0, localBytes: 0, freeBytes: 0, nodes: [] }
    }
  }

  async scrubVolume({ name, isDeep }: ScrubVolumeRequest): Promise<ScrubVolumeResponse> {
    const { spec: { id } } = await this.wishes.find(name)
    const term = this.term()
    const view = term.cluster.volumes.get(id)
    const members = Object.keys(view?.config?.members ?? {}).sort()
    if (members.length === 0) throw new HoldfastError('volume-waits', { name, reason: whyNotServed(view) })
    return scrubCopies(members, { volumeId: id, isDeep }, (node) => this.options.controller.reach(term, node))
  }

  async hydrateVolume({ name }: HydrateVolumeRequest): Promise<HydrateVolumeResponse> {
    const { spec: { id }, origin } = await this.wishes.find(name)
    const term = this.term()
    const view = term.cluster.volumes.get(id)
    const members = Object.keys(view?.config?.members ?? {}).sort()
    if (members.length === 0) throw new HoldfastError('volume-waits', { name, reason: whyNotServed(view) })
    if (origin === undefined) return { copies: members.map((node) => ({ node, sharedSlices: 0, why: '' })) }
    await this.wishes.update(id, (record) => hydrated(record, 'asked'))
    return hydrateCopies(members, id, (node) => this.options.controller.reach(term, node))
  }

  async explainVolume({ name }: { name: string }): Promise<Explanation> {
    const { spec: { id } } = await this.wishes.find(name)
    const { cluster } = this.term()
    const view = cluster.volumes.get(id)
    if (view === undefined) throw new HoldfastError('volume-waits', { name, reason: whyNotServed(view) })
    return explanationOf(cluster, view, this.options.nowMs())
  }

  createSnapshot(request: CreateSnapshotRequest): Promise<Snapshot> {
    return this.snapshots.create(request)
  }

  listSnapshots(request: ListSnapshotsRequest): Promise<SnapshotList> {
    return request.volume === '' ? this.snapshots.listAll(this.informedTerm(), request) : this.snapshots.list(request)
  }

  getSnapshot(request: { volume: string; name: string }): Promise<Snapshot> {
    return this.snapshots.get(request)
  }

  deleteSnapshot(request: DeleteSnapshotRequest): Promise<object> {
    return this.snapshots.delete(request)
  }

  rollBackVolume(request: RollBackRequest): Promise<Snapshot> {
    return this.snapshots.rollBack(request, (volumeId) => this.clientsOf(volumeId))
  }

  /** Carried out from now on by whoever is elected. */
  async setSnapshotSchedule({ volume, schedule: text }: SetSnapshotScheduleRequest): Promise<Volume> {
    const schedule = checkSchedule(text)
    const { spec: { id } } = await this.wishes.find(volume)
    const record = await this.wishes.update(id, ({ snapshotSchedule: _former, ...rest }) =>
      schedule === undefined ? rest : { ...rest, snapshotSchedule: schedule })
    return this.view(record)
  }

  createGroup(request: CreateGroupRequest): Promise<SnapshotGroup> {
    return this.groups.create(request)
  }

  listGroups(request: ListGroupsRequest): Promise<{ groups: SnapshotGroup[]; next: string }> {
    return this.groups.list(request)
  }

  getGroup(request: { name: string }): Promise<SnapshotGroup> {
    return this.groups.get(request)
  }

  deleteGroup(request: DeleteGroupRequest): Promise<object> {
    return this.groups.delete(request)
  }

  async setDiskEvicted({ uuid, isEvicted }: { uuid: string; isEvicted: boolean }): Promise<Disk> {
    const disk = allDisks(this.term()).find((one) => one.uuid === uuid)
    if (disk === undefined) throw new HoldfastError('disk-not-found', { disk: shown(uuid) })
    await this.wishes.disk(uuid, { isEvicted })
    return disk
  }

  async setNodeWish({ name, isCordoned, isDraining }: SetNodeWishRequest): Promise<Node> {
    this.checkNode(name)
    await this.wishes.node(name, { isCordoned, isDraining })
    const node = await this.getNode({ name })
    // The wish may not have come back from the store yet.
    if (node.state === 'down') return node
    return { ...node, state: isDraining ? 'draining' : isCordoned ? 'cordoned' : 'up' }
  }

  /** What it is asked may be older than the answer by a moment: who comes back in it registers anew. */
  async removeNode({ name }: { name: string }): Promise<object> {
    this.checkNode(name)
    const { cluster } = this.informedTerm()
    const reason = whyNodeStays(cluster, name, this.options.nowMs())
    if (reason !== undefined) throw new HoldfastError('node-kept', { name, reason })
    await this.wishes.removeNode(name, this.options.wallMs())
    return {}
  }

  async createToken(request: CreateTokenRequest): Promise<Token> {
    this.term()
    return this.tokens.create(request)
  }

  async listTokens(): Promise<{ tokens: Token[] }> {
    this.term()
    return this.tokens.list()
  }

  async revokeToken(request: { name: string }): Promise<object> {
    this.term()
    return this.tokens.revoke(request)
  }

  async listDisks(): Promise<{ disks: Disk[] }> {
    return { disks: allDisks(this.term()) }
  }

  addDisk(_request: AddDiskRequest): Promise<Disk> {
    return this.noDisk('taking a disk for another node')
  }

  adoptDisk(_request: { path: string }): Promise<Disk> {
    return this.noDisk('adopting a disk of a lost node')
  }

  async listNodes(): Promise<{ nodes: Node[] }> {
    return { nodes: nodesOf(this.term(), this.options.node, this.options.nowMs()) }
  }

  async getNode({ name }: { name: string }): Promise<Node> {
    const node = nodesOf(this.term(), this.options.node, this.options.nowMs()).find((one) => one.name === name)
    if (node === undefined) throw new HoldfastError('node-not-found', { name: shown(name) })
    return node
  }

  async status(): Promise<Status> {
    const { clusterId, storeAddress: store, nowMs } = this.options
    const page = statusOf(this.informedTerm(), { clusterId, store }, nowMs())
    return { ...page, problems: [...page.problems, ...this.schedules.problems(), ...this.groups.remains.problems()] }
  }

  private term(): Term {
    const term = this.options.controller.term()
    // What was asked is not begun: the caller may ask whoever is elected.
    if (term === undefined) throw new HoldfastError('no-controller', { reason: 'who was asked is not elected' })
    return term
  }

  /** What is not known yet is not told as a failure (H2). */
  private informedTerm(): Term {
    const term = this.term()
    const { cluster } = term
    const isInformed = haveSpoken(cluster, -Infinity)
    if (isInformed || this.options.nowMs() - cluster.startedAtMs > INFORMED_WAIT_MS) return term
    throw new HoldfastError('no-controller', { reason: 'who was elected has not heard from all nodes yet' })
  }

  /** Best effort: who uses a volume is served from anywhere. */
  private async leadAt(node: string, { volumeId, primary, inSync, attach }: VolumeConfig): Promise<void> {
    if (attach.mode !== 'single' || primary === node || !inSync.includes(node)) return
    await this.wishes.lead(volumeId, node).catch(onlyExpected)
  }

  /** A node that is away, or does not hear of it in time, offers the volume later: it is attached all the same. */
  private async offeredAt(node: string, volumeId: string, generation: number): Promise<void> {
    const term = this.options.controller.term()
    const reached = term === undefined ? undefined : this.options.controller.reach(term, node)
    try {
      await reached?.calls.awaitOffer({ volumeId, generation })
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
    }
  }

  private clientsOf(id: string): Promise<Client[]> {
    return presentClients(this.options.controller, this.term(), id)
  }

  /** Clients that read some snapshot of it: they have no part in who may use the volume. */
  private readersOf(id: string): number {
    return this.term().intake.sessionsOf(id).filter(({ snapshot }) => snapshot !== '').length
  }

  private nodesCount(): number {
    return [...this.term().cluster.nodes.values()].filter(({ record }) => record !== undefined).length
  }

  private checkNode(name: string): void {
    if (this.term().cluster.nodes.get(name)?.record === undefined) {
      throw new HoldfastError('node-not-found', { name: shown(name) })
    }
  }

  private view(record: VolumeRecord): Volume {
    return volumeOf(this.term(), record, this.options.nowMs())
  }

  /** @throws HoldfastError `volume-unplaced` */
  private async placeable(wished: VolumeRecord): Promise<void> {
    const { controller, nowMs } = this.options
    const askedMs = nowMs()
    for (;;) {
      const { cluster } = this.term()
      const refusal = whyNeverCreated(cluster, wished)
      // What a node has just got is heard before a volume is refused for the lack of it.
      const [sinceMs, fromMs] = refusal === undefined ? [-Infinity, cluster.startedAtMs] : [askedMs, askedMs]
      if (haveSpoken(cluster, sinceMs) || nowMs() - fromMs > INFORMED_WAIT_MS) {
        // Of a name that is in use nothing else is said: who asks again for what is there is told that it is.
        if (refusal === undefined || (await this.wishes.isUsed(wished.spec.name))) return
        throw unplaced(wished, refusal)
      }
      await controller.passed()
    }
  }

  /** When all its copies are there, or it can be used. */
  private async served(record: VolumeRecord): Promise<Volume> {
    const { controller, nowMs } = this.options
    const { id, name } = record.spec
    const startedMs = nowMs()
    let view = controller.term()?.cluster.volumes.get(id)
    const isEnough = () => view?.verdict?.health === 'healthy' || nowMs() - startedMs > HEALTHY_WAIT_MS
    while (view === undefined || !isServed(view) || !isEnough()) {
      const term = controller.term()
      if (term === undefined) throw new HoldfastError('volume-waits', { name, reason: 'another node decides by now' })
      if (nowMs() - startedMs > SERVED_WAIT_MS) {
        throw new HoldfastError('volume-waits', { name, reason: whyNotServed(view) })
      }
      await controller.passed()
      view = term.cluster.volumes.get(id)
    }
    return this.view(record)
  }

  private async noDisk(what: string): Promise<never> {
    const instead = 'ask the node that has it (`--endpoint`); copies of a lost node are filled elsewhere by themselves'
    throw new HoldfastError('not-supported', { what: `${what} in a cluster`, instead })
  }
}

function onlyExpected(error: unknown): void {
  if (!(error instanceof HoldfastError)) throw error
}

function encryptionOf(text: string, volumeId: string): VolumeEncryption | undefined {
  try {
    return decodeEncryption(JSON.parse(text), volumeId)
  } catch {
    return undefined
  }
}
