/**
 * What a deep scrub gathered (scrub-places.ts), read from the medium segment by segment in the order of the log, and
 * verified (engine/replication/SCRUB.md Q6). Where a segment's structures have to be looked at, too (Q15), their
 * headers are read with the blocks that lie beside them: one pass, in which only what lies alone is read alone.
 *
 * Memory: three reads, what does not fit (64 and what three reads bring), the headers of a segment or two.
 */
import { epochOf, seqOf } from '../log/entry.ts'
import { GAP_BLOCKS, READ_BLOCKS, type Pace } from '../log/medium-pace.ts'
import { isCheckable, SegmentStructures, type HeaderPlace, type StructureWatch } from '../log/structure-check.ts'
import type { DamagedId, VersionId } from '../replication/record.ts'
import { until, type Task } from '../task.ts'
import { BLOCK_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import type { CopyReading } from './copy-reader.ts'
import { endBlockOf, firstBlockOf, isOver, isWhole, lookAgain, readRun, type BlockRun } from './medium-blocks.ts'
import { STRETCH_BLOCKS, type PlaceRow, type PlaceTable } from './scrub-places.ts'

/** Small blobs are many in one read; so many are verified in one turn. */
const READ_ENTRIES = 1024
/** Some are verified while others are read: asked for one thing at a time a disk gives half of what it can. */
const READS_UNDER_WAY = 3
/** So many that do not fit are looked at again before more is read. */
const SUSPECTS_MOST = 64

export interface ReadSteps {
  pace: Pace
  /** Unset: structures are not looked at. */
  structures?: StructureWatch
  /** So many blocks more were looked at: for who watches, not noted yet. */
  looked?(blocks: number): void
  /** Blocks could not be read twice, do not fit their checksum, or are marks. It may take its time. */
  damaged(ids: readonly DamagedId[]): Task<void>
  /** Whether it is time to say how far it came. */
  isDue(): boolean
  /** All in front of the segment is done, so many blocks since the last time. */
  reached(segment: number, blocks: number): Task<void>
}

/** The structures of a segment, while it is read. */
interface Look {
  structures: SegmentStructures
  suspects: HeaderPlace[]
  readsLeft: number
  /** All its reads were begun. */
  isBegun: boolean
}

/** Of a stretch. */
interface Unread {
  slots: readonly number[]
  at: number
  headers: readonly HeaderPlace[]
  next: number
  headersEnd: number
}

/** What one read is to bring. */
interface Wanted extends BlockRun {
  slots: readonly number[]
  headers: readonly HeaderPlace[]
}

export class PlaceReads {
  private readonly o: CopyReading
  private readonly target: Target
  private readonly table: PlaceTable
  private readonly steps: ReadSteps
  private underWay = 0
  private onEnded: (() => void) | undefined
  /** They do not fit at the first look. */
  private suspects: VersionId[] = []
  private looks: Look[] = []
  /** Looked at and not told yet, in segments that are done, and in the one that is not. */
  private blocks = 0
  private blocksHere = 0

  constructor(o: CopyReading, target: Target, table: PlaceTable, steps: ReadSteps) {
    this.o = o
    this.target = target
    this.table = table
    this.steps = steps
  }

  /**
   * Read what is in the table, and empty it. False: it cannot go on, or was told not to.
   * @param what  `part`: of a segment there may be more to come
   */
  *all(what: 'whole' | 'part'): Task<boolean> {
    for (const row of this.table.inOrder()) {
      if (what === 'whole' && this.steps.isDue() && !(yield* this.tell(row.segment))) return this.left()
      const goesOn = yield* this.segment(row)
      if (!goesOn) {
        yield* this.ended(1)
        // What was looked at is not looked at again, unless somebody would have to be waited for.
        if (what === 'whole' && this.suspects.length === 0 && !isOver(this.target)) yield* this.tell(row.segment)
        return this.left()
      }
      this.blocks += this.blocksHere
      this.blocksHere = 0
    }
    this.table.clear()
    return ((yield* this.settle()) && (yield* this.endLooks())) || this.left()
  }

  takeBlocks(): number {
    const { blocks } = this
    this.blocks = 0
    return blocks
  }

  /** Structures that were not looked at to their end are looked at another time. */
  private left(): false {
    for (const { structures } of this.looks) structures.close()
    this.looks = []
    return false
  }

  private *segment(row: PlaceRow): Task<boolean> {
    const { target, table, steps } = this
    if (this.isGone(row)) return true
    const look = this.lookAt(row)
    if (look !== undefined && !(yield* look.structures.open())) return false
    const headers = look?.structures.headers ?? []
    const last = row.newest.length - 1
    let next = 0
    for (let stretch = 0; stretch <= last; stretch++) {
      let headersEnd = next
      const endBlock = stretch === last ? Infinity : (stretch + 1) * STRETCH_BLOCKS
      while (headersEnd < headers.length && headers[headersEnd]!.startBlock < endBlock) headersEnd++
      const slots = row.newest[stretch] === 0 ? [] : table.slots(row, stretch)
      for (let at = 0; at < slots.length || next < headersEnd;) {
        if (look === undefined && this.isGone(row)) return true
        const wanted = this.wantedFrom(row.segment, { slots, at, headers, next, headersEnd })
        if (!(yield* steps.pace.wait(wanted.blocks * BLOCK_BYTES)) || isOver(target)) return false
        this.read(wanted, look)
        at += wanted.slots.length
        next += wanted.headers.length
        yield* this.ended(READS_UNDER_WAY)
        if (this.suspects.length >= SUSPECTS_MOST && !(yield* this.settle())) return false
        if (!(yield* this.endLooks())) return false
      }
    }
    if (look !== undefined) look.isBegun = true
    return true
  }

  private lookAt({ segment }: PlaceRow): Look | undefined {
    const { steps: { structures, pace }, target: { stream } } = this
    if (structures?.isWanted(stream, segment) !== true || !isCheckable(stream, segment)) return undefined
    const look = {
      structures: new SegmentStructures(stream, segment, pace), suspects: [], readsLeft: 0, isBegun: false,
    }
    this.looks.push(look)
    return look
  }

  /** Nothing of what was found there lies there now: it was moved, which verified it, or no view shows it. */
  private isGone({ segment, generation }: PlaceRow): boolean {
    const { segments } = this.target.stream
    return segments.generation[segment] !== generation || segments.live[segment] === 0
  }

  /** Slots from `at` on and headers from `next` on, as many as one read brings; both are in the order of place. */
  private wantedFrom(segment: number, from: Unread): Wanted {
    const { table } = this
    const { slots, headers, headersEnd } = from
    const most = Math.min(READ_BLOCKS, this.steps.pace.blocksMost())
    let { at, next } = from
    let firstBlock = -1
    let endBlock = 0
    for (let count = 0; count < READ_ENTRIES && (at < slots.length || next < headersEnd); count++) {
      const slot = slots[at]
      const header = next < headersEnd ? headers[next] : undefined
      const slotFirst = slot === undefined ? Infinity : firstBlockOf(table.words(slot), table.at(slot))
      const isHeader = header !== undefined && header.startBlock <= slotFirst
      const first = isHeader ? header.startBlock : slotFirst
      const end = isHeader ? first + header.blocks : endBlockOf(table.words(slot!), table.at(slot!))
      if (firstBlock < 0) firstBlock = first
      else if (first > endBlock + GAP_BLOCKS || end - firstBlock > most) break
      endBlock = Math.max(endBlock, end)
      if (isHeader) next++
      else at++
    }
    return {
      segment, firstBlock, blocks: endBlock - firstBlock, slots: slots.slice(from.at, at),
      headers: headers.slice(from.next, next),
    }
  }

  private read(wanted: Wanted, look: Look | undefined): void {
    const { o, table, steps } = this
    const { slots, headers, firstBlock } = wanted
    this.underWay++
    this.blocksHere += slots.length
    if (look !== undefined) look.readsLeft++
    readRun(this.target, wanted, (bytes) => {
      this.underWay--
      for (const slot of slots) {
        const words = table.words(slot)
        const at = table.at(slot)
        const lba = table.lba(slot)
        if (bytes !== undefined && isWhole(o, { lba, words, at }, firstBlock, bytes)) continue
        this.suspects.push({ lba, epoch: epochOf(words, at), seq: seqOf(words, at) })
      }
      if (look !== undefined) {
        look.readsLeft--
        const isThere = (header: HeaderPlace): boolean =>
          bytes !== undefined &&
          look.structures.isWhole(header, bytes.subarray((header.startBlock - firstBlock) * BLOCK_BYTES))
        for (const header of headers) if (!isThere(header)) look.suspects.push(header)
      }
      steps.looked?.(slots.length)
      const resume = this.onEnded
      this.onEnded = undefined
      resume?.()
    })
  }

  /** Until fewer than `most` reads are under way. */
  private *ended(most: number): Task<void> {
    while (this.underWay >= most) yield* until<void>((resume) => (this.onEnded = resume))
  }

  /** Look again at headers that did not fit, of segments that were read, and tell what is damaged. */
  private *endLooks(): Task<boolean> {
    for (let first = this.looks[0]; first?.isBegun === true && first.readsLeft === 0; first = this.looks[0]) {
      if (!(yield* first.structures.lookAgain(first.suspects))) return false
      this.looks.shift()
      first.structures.close()
      this.steps.structures!.looked(this.target.stream, first.structures.segment, first.structures.damages)
    }
    return true
  }

  /** Look again at what did not fit, and tell what is damaged. */
  private *settle(): Task<boolean> {
    const { o, target, steps } = this
    yield* this.ended(1)
    const { suspects } = this
    this.suspects = []
    const damaged: DamagedId[] = []
    for (const id of suspects) {
      if (!(yield* steps.pace.wait(BLOCK_BYTES))) {
        // None of them is told: what lies in front of them is not done.
        this.suspects = suspects
        return false
      }
      const found = yield* lookAgain(o, target, id)
      if (found === 'damaged') damaged.push(id)
      else if (found === 'marked') damaged.push({ ...id, isMark: true })
    }
    if (isOver(target)) return false
    if (damaged.length > 0) yield* steps.damaged(damaged)
    return true
  }

  /** All in front of the segment is done. */
  private *tell(segment: number): Task<boolean> {
    if (!(yield* this.settle())) return false
    yield* this.steps.reached(segment, this.takeBlocks())
    return true
  }
}
