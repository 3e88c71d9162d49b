/**
 * The control API of one node, decided on the main thread of the daemon: checks a wish, asks the worker that owns the
 * volume, keeps the NBD export directory in step before it answers, and joins what the workers report.
 *
 * A name is reserved from the moment its creation is accepted until its deletion is answered, over all workers, so
 * two volumes of one name cannot come to be on two workers.
 */
import type { ControlApi } from '../cluster/api/definition.ts'
import type { AddDiskRequest, CapacityAnswer, Disk, Node, Status, Token } from '../cluster/api/node-messages.ts'
import type { Snapshot, SnapshotGroup, SnapshotList } from '../cluster/api/snapshot-messages.ts'
import type { Explanation, Frontend, RekeyProgress, Volume, VolumeKeys } from '../cluster/api/volume-messages.ts'
import type {
  CreateVolumeRequest, DeleteVolumeRequest, HydrateVolumeResponse, ListVolumesRequest, ResizeVolumeRequest,
  ScrubVolumeResponse, ModifyVolumeRequest,
} from '../cluster/api/volume-wish-messages.ts'
import { changesOf } from '../cluster/api/volume-change.ts'
import { pageOfIds } from '../cluster/api/volume-page.ts'
import { formatSize } from '../cluster/api/amounts.ts'
import { shown } from '../cluster/api/names.ts'
import { checkQos } from '../cluster/api/qos-request.ts'
import { statusPage } from '../cluster/api/status-page.ts'
import { checkKept, checkVolumeSize, newVolumeId, volumeSpecOf } from '../cluster/api/volume-request.ts'
import { nbdUris, volumeView } from '../cluster/api/volume-view.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { VolumeStatus } from '../engine/volume/volume-spec.ts'
import type { PreparedDisk } from './disk-preparation.ts'
import { joinDisks } from './joined-disks.ts'
import { diskOptionOf, takeDisk } from './node-disks.ts'
import { VERSION_GREATEST } from './peer/protocol.ts'
import type { CallName, CallOf, DiskOption, SessionReport, WorkerCalls } from './worker-messages.ts'

/** A worker as the control thread sees it. Rejects with a HoldfastError. */
export interface WorkerHandle {
  call<K extends CallName>(call: CallOf<K>): Promise<WorkerCalls[K]['answer']>
}

/** What NBD clients can ask for; the listener looks names up here. */
export interface Exports {
  /** Offer a volume, or its new size. */
  offer(volume: { spec: VolumeStatus['spec'] }, worker: number): void
  withdraw(name: string): void
}

/** Disks are opened, recognised and locked on the main thread, before a worker has them. Both throw a HoldfastError. */
export interface DiskPreparation {
  prepare(disk: DiskOption, adopt: boolean): PreparedDisk
  release(disk: PreparedDisk): void
}

/** Facts about the node that do not change while it runs. */
export interface NodeFacts {
  name: string
  zone: string
  folder: string
  nodeId: string
  clusterId: string
  instanceId: string
  version: string
  ioFlusher: 'set' | 'refused'
  socketPath: string
  tcp: { host: string; port: number } | undefined
  /** There. */
  isTls?: boolean
  startedMs: number
}

/** Every report of a node of a cluster has it, one a second, and the kernel takes its time to tell. */
const RSS_EVERY_MS = 10_000
let rss = { atMs: -Infinity, bytes: 0 }

function rssBytes(): number {
  const nowMs = performance.now()
  if (nowMs - rss.atMs >= RSS_EVERY_MS) rss = { atMs: nowMs, bytes: process.memoryUsage.rss() }
  return rss.bytes
}

/** Of the process, as the API shows it. */
export function processFacts(facts: NodeFacts, workers: number) {
  const { socketPath, tcp, nodeId, clusterId, version, ioFlusher, folder } = facts
  return {
    pid: process.pid,
    nodeId,
    clusterId,
    version,
    nodeVersion: process.version,
    uptimeMs: Math.round(performance.now() - facts.startedMs),
    workers,
    rssBytes: rssBytes(),
    ioFlusher,
    listening: [socketPath, ...(tcp === undefined ? [] : [`${tcp.host}:${tcp.port}`])],
    folder,
  }
}

/** Nodes that could hold a copy: this version has the one. */
const NODES = 1

export class NodeControl implements ControlApi {
  readonly #facts: NodeFacts
  readonly #workers: WorkerHandle[]
  readonly #exports: Exports
  readonly #disks: DiskPreparation
  readonly #rememberDisk: (disk: DiskOption) => () => void
  /** Which worker has the volume of that name, from accepted creation to answered deletion. */
  readonly #owners = new Map<string, number>()
  /** By the id of each of them, its name. */
  readonly #names = new Map<string, string>()
  /** By name, what a worker will answer. */
  readonly #making = new Map<string, Promise<unknown>>()

  constructor(options: {
    facts: NodeFacts
    workers: WorkerHandle[]
    exports: Exports
    disks: DiskPreparation
    /** @returns forgets it again */
    rememberDisk: (disk: DiskOption) => () => void
  }) {
    this.#facts = options.facts
    this.#workers = options.workers
    this.#exports = options.exports
    this.#disks = options.disks
    this.#rememberDisk = options.rememberDisk
  }

  /** Take over what a worker found when it opened its store, or after a disk came. */
  adopt(worker: number, volumes: VolumeStatus[]): void {
    for (const volume of volumes) {
      this.#owners.set(volume.spec.name, worker)
      this.#names.set(volume.spec.id, volume.spec.name)
      this.#exports.offer(volume, worker)
    }
  }

  async createVolume(request: CreateVolumeRequest): Promise<Volume> {
    const spec = volumeSpecOf(request, { id: newVolumeId(request), nodes: NODES })
    const { id, name } = spec
    for (const known of [name, this.#names.get(id)]) {
      if (known === undefined || !this.#owners.has(known)) continue
      throw new HoldfastError('volume-exists', { name: known, existing: await this.#existing(known) })
    }
    const worker = this.#leastLoaded()
    this.#owners.set(name, worker)
    this.#names.set(id, name)
    const made = this.#workers[worker]!.call<'create'>({ kind: 'create', spec })
    this.#making.set(name, made)
    try {
      const status = await made
      this.#exports.offer(status, worker)
      return this.#view(status, [])
    } catch (error) {
      this.#forget(name)
      throw error
    } finally {
      this.#making.delete(name)
    }
  }

  async listVolumes(request: ListVolumesRequest = {}): Promise<{ volumes: Volume[]; next: string }> {
    if (request.isInTrash === true) return this.#onlyInCluster('a trash')
    const { volumes, sessions } = await this.#report()
    const byId = new Map(volumes.map((volume) => [volume.spec.id, volume]))
    const { ids, next } = pageOfIds(byId.keys(), request)
    return { volumes: ids.map((id) => this.#view(byId.get(id)!, sessions)), next }
  }

  async getVolume({ name: given }: { name: string }): Promise<Volume> {
    const name = this.#named(given)
    const { volumes, sessions } = await this.#workers[this.#owner(name)]!.call<'report'>({ kind: 'report' })
    const volume = volumes.find(({ spec }) => spec.name === name)
    if (volume === undefined) throw new HoldfastError('volume-not-found', { name: shown(name) })
    return this.#view(volume, sessions)
  }

  async resizeVolume({ name: given, sizeBytes, force }: ResizeVolumeRequest): Promise<Volume> {
    const name = this.#named(given)
    const worker = this.#owner(name)
    checkVolumeSize(sizeBytes)
    if (force === true && sizeBytes < (await this.getVolume({ name })).sizeBytes) {
      // Its own volumes have no step of their log in which the data beyond an end is looked for and the end moved.
      throw new HoldfastError('not-supported', {
        what: 'to shrink a volume on a node by itself, which would not notice data beyond the new end,',
        instead: 'copy what is on it into a smaller volume, or make the node one of a cluster (`--store`)',
      })
    }
    const status = await this.#workers[worker]!.call<'resize'>({ kind: 'resize', name, sizeBytes })
    this.#exports.offer(status, worker)
    return this.getVolume({ name })
  }

  /** Limits alone: all else is of several copies, or of what a volume of a cluster has. */
  async modifyVolume({ name: given, parameters, labels = {} }: ModifyVolumeRequest): Promise<Volume> {
    const name = this.#named(given)
    if (Object.keys(labels).length > 0) return this.#onlyInCluster('labels of a volume')
    const worker = this.#owner(name)
    const changes = changesOf(parameters)
    for (const what of changes.keys()) if (!what.startsWith('qos-')) return this.#onlyInCluster(`a change of ${what}`)
    const { qos: now } = await this.getVolume({ name })
    const limits = {
      iops: changes.get('qos-iops'), bandwidth: changes.get('qos-bandwidth'), burst: changes.get('qos-burst'),
    }
    const qos = checkQos(limits, now.burstMs === 0 ? undefined : now)
    await this.#workers[worker]!.call<'set-qos'>({ kind: 'set-qos', name, qos })
    return this.getVolume({ name })
  }

  /**
   * At once: there is no trash, and whoever asks for one is told so. New sessions end first: those that were posted
   * before are seen by the worker, none can come after.
   */
  async deleteVolume({ name: given, force, keep }: DeleteVolumeRequest): Promise<{ keptMs: number }> {
    const name = this.#named(given)
    if (keep !== undefined && keep !== '' && checkKept(keep, false) > 0) return this.#onlyInCluster('a trash')
    // Whoever had no answer to its creation may delete it while that is under way.
    await this.#making.get(name)?.catch(() => undefined)
    const worker = this.#owner(name)
    this.#exports.withdraw(name)
    try {
      await this.#workers[worker]!.call<'delete'>({ kind: 'delete', name, force })
    } catch (error) {
      await this.#offerAgain(name, worker)
      throw error
    }
    this.#forget(name)
    return { keptMs: 0 }
  }

  restoreVolume(): Promise<Volume> {
    return this.#onlyInCluster('a trash')
  }

  purgeVolume(): Promise<object> {
    return this.#onlyInCluster('a trash')
  }

  getKeys(): Promise<VolumeKeys> {
    return this.#onlyInCluster('encryption')
  }

  rekeyVolume(): Promise<RekeyProgress> {
    return this.#onlyInCluster('encryption')
  }

  changeKeys(): Promise<Volume> {
    return this.#onlyInCluster('encryption')
  }

  moveVolume(): Promise<Volume> {
    return this.#onlyInCluster('moving a volume')
  }

  forcePromotion(): Promise<Volume> {
    return this.#onlyInCluster('a forced promotion')
  }

  hydrateVolume(): Promise<HydrateVolumeResponse> {
    return this.#onlyInCluster('a clone')
  }

  scrubVolume(): Promise<ScrubVolumeResponse> {
    return this.#onlyInCluster('scrubbing a volume')
  }

  explainVolume(): Promise<Explanation> {
    return this.#onlyInCluster('placement')
  }

  attachVolume(): Promise<Volume> {
    return this.#onlyInCluster('attaching to a node')
  }

  detachVolume(): Promise<Volume> {
    return this.#onlyInCluster('attaching to a node')
  }

  createSnapshot(): Promise<Snapshot> {
    return this.#noSnapshots()
  }

  listSnapshots(): Promise<SnapshotList> {
    return this.#noSnapshots()
  }

  getSnapshot(): Promise<Snapshot> {
    return this.#noSnapshots()
  }

  deleteSnapshot(): Promise<object> {
    return this.#noSnapshots()
  }

  rollBackVolume(): Promise<Snapshot> {
    return this.#noSnapshots()
  }

  setSnapshotSchedule(): Promise<Volume> {
    return this.#noSnapshots()
  }

  createGroup(): Promise<SnapshotGroup> {
    return this.#noSnapshots()
  }

  listGroups(): Promise<{ groups: SnapshotGroup[]; next: string }> {
    return this.#noSnapshots()
  }

  getGroup(): Promise<SnapshotGroup> {
    return this.#noSnapshots()
  }

  deleteGroup(): Promise<object> {
    return this.#noSnapshots()
  }

  setDiskEvicted(): Promise<Disk> {
    return this.#onlyInCluster('evicting a disk')
  }

  setNodeWish(): Promise<Node> {
    return this.#onlyInCluster('cordoning or draining')
  }

  removeNode(): Promise<object> {
    return this.#onlyInCluster('removing a node')
  }

  createToken(): Promise<Token> {
    return this.#onlyInCluster('a bearer token')
  }

  listTokens(): Promise<{ tokens: Token[] }> {
    return this.#onlyInCluster('a bearer token')
  }

  revokeToken(): Promise<object> {
    return this.#onlyInCluster('a bearer token')
  }

  capacity(): Promise<CapacityAnswer> {
    return this.#onlyInCluster('placement')
  }

  async listDisks(): Promise<{ disks: Disk[] }> {
    return { disks: (await this.#report()).disks }
  }

  async addDisk(request: AddDiskRequest): Promise<Disk> {
    return this.#takeDisk(diskOptionOf(request), false)
  }

  async adoptDisk({ path }: { path: string }): Promise<Disk> {
    return this.#takeDisk({ path, sizeBytes: undefined, pool: 'default', tags: [] }, true)
  }

  async listNodes(): Promise<{ nodes: Node[] }> {
    return { nodes: [this.#node((await this.#report()).disks)] }
  }

  async getNode({ name }: { name: string }): Promise<Node> {
    if (name !== this.#facts.name) throw new HoldfastError('node-not-found', { name: shown(name) })
    return this.#node((await this.#report()).disks)
  }

  async status(): Promise<Status> {
    const { volumes, disks, sessions } = await this.#report()
    return statusPage(this.#node(disks), volumes.map((volume) => this.#view(volume, sessions)), sessions.length)
  }

  async #onlyInCluster(what: string): Promise<never> {
    const instead = 'this node is by itself, and has nowhere else to put anything'
    throw new HoldfastError('not-supported', { what: `${what} on a node without a cluster`, instead })
  }

  async #noSnapshots(): Promise<never> {
    const instead = 'snapshots are for volumes of a cluster in this version: a node with `--store` is in one'
    throw new HoldfastError('not-supported', { what: 'a snapshot on a node without a cluster', instead })
  }

  /** By id or name. */
  #named(nameOrId: string): string {
    return this.#names.get(nameOrId) ?? nameOrId
  }

  #forget(name: string): void {
    this.#owners.delete(name)
    for (const [id, known] of this.#names) if (known === name) this.#names.delete(id)
  }

  #owner(name: string): number {
    const worker = this.#owners.get(name)
    if (worker === undefined) throw new HoldfastError('volume-not-found', { name: shown(name) })
    return worker
  }

  #leastLoaded(): number {
    const counts = this.#workers.map(() => 0)
    for (const worker of this.#owners.values()) counts[worker]!++
    return counts.indexOf(Math.min(...counts))
  }

  async #existing(name: string): Promise<string> {
    const { volumes } = await this.#report()
    const volume = volumes.find(({ spec }) => spec.name === name)
    return volume === undefined ? 'being created' : formatSize(volume.spec.sizeBytes)
  }

  async #offerAgain(name: string, worker: number): Promise<void> {
    const { volumes } = await this.#workers[worker]!.call<'report'>({ kind: 'report' })
    const volume = volumes.find(({ spec }) => spec.name === name)
    if (volume === undefined) this.#forget(name)
    else this.#exports.offer(volume, worker)
  }

  /** A disk that was ours before, or is adopted, may bring volumes. Pool and tags are those its superblock names. */
  async #takeDisk(option: DiskOption, adopt: boolean): Promise<Disk> {
    const prepared = this.#disks.prepare(option, adopt)
    await takeDisk(option.path, {
      remember: () => this.#rememberDisk({ ...option, pool: prepared.pool, tags: prepared.tags }),
      take: () => this.#workers.map((handle, worker) => {
        const otherNames = [...this.#owners].filter(([, owner]) => owner !== worker).map(([name]) => name)
        return handle.call<'add-disk'>({ kind: 'add-disk', disk: prepared, otherNames })
      }),
      release: () => this.#disks.release(prepared),
    })
    for (const [worker, handle] of this.#workers.entries()) {
      this.adopt(worker, (await handle.call<'report'>({ kind: 'report' })).volumes)
    }
    return this.#disk(option.path)
  }

  async #disk(path: string): Promise<Disk> {
    const disk = (await this.#report()).disks.find((candidate) => candidate.path === path)
    if (disk === undefined) throw new HoldfastError('disk-not-found', { disk: path })
    return disk
  }

  async #report(): Promise<{ volumes: VolumeStatus[]; disks: Disk[]; sessions: SessionReport[] }> {
    const reports = await Promise.all(this.#workers.map((worker) => worker.call<'report'>({ kind: 'report' })))
    return {
      volumes: reports.flatMap(({ volumes }) => volumes),
      sessions: reports.flatMap(({ sessions }) => sessions),
      disks: joinDisks(reports.flatMap(({ disks }) => disks)).map((disk) => ({ ...disk, node: this.#facts.name })),
    }
  }

  #view(status: VolumeStatus, sessions: SessionReport[]): Volume {
    const { name } = status.spec
    const frontends: Frontend[] = sessions.filter(({ volume }) => volume === name)
      .map(({ session }) => ({ node: this.#facts.name, session: String(session), generation: 0 }))
    return volumeView(status, { node: this.#facts.name, nbd: nbdUris(name, this.#facts), frontends })
  }

  #node(disks: Disk[]): Node {
    const { name, zone, instanceId } = this.#facts
    const { nodeId: id, ...facts } = processFacts(this.#facts, this.#workers.length)
    return { name, state: 'up', zone, disks, id, instanceId, ...facts, protocol: VERSION_GREATEST, isElected: true }
  }
}
