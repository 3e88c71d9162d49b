/**
 * The control API at any node of a cluster: what is asked is answered by whoever is elected, here or elsewhere. Only
 * where a volume is served, and when its export is there, is known by the node that was asked.
 */
import { randomUUID } from 'node:crypto'
import { HoldfastError } from '../../engine/errors.ts'
import type { ControlClient } from '../api/client.ts'
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
import { wasNotSent } from '../api/refusal.ts'
import type { Leader } from './election.ts'

/** An election takes so long at most, unless the store is away. */
const LEADER_WAIT_MS = 15_000
const LOOK_EVERY_MS = 100
/** No further try is begun then; one takes 20 s at most, and who asks waits for a minute. */
const SETTLED_WAIT_MS = 20_000
/** Refusals that are made of what the volume has. */
const JUDGED: ReadonlySet<string> = new Set([
  'group-exists', 'group-not-found', 'snapshot-exists', 'snapshot-in-group', 'snapshot-limit', 'snapshot-not-found',
])

/** Who was asked did not look at the request. */
const UNBEGUN: ReadonlySet<string> = new Set(['no-controller', 'node-unchecked'])

const drawnId = (): string => randomUUID().replaceAll('-', '')

export interface ForwardingControlOptions {
  node: string
  /** Answers while this node is elected, and refuses with `no-controller` else. */
  local: ControlApi
  leader(): Leader | undefined
  /** Why the store cannot be asked who is elected; undefined: it answers. */
  storeProblem(): HoldfastError | undefined
  connect(node: string, api: string): ControlClient
  /** Into this node: nobody else has the disk. */
  addDisk(request: AddDiskRequest): Promise<Disk>
  /** Where this node serves a volume. */
  nbdOf(name: string): string[]
  /** The export of that volume is there. */
  whenOffered(volumeId: string): Promise<unknown>
}

export class ForwardingControl implements ControlApi {
  private readonly options: ForwardingControlOptions
  private client: { api: string; calls: ControlClient } | undefined

  constructor(options: ForwardingControlOptions) {
    this.options = options
  }

  async createVolume(request: CreateVolumeRequest): Promise<Volume> {
    const volume = await this.ask((elected) => elected.createVolume(request))
    if (volume.attach.mode === 'open') await this.options.whenOffered(volume.id)
    return this.here(volume)
  }

  async listVolumes(request?: ListVolumesRequest): Promise<{ volumes: Volume[]; next: string }> {
    const { volumes, next } = await this.ask((elected) => elected.listVolumes(request), true)
    return { volumes: volumes.map((volume) => this.here(volume)), next }
  }

  async getVolume(request: { name: string }): Promise<Volume> {
    return this.here(await this.ask((elected) => elected.getVolume(request), true))
  }

  async resizeVolume(request: ResizeVolumeRequest): Promise<Volume> {
    return this.here(await this.ask((elected) => elected.resizeVolume(request)))
  }

  deleteVolume(request: DeleteVolumeRequest): Promise<{ keptMs: number }> {
    return this.ask((elected) => elected.deleteVolume(request))
  }

  async restoreVolume(request: { name: string }): Promise<Volume> {
    return this.here(await this.ask((elected) => elected.restoreVolume(request)))
  }

  purgeVolume(request: { name: string }): Promise<object> {
    return this.ask((elected) => elected.purgeVolume(request))
  }

  async modifyVolume(request: ModifyVolumeRequest): Promise<Volume> {
    return this.here(await this.ask((elected) => elected.modifyVolume(request)))
  }

  getKeys(request: { name: string }): Promise<VolumeKeys> {
    return this.ask((elected) => elected.getKeys(request), true)
  }

  async changeKeys(request: ChangeKeysRequest): Promise<Volume> {
    return this.here(await this.ask((elected) => elected.changeKeys(request)))
  }

  rekeyVolume(request: { name: string }): Promise<RekeyProgress> {
    // A look at what is so, and the next step if it is due: whoever waits for the end asks again and again anyhow.
    return this.ask((elected) => elected.rekeyVolume(request), true)
  }

  async moveVolume(request: MoveVolumeRequest): Promise<Volume> {
    return this.here(await this.ask((elected) => elected.moveVolume(request)))
  }

  async forcePromotion(request: ForcePromotionRequest): Promise<Volume> {
    return this.here(await this.ask((elected) => elected.forcePromotion(request)))
  }

  async attachVolume(request: AttachVolumeRequest): Promise<Volume> {
    return this.here(await this.ask((elected) => elected.attachVolume(request)))
  }

  async detachVolume(request: DetachVolumeRequest): Promise<Volume> {
    return this.here(await this.ask((elected) => elected.detachVolume(request)))
  }

  hydrateVolume(request: HydrateVolumeRequest): Promise<HydrateVolumeResponse> {
    return this.ask((elected) => elected.hydrateVolume(request))
  }

  scrubVolume(request: ScrubVolumeRequest): Promise<ScrubVolumeResponse> {
    return this.ask((elected) => elected.scrubVolume(request))
  }

  explainVolume(request: { name: string }): Promise<Explanation> {
    return this.ask((elected) => elected.explainVolume(request), true)
  }

  createSnapshot(request: CreateSnapshotRequest): Promise<Snapshot> {
    const { volume, name } = request
    const id = request.id === '' ? drawnId() : request.id
    return this.settled({ what: `snapshot ${name}`, volume }, (elected) => elected.createSnapshot({ ...request, id }))
  }

  listSnapshots(request: ListSnapshotsRequest): Promise<SnapshotList> {
    return this.ask((elected) => elected.listSnapshots(request), true)
  }

  getSnapshot(request: { volume: string; name: string }): Promise<Snapshot> {
    return this.ask((elected) => elected.getSnapshot(request), true)
  }

  /** Which one is meant is known before the first try: in the second one the name may be another one's. */
  async deleteSnapshot(request: DeleteSnapshotRequest): Promise<object> {
    const { volume, name } = request
    const id = request.id === '' ? (await this.getSnapshot({ volume, name })).id : request.id
    const what = `the deletion of snapshot ${name}`
    return this.settled({ what, volume }, (elected) => elected.deleteSnapshot({ ...request, id }))
  }

  rollBackVolume(request: RollBackRequest): Promise<Snapshot> {
    const { volume, to } = request
    const id = request.id === '' ? drawnId() : request.id
    const what = `the rollback to snapshot ${to}`
    return this.settled({ what, volume }, (elected) => elected.rollBackVolume({ ...request, id }))
  }

  async setSnapshotSchedule(request: SetSnapshotScheduleRequest): Promise<Volume> {
    return this.here(await this.ask((elected) => elected.setSnapshotSchedule(request)))
  }

  createGroup(request: CreateGroupRequest): Promise<SnapshotGroup> {
    const { name, volumes } = request
    const id = request.id === '' ? drawnId() : request.id
    const about = { what: `group snapshot ${name}`, volume: volumes.join(', ') }
    return this.settled(about, (elected) => elected.createGroup({ ...request, id }))
  }

  listGroups(request: ListGroupsRequest): Promise<{ groups: SnapshotGroup[]; next: string }> {
    return this.ask((elected) => elected.listGroups(request), true)
  }

  getGroup(request: { name: string }): Promise<SnapshotGroup> {
    return this.ask((elected) => elected.getGroup(request), true)
  }

  /** As of a snapshot. */
  async deleteGroup(request: DeleteGroupRequest): Promise<object> {
    const { name } = request
    const id = request.id === '' ? (await this.getGroup({ name })).id : request.id
    const about = { what: `the deletion of group snapshot ${name}`, volume: 'its members' }
    return this.settled(about, (elected) => elected.deleteGroup({ name, id }))
  }

  setDiskEvicted(request: { uuid: string; isEvicted: boolean }): Promise<Disk> {
    return this.ask((elected) => elected.setDiskEvicted(request))
  }

  setNodeWish(request: SetNodeWishRequest): Promise<Node> {
    return this.ask((elected) => elected.setNodeWish(request))
  }

  removeNode(request: { name: string }): Promise<object> {
    return this.ask((elected) => elected.removeNode(request))
  }

  createToken(request: CreateTokenRequest): Promise<Token> {
    return this.ask((elected) => elected.createToken(request))
  }

  listTokens(): Promise<{ tokens: Token[] }> {
    return this.ask((elected) => elected.listTokens(), true)
  }

  revokeToken(request: { name: string }): Promise<object> {
    return this.ask((elected) => elected.revokeToken(request))
  }

  listDisks(): Promise<{ disks: Disk[] }> {
    return this.ask((elected) => elected.listDisks(), true)
  }

  addDisk(request: AddDiskRequest): Promise<Disk> {
    return this.options.addDisk(request)
  }

  adoptDisk(request: { path: string }): Promise<Disk> {
    return this.ask((elected) => elected.adoptDisk(request))
  }

  listNodes(): Promise<{ nodes: Node[] }> {
    return this.ask((elected) => elected.listNodes(), true)
  }

  getNode(request: { name: string }): Promise<Node> {
    return this.ask((elected) => elected.getNode(request), true)
  }

  status(): Promise<Status> {
    return this.ask((elected) => elected.status(), true)
  }

  capacity(request: CapacityRequest): Promise<CapacityAnswer> {
    return this.ask((elected) => elected.capacity(request), true)
  }

  close(): void {
    this.client?.calls.close()
    this.client = undefined
  }

  private here(volume: Volume): Volume {
    return { ...volume, nbd: this.options.nbdOf(volume.name) }
  }

  /**
   * `no-controller` says that nothing was begun (who has written answers with what it knew), so does `node-unchecked`
   * (the elected daemon has just started), and so does a port that nobody listens on (it started again, on another
   * one): whoever is elected next, or found there, is asked. Reading is repeated anyhow.
   */
  private async ask<T>(call: (elected: ControlApi) => Promise<T>, isReading = false): Promise<T> {
    const deadlineMs = performance.now() + LEADER_WAIT_MS
    for (;;) {
      try {
        return await call(this.elected())
      } catch (error) {
        if (!(error instanceof HoldfastError) || performance.now() > deadlineMs) throw error
        const isBegun = !UNBEGUN.has(error.code) && !wasNotSent(error)
        if (isBegun && !(isReading && error.code === 'unreachable')) throw error
        // Nobody can be elected until it answers.
        const storeProblem = this.options.storeProblem()
        if (storeProblem !== undefined) throw storeProblem
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
    }
  }

  /**
   * What may be asked again whatever became of it, since it names what it is about by id (SNAPSHOTS.md T3, T4).
   * @throws HoldfastError `change-outcome`, when it is not known in the end
   */
  private async settled<T>(
    about: { what: string; volume: string }, call: (elected: ControlApi) => Promise<T>,
  ): Promise<T> {
    const deadlineMs = performance.now() + SETTLED_WAIT_MS
    let mayBeDone = false
    for (;;) {
      try {
        return await this.ask(call)
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error
        if (error.code === 'change-outcome' || (error.code === 'unreachable' && !wasNotSent(error))) mayBeDone = true
        // What such a refusal says was judged on what is there: nothing of an earlier try can follow.
        else if (!mayBeDone || JUDGED.has(error.code)) throw error
        if (performance.now() > deadlineMs) {
          if (error.code === 'change-outcome') throw error
          throw new HoldfastError('change-outcome', { ...about, reason: error.message })
        }
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
    }
  }

  private elected(): ControlApi {
    const { node, local, connect } = this.options
    const leader = this.options.leader()
    if (leader === undefined) throw new HoldfastError('no-controller', { reason: 'nobody is elected' })
    if (leader.node === node) return local
    if (this.client?.api !== leader.api) {
      this.close()
      this.client = { api: leader.api, calls: connect(leader.node, leader.api) }
    }
    return this.client!.calls
  }
}
