/**
 * Snapshots. The id of one follows from its volume and name, so that a call that is repeated after an unknown outcome
 * asks for the same snapshot. They are ready when they are answered.
 */
import { status } from '@grpc/grpc-js'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Snapshot } from '../../cluster/api/snapshot-messages.ts'
import { shown } from '../../cluster/api/names.ts'
import type {
  CreateSnapshotRequest, CsiSnapshot, ListSnapshotsRequest, SnapshotRequest, Timestamp,
} from '../messages.ts'
import { groupHandle, isVolumeId, ourName, parseSnapshotHandle, snapshotHandle, snapshotIdOf } from '../names.ts'
import { CsiRefusal, exists, invalid, notFound } from '../refusal.ts'
import { checkToken, pageLength } from './pages.ts'
import { checkSnapshotParameters } from './parameters.ts'
import { unless, volumeById } from './volumes.ts'

export const timestampOf = (ms: number): Timestamp =>
  ({ seconds: Math.floor(ms / 1000), nanos: Math.round((ms % 1000) * 1_000_000) })

/** Undefined: there is none, or it is foreign. */
export async function findSnapshot(api: ControlClient, text: string): Promise<Snapshot | undefined> {
  const handle = parseSnapshotHandle(text)
  if (handle === undefined) return undefined
  const { volumeId, snapshotId } = handle
  const asked = api.getSnapshot({ volume: volumeId, name: snapshotId })
  const found = await unless('volume-not-found', unless('snapshot-not-found', asked))
  // Of a former version one may be called like an id.
  return found?.id === snapshotId && found.volumeId === volumeId ? found : undefined
}

/** @throws CsiRefusal INVALID_ARGUMENT, NOT_FOUND */
export async function snapshotById(api: ControlClient, text: string): Promise<Snapshot> {
  if (text === '') throw invalid('the snapshot id is missing')
  const found = await findSnapshot(api, text)
  if (found !== undefined) return found
  throw notFound(`there is no snapshot ${shown(text)}; \`holdfast snapshot ls VOLUME\` shows what there is`)
}

export class SnapshotCalls {
  private readonly api: ControlClient
  private readonly names: RecentNames

  constructor(api: ControlClient) {
    this.api = api
    this.names = new RecentNames()
  }

  async create({ name: csiName, sourceVolumeId, parameters }: CreateSnapshotRequest): Promise<CsiSnapshot> {
    checkSnapshotParameters(parameters)
    const volume = await volumeById(this.api, sourceVolumeId)
    const name = ourName(csiName)
    const id = snapshotIdOf(volume.id, name)
    const other = this.names.get(csiName)
    if (other !== undefined && other !== volume.id && await this.isThere(other, name)) {
      throw exists(`there is a snapshot ${shown(csiName)} of volume ${other} already, not of volume ${volume.id}`)
    }
    const snapshot = await this.api.createSnapshot({ volume: volume.id, name, id, labels: {} })
    this.names.set(csiName, volume.id)
    return (await this.shown([snapshot]))[0]!
  }

  async delete({ snapshotId }: SnapshotRequest): Promise<object> {
    if (snapshotId === '') throw invalid('the snapshot id is missing')
    const found = await findSnapshot(this.api, snapshotId)
    if (found === undefined) return {}
    const { volumeId, id, name } = found
    await unless('volume-not-found', this.api.deleteSnapshot({ volume: volumeId, name, id }))
    return {}
  }

  async get({ snapshotId }: SnapshotRequest): Promise<CsiSnapshot> {
    return (await this.shown([await snapshotById(this.api, snapshotId)]))[0]!
  }

  /** Of one, of a volume, or of all. @throws CsiRefusal UNAVAILABLE: some could not be asked for */
  async list(
    { maxEntries, startingToken, sourceVolumeId, snapshotId }: ListSnapshotsRequest,
  ): Promise<{ entries: Array<{ snapshot: CsiSnapshot }>; nextToken: string }> {
    const limit = pageLength(maxEntries)
    checkToken(startingToken, (token) => (sourceVolumeId === '' ? TOKEN_OF_ALL : TOKEN).test(token))
    const { snapshots, next } = snapshotId === '' ? await this.page(sourceVolumeId, limit, startingToken)
      : { snapshots: await this.one(sourceVolumeId, snapshotId), next: '' }
    return { entries: (await this.shown(snapshots)).map((snapshot) => ({ snapshot })), nextToken: next }
  }

  private async one(sourceVolumeId: string, snapshotId: string): Promise<Snapshot[]> {
    const found = await findSnapshot(this.api, snapshotId)
    return found !== undefined && (sourceVolumeId === '' || found.volumeId === sourceVolumeId) ? [found] : []
  }

  private async page(volume: string, limit: number, after: string): Promise<{ snapshots: Snapshot[]; next: string }> {
    if (volume !== '' && !isVolumeId(volume)) return { snapshots: [], next: '' }
    const page = await unless('volume-not-found', this.api.listSnapshots({ volume, limit, after }))
    const { snapshots = [], next = '', unread = [] } = page ?? {}
    if (unread.length === 0) return { snapshots, next }
    throw new CsiRefusal(status.UNAVAILABLE, `snapshots of ${unread.length} volume(s) cannot be asked for now, e.g. of `
      + `${unread[0]}: \`holdfast explain ${unread[0]}\` shows what it waits for`)
  }

  private async isThere(volumeId: string, name: string): Promise<boolean> {
    const handle = snapshotHandle({ volumeId, snapshotId: snapshotIdOf(volumeId, name) })
    return await findSnapshot(this.api, handle) !== undefined
  }

  /** Each group is asked for once. */
  private async shown(snapshots: readonly Snapshot[]): Promise<CsiSnapshot[]> {
    const groups = new Map<string, string>()
    for (const name of new Set(snapshots.map(({ group }) => group))) {
      const found = name === '' ? undefined : await unless('group-not-found', this.api.getGroup({ name }))
      groups.set(name, found === undefined ? '' : groupHandle(found))
    }
    return snapshots.map(({ volumeId, id, sizeBytes, createdAtMs, group }) => ({
      sizeBytes,
      snapshotId: snapshotHandle({ volumeId, snapshotId: id }),
      sourceVolumeId: volumeId,
      creationTime: timestampOf(createdAtMs),
      readyToUse: true,
      groupSnapshotId: groups.get(group)!,
    }))
  }
}

/** Of a list of one volume, and of all. */
const TOKEN = /^\d{1,15}\.[0-9a-f]{1,64}$/
const TOKEN_OF_ALL = /^[0-9a-f]{32}\.\d{1,15}\.[0-9a-f]{1,64}$/

/**
 * A name is of one snapshot in the whole of Kubernetes, and of one in each volume here. Which volume a name was given
 * for is kept of the last ones: Kubernetes draws its names, so that only a slip asks for one twice.
 */
class RecentNames {
  private readonly volumes = new Map<string, string>()

  get(name: string): string | undefined {
    return this.volumes.get(name)
  }

  set(name: string, volumeId: string): void {
    this.volumes.delete(name)
    this.volumes.set(name, volumeId)
    if (this.volumes.size > RECENT_MAX) this.volumes.delete(this.volumes.keys().next().value!)
  }
}

const RECENT_MAX = 10_000
