/**
 * Another size for a volume, at the elected controller. The volume's own log says how large it is; its record in the
 * cluster store follows, and nodes offer clients what that says.
 *
 *   settle the change with the primary (SNAPSHOTS.md T1 to T4) -> the record says what the primary says
 *
 * An order names the last change of the volume that it was judged on, so one that is late does nothing: a volume that
 * was made smaller meanwhile is not made larger by it, nor the other way round.
 */
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { ResizeVolumeRequest } from '../api/volume-wish-messages.ts'
import { tooOld } from './node-versions.ts'
import { lookAt, settle } from './settled-change.ts'
import type { Asked, SettlingOptions } from './settled-change.ts'
import type { VolumeWishes } from './volume-wishes.ts'

interface SizeControlOptions extends SettlingOptions {
  wishes: VolumeWishes
}

export class SizeControl {
  private readonly options: SizeControlOptions

  constructor(options: SizeControlOptions) {
    this.options = options
  }

  /**
   * @returns the record with the size that the volume has then
   * @throws HoldfastError `volume-shrink` to less without force, `volume-occupied` when something lives beyond
   */
  async resize(record: VolumeRecord, { sizeBytes, force = false }: ResizeVolumeRequest): Promise<VolumeRecord> {
    const { name, sizeBytes: wished } = record.spec
    const tooSmall = (current: number) => new HoldfastError('volume-shrink', { name, current, size: sizeBytes })
    if (sizeBytes < wished && !force) throw tooSmall(wished)
    const asked = askedOf(record)
    await settle<undefined>(this.options, asked, ({ sizeBytes: now }) => {
      if (now === sizeBytes) return { done: undefined }
      if (now < sizeBytes) return { order: { operation: 'resize', sizeBytes }, made: () => undefined }
      if (!force) return { refused: tooSmall(now) }
      const old = tooOld(this.options.controller.term()?.beats ?? new Map(), 'shrinking', name)
      if (old !== undefined) return { refused: old }
      const onRefusal = ({ code }: HoldfastError): boolean => code === 'volume-occupied'
      return { order: { operation: 'shrink', sizeBytes }, made: () => undefined, onRefusal }
    })
    return this.follow(record, asked, sizeBytes)
  }

  /** Somebody else may have changed it since: who wrote the record last looks last, and goes by the primary. */
  private async follow({ spec: { id } }: VolumeRecord, asked: Asked, settled: number): Promise<VolumeRecord> {
    for (let sizeBytes = settled; ;) {
      let isNews = false
      const record = await this.options.wishes.update(id, (one) => {
        isNews = one.spec.sizeBytes !== sizeBytes
        return isNews ? { ...one, spec: { ...one.spec, sizeBytes } } : undefined
      })
      if (!isNews) return record
      sizeBytes = (await lookAt(this.options, asked)).sizeBytes
    }
  }
}

const askedOf = (record: VolumeRecord): Asked => {
  const query = () => ({ ids: [], names: [], after: { seq: 0, id: '' }, limit: 0 })
  return { record, what: 'the new size', query }
}
