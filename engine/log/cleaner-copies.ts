/**
 * The copies that one job of the cleaner makes: gathered while it looks, appended together, and counted until the map
 * points at them.
 */
import { runTask, until, type Task } from '../task.ts'
import { UNITS_PER_BLOCK } from '../units.ts'
import type { Victim } from './cleaner-window.ts'
import type { Append } from './log-batch.ts'
import { RECORD_KIND, type RecordHeader } from './record.ts'
import type { StoreStream } from './store-stream.ts'
import type { VolumeMap } from './volume-map.ts'

/** Times `pendingMax`: so many changes of older versions may wait while a checkpoint is under way. */
const CHANGES_FACTOR_MOST = 4

export class CleanerCopies implements Victim {
  readonly stream: StoreStream
  readonly segment: number
  readonly generation: number
  /** Found and not yet appended. */
  private gathered: Append[] = []
  private outstanding = 0
  private waiting: (() => void) | undefined
  /** Least bornBatch of all that were made: they may not be in a batch, and so in the segment table, yet. */
  leastBorn = Infinity
  /** Some copy could not be applied: the index cannot be read. */
  unapplied = false
  /** Something was read and is not what was written. */
  damaged = false
  /** A copy would have had to wait for a free segment. */
  noRoom = false

  constructor({ stream, segment, generation }: Victim) {
    this.stream = stream
    this.segment = segment
    this.generation = generation
  }

  get gatheredCount(): number {
    return this.gathered.length
  }

  /**
   * Gather a copy, to be appended with others.
   * @param apply  points the map at the copy when it is written. A checkpoint syncs it before the victim goes.
   */
  append(
    record: RecordHeader,
    payload: readonly Uint8Array[],
    payloadUnits: number,
    apply: (append: Append) => Task<boolean> | undefined,
  ): void {
    this.gathered.push({
      record,
      payload,
      payloadUnits,
      durable: false,
      segment: 0,
      units: 0,
      batch: undefined,
      mapOnly: record.kind === RECORD_KIND.write,
      done: (ok, append) => {
        const task = ok ? apply(append) : undefined
        if (task === undefined) {
          if (ok) this.stream.applied(append.batch!)
          this.ended()
          return
        }
        runTask(task, (applied) => {
          if (!applied) this.unapplied = true
          this.stream.applied(append.batch!)
          this.ended()
        })
      },
    })
  }

  /**
   * Append what was found in one turn, so that it shares its batches: finding it waited for pages now and then, and a
   * batch for every record would cost a header block each, more than cleaning wins.
   */
  private appendAll(): void {
    const { log } = this.stream
    let units = 0
    for (const { payloadUnits } of this.gathered) units += payloadUnits
    const blocks = Math.ceil(units / UNITS_PER_BLOCK) + 2 + Math.ceil(this.gathered.length / 32)
    if (this.stream.freeSegments === 0 && log.openBlocksLeft < log.queuedBlocks + blocks)
      this.noRoom = this.gathered.length > 0
    const gathered = this.gathered
    this.gathered = []
    if (this.noRoom) return
    this.outstanding += gathered.length
    for (const append of gathered) this.stream.append(append)
  }

  /** Append what was gathered, and wait until it is applied. False: there was no room. */
  *flush(): Task<boolean> {
    this.appendAll()
    if (this.outstanding === 0) yield* this.endTurn()
    yield* until<void>((resume) => {
      if (this.outstanding === 0) resume()
      else this.waiting = resume
    })
    yield* this.relieve()
    return !this.noRoom
  }

  /** What the copies changed waits in memory for a checkpoint. One is made meanwhile, until too much waits. */
  private *relieve(): Task<void> {
    const { stream } = this
    const { map, context } = stream
    if (stream.wantsCheckpoint && !stream.isCheckpointing) stream.makeCheckpoint(() => {})
    if (map.historyTally.changes < CHANGES_FACTOR_MOST * context.pendingMax) return
    yield* until<void>((resume) => map.loads.whenCommitted(() => resume()))
  }

  /** What is in memory is read at once: without an end, a turn would be as long as the segment. */
  *endTurn(): Task<void> {
    yield* until<void>((resume) => this.stream.context.clock.defer(() => resume()))
  }

  /** Write a body of a copy that says what was applied. False: there was no room. */
  *writeBody({ copy }: VolumeMap): Task<boolean> {
    let hasRoom = false
    yield* until<void>((resume) => {
      hasRoom = copy!.writeHint(resume)
      if (!hasRoom) resume()
    })
    if (!hasRoom) this.noRoom = true
    return hasRoom
  }

  /** A live block is not what was written, or cannot be read: the segment stays. */
  isDamaged(volume: VolumeMap, version: { lba: number; epoch: number; seq: number }): void {
    // A copy's version comes from another one; then the segment is looked at again.
    if (volume.copy === undefined) this.damaged = true
    else this.unapplied = true
    volume.copy?.onDamaged(version)
    this.stream.context.log.event('error', 'a live block fails its checksum', {
      volume: volume.descriptor.spec.name,
      lba: version.lba,
      disk: this.stream.context.diskUuid,
      segment: this.segment,
    })
  }

  private ended(): void {
    this.outstanding--
    if (this.outstanding > 0 || this.waiting === undefined) return
    const resume = this.waiting
    this.waiting = undefined
    resume()
  }
}
