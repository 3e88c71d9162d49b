/**
 * Which slabs the log of a copy still needs: a record counts as a user of the slab its payload lies in from the turn
 * in which it is accepted until the core has forgotten it. By then it is applied, so it is written on this node, and
 * nobody but frames on their way to peers, which count for themselves, refers to its bytes.
 *
 * Whatever takes records back (a cut, a filling, a log that is chosen anew) may leave some of them on their way to the
 * disk. Then everything counted so far stays counted for ever, which leaves those slabs to the garbage collector, and
 * what the log holds now is counted anew.
 */
import type { CopyState } from '../../engine/replication/copy.ts'
import { recordAt } from '../../engine/replication/record-window.ts'
import type { RecordWindow } from '../../engine/replication/record-window.ts'
import { blobsOf } from '../../engine/volume/copy-headers.ts'
import { slabOf } from '../slab-pool.ts'
import type { Slab } from '../slab-pool.ts'

/** Records up to `seq`, from the one behind the former run on, have one user of `slab` together. */
interface Run {
  slab: Slab
  seq: number
}

const DEAD_RUNS_MAX = 64

export class PayloadUses {
  #window: RecordWindow | undefined
  #drops = 0
  #nextSeq = 0
  #runs: Run[] = []
  #head = 0

  /** Some of the log's records are counted. */
  get isCounting(): boolean {
    return this.#head < this.#runs.length
  }

  /** Count what was accepted: before anybody else gives back what it came in. */
  take({ window, drops, tail }: CopyState['log']): void {
    if (window !== this.#window || drops !== this.#drops) {
      this.#window = window
      this.#drops = drops
      this.#nextSeq = window.firstSeq
      this.#runs = []
      this.#head = 0
    }
    for (let seq = Math.max(this.#nextSeq, window.firstSeq); seq <= tail; seq++) this.#use(window, seq)
    this.#nextSeq = tail + 1
  }

  #use(window: RecordWindow, seq: number): void {
    const record = recordAt(window, seq)
    const slab = record?.kind === 'write' ? slabOf(blobsOf(record.payload).bytes) : undefined
    if (slab === undefined) return
    const last = this.#runs[this.#runs.length - 1]
    if (this.#runs.length > this.#head && last!.slab === slab) {
      last!.seq = seq
      return
    }
    slab.users++
    this.#runs.push({ slab, seq })
  }

  /**
   * Give back what the log does not need any more: when all that was said about it in this turn has become frames.
   * @param storedSeq  all of the log up to there is written
   */
  letGo(log: CopyState['log'], storedSeq: number): void {
    this.take(log)
    const seq = Math.min(log.window.firstSeq - 1, storedSeq)
    const runs = this.#runs
    while (this.#head < runs.length && runs[this.#head]!.seq <= seq) {
      const { slab } = runs[this.#head++]!
      slab.home.release(slab)
    }
    if (this.#head === runs.length || this.#head > DEAD_RUNS_MAX) {
      this.#runs = runs.slice(this.#head)
      this.#head = 0
    }
  }
}
