/**
 * The control API of a cluster, at the node that is elected: wishes are written as records, and answered from what the
 * controller knows. A wish that was stored is carried out by itself, whoever is elected then.
 */
import { createHash, randomUUID } from 'node:crypto'
import type { GroupRecord } from '../../engine/control/snapshot-group.ts'
import { attachedAnew, isInForce } from '../../engine/control/attach-wish.ts'
import { judgeForcedPromotion } from '../../engine/control/forced-promotion.ts'
import { capacityFor } from '../../engine/control/capacity.ts'
import { whyNodeStays } from '../../engine/control/node-removal.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { withForcedPrimary } from '../../engine/replication/configuration.ts'
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
import { REPLICAS_MAX, capacityRecordOf, checkKept, checkVolumeSize } from '../api/volume-request.ts'
import { changesOf, withChanges } from '../api/volume-change.ts'
import { withLabels } from '../api/volume-labels.ts'
import { pageOfIds } from '../api/volume-page.ts'
import { hydrated } from '../../engine/control/volume-record.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import type { UserKey } from '../keys/user-key.ts'
import { allDisks, disksOfUuid, nodesOf, statusOf, volumeOf, whyNotServed } from './cluster-view.ts'
import { AttachControl } from './attach-control.ts'
import { CloneControl, hydrateCopies } from './clone-control.ts'
import type { Controller, Term } from './controller.ts'
import { CreationControl } from './creation-control.ts'
import { DurabilityControl } from './durability-control.ts'
import { ElectedView, INFORMED_WAIT_MS } from './elected-view.ts'
import { explanationOf } from './explanation.ts'
import { GroupControl } from './group-control.ts'
import { KeyControl } from './key-control.ts'
import type { RecordStore } from './record-store.ts'
import { ScheduleRunner } from './schedule-runner.ts'
import { RekeyControl } from './rekey-control.ts'
import { scrubCopies } from './scrub-control.ts'
import { SizeControl } from './size-control.ts'
import { SnapshotControl } from './snapshot-control.ts'
import { TokenControl } from './token-control.ts'
import type { VolumeWishes } from './volume-wishes.ts'

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

export class ClusterControl implements ControlApi {
  private readonly options: ClusterControlOptions
  private readonly wishes: VolumeWishes
  private readonly elected: ElectedView
  readonly groups: GroupControl
  private readonly snapshots: SnapshotControl
  private readonly creations: CreationControl
  private readonly attachments: AttachControl
  private readonly keys: KeyControl
  private readonly sizes: SizeControl
  private readonly durabilities: DurabilityControl
  private readonly tokens: TokenControl
  readonly schedules: ScheduleRunner
  private readonly rekeys: RekeyControl

  constructor(options: ClusterControlOptions) {
    this.options = options
    this.wishes = options.wishes
    this.elected = new ElectedView(options)
    const { elected } = this
    const onGroup = (group: GroupRecord, heldMs: number): void => {
      for (const { volumeId } of group.members) this.snapshots.made(volumeId)
      options.onGroup?.(group, heldMs)
    }
    this.groups = new GroupControl({ ...options, onGroup })
    this.snapshots = new SnapshotControl({ ...options, isMember: (...which) => this.groups.isMember(...which) })
    const clones = new CloneControl({ ...options, snapshots: this.snapshots })
    this.creations = new CreationControl({ ...options, elected, clones })
    this.attachments = new AttachControl({ ...options, elected })
    this.keys = new KeyControl({ ...options, elected })
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

  createVolume(request: CreateVolumeRequest): Promise<Volume> {
    return this.creations.create(request)
  }

  async listVolumes(request: ListVolumesRequest = {}): Promise<{ volumes: Volume[]; next: string }> {
    const { isInTrash = false } = request
    const term = this.elected.informedTerm()
    const nowMs = this.options.nowMs()
    const { volumes } = term.cluster
    const wanted: string[] = []
    for (const { id, record } of volumes.values())
      if (record !== undefined && (record.trash !== null) === isInTrash) wanted.push(id)
    const { ids, next } = pageOfIds(wanted, request)
    return { volumes: ids.map((id) => volumeOf(term, volumes.get(id)!.record!, nowMs)), next }
  }

  async getVolume({ name }: { name: string }): Promise<Volume> {
    return this.elected.view(await this.wishes.find(name))
  }

  /** First the volume, then the wish: what clients are offered is there. */
  async resizeVolume(request: ResizeVolumeRequest): Promise<Volume> {
    checkVolumeSize(request.sizeBytes)
    const term = this.elected.term()
    return this.elected.view(await this.sizes.resize(await this.wishes.find(request.name), request), term)
  }

  async deleteVolume({ name, force, purge, keep }: DeleteVolumeRequest): Promise<{ keptMs: number }> {
    const keptMs = checkKept(keep, purge === true)
    const { spec: { id } } = await this.wishes.find(name)
    const attach = this.elected.term().cluster.volumes.get(id)?.config?.attach
    const clients = await this.elected.clientsOf(id)
    const inForce = clients.filter((client) => attach === undefined || isInForce(attach, client)).length
    const sessions = inForce + this.readersOf(id)
    if (sessions > 0 && !force) throw new HoldfastError('volume-in-use', { name, sessions })
    await this.wishes.delete(id, { force, keepMs: keptMs })
    return { keptMs }
  }

  async restoreVolume({ name }: { name: string }): Promise<Volume> {
    const term = this.elected.term()
    return this.elected.view(await this.wishes.restore(name), term)
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
    const term = this.elected.term()
    const found = await this.wishes.find(name)
    const nodes = found.allowDegraded ? REPLICAS_MAX + 1 : this.elected.nodesCount()
    const changed = (one: VolumeRecord): VolumeRecord => {
      // Who was elected before may get to this late, behind a newer wish.
      this.elected.term()
      const next = withLabels(withChanges(one, changes, nodes), labels)
      this.elected.checkKnown(next, one)
      return next
    }
    const write = (): Promise<VolumeRecord> => this.wishes.update(found.spec.id, changed)
    const { spec: { durability } } = changed(found)
    if (!changes.has('durability')) return this.elected.view(await write(), term)
    return this.settled(await this.durabilities.set(found, durability, write), term)
  }

  /** Who asks next is told it, too: what is shown goes by what the primary's node reported last. */
  private async settled(record: VolumeRecord, held: Term): Promise<Volume> {
    const { controller, nowMs } = this.options
    const untilMs = nowMs() + INFORMED_WAIT_MS
    for (let shown = this.elected.view(record, held); ; shown = this.elected.view(record, held)) {
      if (shown.durabilityNext === '' || nowMs() > untilMs || controller.term() === undefined) {
        // It was found in force, whatever was reported since.
        return { ...shown, durability: record.spec.durability, durabilityNext: '' }
      }
      await controller.passed()
    }
  }

  getKeys(request: { name: string }): Promise<VolumeKeys> {
    return this.keys.get(request)
  }

  changeKeys(request: ChangeKeysRequest): Promise<Volume> {
    return this.keys.change(request)
  }

  async rekeyVolume({ name }: { name: string }): Promise<RekeyProgress> {
    const record = await this.wishes.find(name)
    return this.rekeys.step(this.elected.term(), record)
  }

  async moveVolume({ name, what, to, from }: MoveVolumeRequest): Promise<Volume> {
    const term = this.elected.term()
    const record = await this.wishes.find(name)
    for (const node of from === '' ? [to] : [to, from]) this.elected.checkNode(node)
    await this.wishes.move(record.spec.id, { what: what === 'primary' ? 'primary' : 'copy', to, from })
    return this.elected.view(record, term)
  }

  /**
   * The copy there leads with what it has, as soon as its node has read that. The token is of the configuration that
   * the costs were judged by, and so is the compare-and-swap: what was confirmed is what happens.
   */
  async forcePromotion({ name, to, confirm }: ForcePromotionRequest): Promise<Volume> {
    this.elected.checkNode(to)
    const record = await this.wishes.find(name)
    const { id } = record.spec
    const term = this.elected.term()
    const { cluster } = term
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
    return this.elected.view(record, term)
  }

  attachVolume(request: AttachVolumeRequest): Promise<Volume> {
    return this.attachments.attach(request)
  }

  detachVolume(request: DetachVolumeRequest): Promise<Volume> {
    return this.attachments.detach(request)
  }

  /** NodeService of the API: the largest volume that could be made now. */
  async capacity({ parameters, node, zone, eachNode = false }: CapacityRequest): Promise<CapacityAnswer> {
    const { cluster } = this.elected.informedTerm()
    if (node !== '') this.elected.checkNode(node)
    try {
      const record = capacityRecordOf(parameters, this.elected.nodesCount())
      const answer = capacityFor(cluster, record, { node, zone }, this.options.nowMs())
      return eachNode ? answer : { ...answer, nodes: [] }
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'too-few-nodes') throw error
      return { largestBytes: 0, localBytes: 0, freeBytes: 0, nodes: [] }
    }
  }

  async scrubVolume({ name, isDeep }: ScrubVolumeRequest): Promise<ScrubVolumeResponse> {
    const { spec: { id } } = await this.wishes.find(name)
    const term = this.elected.term()
    const view = term.cluster.volumes.get(id)
    const members = Object.keys(view?.config?.members ?? {}).sort()
    if (members.length === 0) throw new HoldfastError('volume-waits', { name, reason: whyNotServed(view) })
    return scrubCopies(members, { volumeId: id, isDeep }, (node) => this.options.controller.reach(term, node))
  }

  async hydrateVolume({ name }: HydrateVolumeRequest): Promise<HydrateVolumeResponse> {
    const { spec: { id }, origin } = await this.wishes.find(name)
    const term = this.elected.term()
    const view = term.cluster.volumes.get(id)
    const members = Object.keys(view?.config?.members ?? {}).sort()
    if (members.length === 0) throw new HoldfastError('volume-waits', { name, reason: whyNotServed(view) })
    if (origin === undefined) return { copies: members.map((node) => ({ node, sharedSlices: 0, why: '' })) }
    await this.wishes.update(id, (record) => hydrated(record, 'asked'))
    return hydrateCopies(members, id, (node) => this.options.controller.reach(term, node))
  }

  async explainVolume({ name }: { name: string }): Promise<Explanation> {
    const { spec: { id } } = await this.wishes.find(name)
    const { cluster } = this.elected.term()
    const view = cluster.volumes.get(id)
    if (view === undefined) throw new HoldfastError('volume-waits', { name, reason: whyNotServed(view) })
    return explanationOf(cluster, view, this.options.nowMs())
  }

  createSnapshot(request: CreateSnapshotRequest): Promise<Snapshot> {
    return this.snapshots.create(request)
  }

  listSnapshots(request: ListSnapshotsRequest): Promise<SnapshotList> {
    if (request.volume === '') return this.snapshots.listAll(this.elected.informedTerm(), request)
    return this.snapshots.list(request)
  }

  getSnapshot(request: { volume: string; name: string }): Promise<Snapshot> {
    return this.snapshots.get(request)
  }

  deleteSnapshot(request: DeleteSnapshotRequest): Promise<object> {
    return this.snapshots.delete(request)
  }

  rollBackVolume(request: RollBackRequest): Promise<Snapshot> {
    return this.snapshots.rollBack(request, (volumeId) => this.elected.clientsOf(volumeId))
  }

  /** Carried out from now on by whoever is elected. */
  async setSnapshotSchedule({ volume, schedule: text }: SetSnapshotScheduleRequest): Promise<Volume> {
    const schedule = checkSchedule(text)
    const term = this.elected.term()
    const { spec: { id } } = await this.wishes.find(volume)
    const record = await this.wishes.update(id, ({ snapshotSchedule: _former, ...rest }) =>
      schedule === undefined ? rest : { ...rest, snapshotSchedule: schedule })
    return this.elected.view(record, term)
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
    const [disk, another] = disksOfUuid(this.elected.term(), uuid, this.options.nowMs())
    if (disk === undefined) throw new HoldfastError('disk-not-found', { disk: shown(uuid) })
    // A node says of itself what it likes: the disk of another one must not be emptied for it.
    if (isEvicted && another !== undefined) {
      const allowed = `a disk that one node has, and ${disk.node} and ${another.node} both say that they have this one`
      throw new HoldfastError('parameter', { parameter: 'disk', value: uuid, allowed })
    }
    await this.wishes.disk(uuid, { isEvicted })
    return disk
  }

  async setNodeWish({ name, isCordoned, isDraining }: SetNodeWishRequest): Promise<Node> {
    const term = this.elected.term()
    this.elected.checkNode(name)
    await this.wishes.node(name, { isCordoned, isDraining })
    const node = this.nodeOf(name, this.options.controller.term() ?? term)
    // The wish may not have come back from the store yet.
    if (node.state === 'down') return node
    return { ...node, state: isDraining ? 'draining' : isCordoned ? 'cordoned' : 'up' }
  }

  /** What it is asked may be older than the answer by a moment: who comes back in it registers anew. */
  async removeNode({ name }: { name: string }): Promise<object> {
    this.elected.checkNode(name)
    const { cluster } = this.elected.informedTerm()
    const reason = whyNodeStays(cluster, name, this.options.nowMs())
    if (reason !== undefined) throw new HoldfastError('node-kept', { name, reason })
    await this.wishes.removeNode(name, this.options.wallMs())
    return {}
  }

  async createToken(request: CreateTokenRequest): Promise<Token> {
    this.elected.term()
    return this.tokens.create(request)
  }

  async listTokens(): Promise<{ tokens: Token[] }> {
    this.elected.term()
    return this.tokens.list()
  }

  async revokeToken(request: { name: string }): Promise<object> {
    this.elected.term()
    return this.tokens.revoke(request)
  }

  async listDisks(): Promise<{ disks: Disk[] }> {
    return { disks: allDisks(this.elected.term()) }
  }

  addDisk(_request: AddDiskRequest): Promise<Disk> {
    return this.noDisk('taking a disk for another node')
  }

  adoptDisk(_request: { path: string }): Promise<Disk> {
    return this.noDisk('adopting a disk of a lost node')
  }

  async listNodes(): Promise<{ nodes: Node[] }> {
    return { nodes: nodesOf(this.elected.term(), this.options.node, this.options.nowMs()) }
  }

  async getNode({ name }: { name: string }): Promise<Node> {
    return this.nodeOf(name, this.elected.term())
  }

  private nodeOf(name: string, term: Term): Node {
    const node = nodesOf(term, this.options.node, this.options.nowMs()).find((one) => one.name === name)
    if (node === undefined) throw new HoldfastError('node-not-found', { name: shown(name) })
    return node
  }

  async status(): Promise<Status> {
    const { clusterId, storeAddress: store, nowMs } = this.options
    const page = statusOf(this.elected.informedTerm(), { clusterId, store }, nowMs())
    return { ...page, problems: [...page.problems, ...this.schedules.problems(), ...this.groups.remains.problems()] }
  }

  /** Clients that read some snapshot of it: they have no part in who may use the volume. */
  private readersOf(id: string): number {
    return this.elected.term().intake.sessionsOf(id).filter(({ snapshot }) => snapshot !== '').length
  }

  private async noDisk(what: string): Promise<never> {
    const instead = 'ask the node that has it (`--endpoint`); copies of a lost node are filled elsewhere by themselves'
    throw new HoldfastError('not-supported', { what: `${what} in a cluster`, instead })
  }
}
