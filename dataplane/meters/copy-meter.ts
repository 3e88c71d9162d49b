/**
 * What a copy that leads waits for, and how often its epoch changed: read off the positions of its machine when a turn
 * has stepped it, so that the machine itself knows nothing of it.
 *
 *   append     from being ordered to stored here: on stable storage, or written (`writeback`)
 *   replicate  from being ordered to stored on every other copy that is required
 *   commit     from being ordered to committed: the slower of both, or what an eviction took
 *
 * Each position only grows while the copy leads, and what it passes in a turn is observed with that turn's time.
 * Counted are the records of requests; a request above 128 KiB has several.
 */
import type { CopyState } from '../../engine/replication/copy-state.ts'
import { leads, progressOf } from '../../engine/replication/copy-state.ts'
import type { PrimaryState } from '../../engine/replication/primary-state.ts'
import { recordAt } from '../../engine/replication/record-window.ts'
import { LatencyHistogram } from './latency-histogram.ts'

const PLACES_FIRST = 64

export class CopyMeter {
  readonly append = new LatencyHistogram()
  readonly replicate = new LatencyHistogram()
  readonly commit = new LatencyHistogram()
  epochChanges = 0
  /** What could not be read as it was written, by disk. */
  readonly damagedReads = new Map<string, number>()
  #epoch: number | undefined
  /** In which term the positions below were taken. */
  #term: PrimaryState | undefined
  #orderedSeq = 0
  #appendedSeq = 0
  #replicatedSeq = 0
  #committedSeq = 0
  /** By seq modulo its length, a power of two: when it was ordered; NaN: not for a request. */
  #orderedMs = new Float64Array(PLACES_FIRST)

  damaged(diskUuid: string): void {
    this.damagedReads.set(diskUuid, (this.damagedReads.get(diskUuid) ?? 0) + 1)
  }

  /** A turn has stepped the copy. */
  note(state: CopyState, nowMs: number): void {
    const { primary, promise, log } = state
    if (!state.isRecovered) return
    const epoch = primary?.epoch ?? promise.epoch
    if (epoch !== this.#epoch) {
      if (this.#epoch !== undefined && epoch > this.#epoch) this.epochChanges++
      this.#epoch = epoch
    }
    if (primary === undefined || !leads(state.role) || state.role === 'reconciling') {
      this.#term = undefined
      return
    }
    if (this.#term !== primary) {
      this.#term = primary
      this.#orderedSeq = this.#appendedSeq = this.#replicatedSeq = this.#committedSeq = log.tail
      return
    }
    if (log.tail > this.#orderedSeq) this.#noteOrdered(state, nowMs)
    const stored = progressOf(state)
    if (stored > this.#appendedSeq) this.#appendedSeq = this.#passed(this.append, this.#appendedSeq, stored, nowMs)
    const elsewhere = storedElsewhere(primary, log.tail)
    if (elsewhere > this.#replicatedSeq) {
      // Without another copy that is required there is nothing to wait for, and nothing to tell.
      const isAlone = primary.required.length === 0
      this.#replicatedSeq = isAlone ? elsewhere : this.#passed(this.replicate, this.#replicatedSeq, elsewhere, nowMs)
    }
    const committed = log.commitSeq
    if (committed > this.#committedSeq) {
      this.#committedSeq = this.#passed(this.commit, this.#committedSeq, committed, nowMs)
    }
  }

  #noteOrdered({ log }: CopyState, nowMs: number): void {
    const lowest = Math.min(this.#appendedSeq, this.#replicatedSeq, this.#committedSeq)
    while (log.tail - lowest > this.#orderedMs.length) this.#grow(lowest)
    const places = this.#orderedMs
    for (let seq = this.#orderedSeq + 1; seq <= log.tail; seq++) {
      const isOfRequest = recordAt(log.window, seq)?.request !== undefined
      places[seq % places.length] = isOfRequest ? nowMs : Number.NaN
    }
    this.#orderedSeq = log.tail
  }

  #grow(lowest: number): void {
    const former = this.#orderedMs
    const places = new Float64Array(former.length * 2)
    for (let seq = lowest + 1; seq <= this.#orderedSeq; seq++) {
      places[seq % places.length] = former[seq % former.length]!
    }
    this.#orderedMs = places
  }

  /** @returns up to where it was observed */
  #passed(histogram: LatencyHistogram, from: number, to: number, nowMs: number): number {
    const places = this.#orderedMs
    const last = Math.min(to, this.#orderedSeq)
    for (let seq = from + 1; seq <= last; seq++) {
      const orderedMs = places[seq % places.length]!
      if (!Number.isNaN(orderedMs)) histogram.observe(nowMs - orderedMs)
    }
    return last
  }
}

function storedElsewhere({ required, peers }: PrimaryState, tail: number): number {
  let seq = tail
  for (const node of required) seq = Math.min(seq, peers.get(node)!.storedSeq)
  return seq
}
