/** What users ask of a volume's snapshots, at the elected controller (SNAPSHOTS.md). */
import type { VolumeSnapshot } from '../../engine/control/volume-snapshots.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import type {
  CreateSnapshotRequest, DeleteSnapshotRequest, ListSnapshotsRequest, Snapshot,
} from '../api/definition.ts'
import { shown } from '../api/names.ts'
import { checkLabels, checkPage, checkPageToken, checkSnapshotId, checkSnapshotName, pageToken } from
  '../api/snapshot-request.ts'
import { lookAt, settle } from './settled-change.ts'
import type { Asked, SettlingOptions } from './settled-change.ts'
import type { VolumeWishes } from './volume-wishes.ts'

/** Of the descriptions of all snapshots of a volume: a filling tells them in one message. */
const DESCRIPTIONS_BYTES_MAX = 2 * MIB

const NOWHERE = { after: { seq: 0, id: '' }, limit: 0 }

interface SnapshotControlOptions extends SettlingOptions {
  wishes: VolumeWishes
}

const view = (volume: string, snapshot: VolumeSnapshot): Snapshot => ({ volume, ...snapshot })

export class SnapshotControl {
  private readonly options: SnapshotControlOptions

  constructor(options: SnapshotControlOptions) {
    this.options = options
  }

  async create({ volume, name, labels, id }: CreateSnapshotRequest): Promise<Snapshot> {
    checkSnapshotName(name)
    checkLabels(labels)
    checkSnapshotId(id)
    const title = { name, createdAtMs: Date.now(), labels }
    const asked = await this.asked(volume, `snapshot ${name}`, () => ({ ids: [id], names: [name] }))
    return settle(this.options, asked, ({ snapshots, sizeBytes, count, bytes }) => {
      const own = snapshots.find((one) => one.id === id)
      if (own !== undefined) return { done: view(volume, own) }
      if (snapshots.length > 0) return { refused: new HoldfastError('snapshot-exists', { volume, snapshot: name }) }
      const made = (seq: number) => view(volume, { id, seq, sizeBytes, ...title })
      // A little more than it takes.
      if (bytes + JSON.stringify(made(2 ** 48)).length > DESCRIPTIONS_BYTES_MAX) {
        return { refused: new HoldfastError('snapshot-limit', { volume, count }) }
      }
      return { order: { operation: 'snapshot', id, title }, made }
    })
  }

  async list({ volume, limit, after }: ListSnapshotsRequest): Promise<{ snapshots: Snapshot[]; next: string }> {
    const most = checkPage(limit)
    const page = { after: checkPageToken(after), limit: most + 1 }
    const asked = await this.asked(volume, 'a list', () => ({ ids: [], names: [] }), page)
    const { snapshots } = await lookAt(this.options, asked)
    const shownNow = snapshots.slice(0, most)
    const next = snapshots.length > most ? pageToken(shownNow.at(-1)!) : ''
    return { snapshots: shownNow.map((one) => view(volume, one)), next }
  }

  async get({ volume, name }: { volume: string; name: string }): Promise<Snapshot> {
    const asked = await this.asked(volume, 'a list', () => ({ ids: [], names: [name] }))
    const [found] = (await lookAt(this.options, asked)).snapshots
    if (found === undefined) throw missing(volume, name)
    return view(volume, found)
  }

  async delete({ volume, name, id: given }: DeleteSnapshotRequest): Promise<object> {
    if (given !== '') checkSnapshotId(given)
    let id = given
    const which = () => (id === '' ? { ids: [], names: [name] } : { ids: [id], names: [] })
    const asked = await this.asked(volume, `the deletion of snapshot ${name}`, which)
    return settle<object>(this.options, asked, ({ snapshots: [found] }) => {
      if (found === undefined) return id === '' ? { refused: missing(volume, name) } : { done: {} }
      id = found.id
      return { order: { operation: 'snapshot-delete', id }, made: () => ({}) }
    })
  }

  /** @throws HoldfastError `volume-not-found` */
  private async asked(
    volume: string, what: string, which: () => { ids: string[]; names: string[] }, page = NOWHERE,
  ): Promise<Asked> {
    const record = await this.options.wishes.find(volume)
    return { record, what, query: () => ({ ...which(), ...page }) }
  }
}

const missing = (volume: string, name: string): HoldfastError =>
  new HoldfastError('snapshot-not-found', { volume, snapshot: shown(name) })
