/**
 * Another durability for a volume, at the elected controller. The volume's own log says which one is in force
 * (engine/replication/SPEC.md W10); its record in the cluster store follows, and is never ahead in what it promises:
 *
 *   to durable     settle the change with the primary -> the record says `durable`
 *   to writeback   the record says `writeback` -> settle the change with the primary
 *
 * So whoever finds `durable` in the record finds it in force, whatever became of a change that nobody ended: what is
 * in between promises what `writeback` does. Done is said only of what the primary has in force, under an epoch that it
 * was found to lead (SNAPSHOTS.md T2); anything else is an error, and the same may be asked again.
 */
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import type { Durability } from '../../engine/replication/record.ts'
import { tooOld } from './node-versions.ts'
import { lookAt, settle } from './settled-change.ts'
import type { Asked, SettlingOptions } from './settled-change.ts'
import type { VolumeWishes } from './volume-wishes.ts'

interface DurabilityControlOptions extends SettlingOptions {
  wishes: VolumeWishes
}

export class DurabilityControl {
  private readonly options: DurabilityControlOptions
  /** By volume, the last one that was asked for: they are carried out one after the other. */
  private readonly last = new Map<string, Promise<unknown>>()

  constructor(options: DurabilityControlOptions) {
    this.options = options
  }

  /**
   * @param write  the record with everything else that is changed with it
   * @returns the record when the volume has that durability
   * @throws HoldfastError `change-outcome` when it may be done yet; every other one says that it was not
   */
  async set(record: VolumeRecord, to: Durability, write: () => Promise<VolumeRecord>): Promise<VolumeRecord> {
    const { id } = record.spec
    const former = this.last.get(id)
    const own = Promise.resolve(former).then(() => this.change(record, to, write))
    const ended = own.catch(() => {})
    this.last.set(id, ended)
    try {
      return await own
    } finally {
      if (this.last.get(id) === ended) this.last.delete(id)
    }
  }

  private async change(
    record: VolumeRecord, to: Durability, write: () => Promise<VolumeRecord>,
  ): Promise<VolumeRecord> {
    const asked = askedOf(record)
    // Refused before anything is written.
    const judge = (now: Durability | ''): ReturnType<typeof tooOld> => {
      if (now === to || (now === '' && record.spec.durability === to)) return undefined
      const { beats } = this.options.controller.term() ?? { beats: new Map() }
      return tooOld(beats, 'another durability', record.spec.name)
    }
    const refused = judge((await lookAt(this.options, asked)).durability)
    if (refused !== undefined) throw refused
    if (to === 'writeback') await write()
    await settle<undefined>(this.options, asked, ({ durability: now }) => {
      const refusal = judge(now)
      if (refusal !== undefined) return { refused: refusal }
      // Where a node does not say it, none could have been changed.
      if (now === to || now === '') return { done: undefined }
      return { order: { operation: 'durability', to }, made: () => undefined }
    })
    return to === 'writeback' ? this.follow(record, asked, to) : this.follow(await write(), asked, to)
  }

  /** Somebody else may have changed it since: who wrote the record last looks last, and goes by the primary. */
  private async follow({ spec: { id } }: VolumeRecord, asked: Asked, settled: Durability): Promise<VolumeRecord> {
    for (let durability = settled; ;) {
      const now = (await lookAt(this.options, asked)).durability
      if (now !== '') durability = now
      let isNews = false
      const record = await this.options.wishes.update(id, (one) => {
        isNews = one.spec.durability !== durability
        return isNews ? { ...one, spec: { ...one.spec, durability } } : undefined
      })
      if (!isNews) return record
    }
  }
}

const askedOf = (record: VolumeRecord): Asked => {
  const query = () => ({ ids: [], names: [], after: { seq: 0, id: '' }, limit: 0 })
  return { record, what: 'the other durability', query }
}
