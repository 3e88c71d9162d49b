/**
 * When what describes the segments of a worker's disks is looked at (engine/log/structure-check.ts), and what becomes
 * of what is found: as often as copies are scrubbed deep, and with a deep scrub that a user asks for.
 *
 *   a deep scrub that reads a segment   looks at its headers along the way, when that was not done for half as long
 *   what no scrub came by               is looked at by itself, behind them
 *
 * What is damaged is counted and said in the log, and what is live in its segment is moved elsewhere (FORMAT.md section
 * 6), so that it is given back, and the log is whole again.
 *
 * All is of this process: a check reads headers alone, and after a restart it is made again.
 */
import type { Pace } from '../../engine/log/medium-pace.ts'
import {
  checkSegment, isCheckable, type StructureDamage, type StructureWatch,
} from '../../engine/log/structure-check.ts'
import type { StoreStream } from '../../engine/log/store-stream.ts'
import type { LogPort } from '../../engine/ports.ts'
import type { Task } from '../../engine/task.ts'

/** Not before the process has run for so long. */
const FIRST_MS = 3_600_000

export interface StructureChecksOptions {
  streams(): readonly StoreStream[]
  /** From one to the next; 0: only when they are asked for. */
  everyMs: number
  /** Milliseconds since 1970. */
  wallMs(): number
  /** Move what is live in it elsewhere. */
  empty(stream: StoreStream, segment: number): void
  /** Once for each. */
  onDamage(diskUuid: string, damage: StructureDamage): void
  log: LogPort
}

interface Known {
  /** When what no scrub came by is due. */
  dueAtMs: number
  askedAtMs: number
  /** By segment: when it was looked at last, and under which generation. */
  lookedAtMs: Float64Array
  generation: Uint32Array
  found: Set<string>
}

export class StructureChecks implements StructureWatch {
  readonly #o: StructureChecksOptions
  readonly #known = new Map<StoreStream, Known>()

  constructor(options: StructureChecksOptions) {
    this.#o = options
  }

  /** All segments of these streams are to be looked at, now or as soon as what runs has ended. */
  ask(streams: readonly StoreStream[]): void {
    for (const stream of streams) Object.assign(this.#of(stream), { dueAtMs: 0, askedAtMs: this.#o.wallMs() })
  }

  isWanted(stream: StoreStream, segment: number): boolean {
    if (!isCheckable(stream, segment)) return false
    const { askedAtMs, lookedAtMs, generation } = this.#of(stream)
    const { everyMs, wallMs } = this.#o
    if (everyMs === 0 && askedAtMs === 0) return false
    const nowMs = wallMs()
    const sinceMs = everyMs === 0 ? askedAtMs : Math.max(askedAtMs, nowMs - everyMs / 2)
    const atMs = lookedAtMs[segment]!
    return generation[segment] !== stream.segments.generation[segment] || atMs < sinceMs || atMs > nowMs
  }

  looked(stream: StoreStream, segment: number, damages: readonly StructureDamage[]): void {
    const known = this.#of(stream)
    known.lookedAtMs[segment] = this.#o.wallMs()
    known.generation[segment] = stream.segments.generation[segment]!
    for (const damage of damages) this.#found(stream, known, damage)
  }

  /** The one whose time has come. */
  next(): StoreStream | undefined {
    const nowMs = this.#o.wallMs()
    const streams = this.#o.streams()
    for (const stream of this.#known.keys()) if (!streams.includes(stream)) this.#known.delete(stream)
    return streams.find((stream) => !stream.failed && this.#of(stream).dueAtMs <= nowMs)
  }

  /** Look at all of its segments that no scrub came by. False: it was ended before, and goes on another time. */
  *task(stream: StoreStream, pace: Pace): Task<boolean> {
    const known = this.#of(stream)
    const { askedAtMs } = known
    for (let segment = 0; segment < stream.segments.count; segment++) {
      if (!this.isWanted(stream, segment)) continue
      const damages = yield* checkSegment(stream, segment, pace)
      if (damages === undefined) return false
      this.looked(stream, segment, damages)
    }
    const { everyMs, wallMs } = this.#o
    if (known.askedAtMs === askedAtMs) known.dueAtMs = everyMs === 0 ? Infinity : wallMs() + everyMs
    return true
  }

  /** By disk: what was found damaged since this process began. */
  counts(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const [{ context: { diskUuid } }, { found }] of this.#known)
      counts.set(diskUuid, (counts.get(diskUuid) ?? 0) + found.size)
    return counts
  }

  #of(stream: StoreStream): Known {
    let known = this.#known.get(stream)
    if (known === undefined) {
      const { everyMs, wallMs } = this.#o
      const { count } = stream.segments
      known = {
        dueAtMs: everyMs === 0 ? Infinity : wallMs() + Math.min(FIRST_MS, everyMs), askedAtMs: 0,
        lookedAtMs: new Float64Array(count), generation: new Uint32Array(count), found: new Set(),
      }
      this.#known.set(stream, known)
    }
    return known
  }

  #found(stream: StoreStream, { found }: Known, damage: StructureDamage): void {
    const { segment, block, what } = damage
    const { diskUuid } = stream.context
    this.#o.empty(stream, segment)
    const key = `${segment} ${stream.segments.generation[segment]} ${block}`
    if (found.has(key)) return
    found.add(key)
    this.#o.onDamage(diskUuid, damage)
    const message = 'a structure of a disk is damaged: the blocks of its segment are moved elsewhere'
    this.#o.log.event('error', message, { disk: diskUuid, segment, block, what })
  }
}
