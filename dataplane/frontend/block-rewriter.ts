/**
 * The pass that writes blocks of former data keys anew (ENCRYPTION.md section 6), over the head of one attachment. It
 * reads as its clients do, and rewrites a block by a write of no bytes inside it: that is a narrow write, so a block
 * that somebody writes meanwhile is never undone (SPEC S4).
 *
 *   read a chunk -> blocks under former keys, some at a time -> wait, while clients ask something -> the next chunk
 *
 * Invariant: below `lba` no block was seen that is under a former data key and was not written anew, but for `damaged`.
 */
import { NBD_ERRNO } from '../../engine/errors.ts'
import type { ClockPort } from '../../engine/ports.ts'
import type { BlockVersion } from '../../engine/replication/record.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'

const CHUNK_BLOCKS = 32
const AT_ONCE = 8
/** While clients ask something it waits so many times as long as a chunk took, and at most for that long. */
const PAUSES = 3
const PAUSE_MS_MAX = 250

export interface RewritingFrontend {
  /** As it is by now. */
  sizeBytes(): number
  /** Nothing is served by it any more. */
  hasFailed(): boolean
  /** What its clients ask is not answered. */
  isBusy(): boolean
  look(lba: number, blockCount: number, seen: (errno: number, versions: readonly BlockVersion[]) => void): void
  isFormer(version: BlockVersion): boolean
  rewrite(lba: number, done: (errno: number) => void): void
}

export class BlockRewriter {
  /** Everything below was looked at. */
  lba = 0
  /** Of when it began, or less since a shrink. */
  endLba: number
  rewritten = 0
  /** Blocks that could not be read or written. */
  damaged = 0
  readonly #frontend: RewritingFrontend
  readonly #clock: Pick<ClockPort, 'nowMs' | 'after'>
  #isEnded = false

  constructor(frontend: RewritingFrontend, clock: Pick<ClockPort, 'nowMs' | 'after'>) {
    this.#frontend = frontend
    this.#clock = clock
    this.endLba = frontend.sizeBytes() / BLOCK_BYTES
    this.#next(CHUNK_BLOCKS)
  }

  /** Nothing is left to look at. */
  get hasEnded(): boolean {
    return this.lba >= this.endLba
  }

  get isDone(): boolean {
    return this.hasEnded && this.damaged === 0
  }

  end(): void {
    this.#isEnded = true
  }

  #next(blocksMost: number): void {
    if (this.#isEnded || this.#frontend.hasFailed()) return this.end()
    this.#noteSize()
    if (this.hasEnded) return
    const blockCount = Math.min(blocksMost, this.endLba - this.lba)
    const { lba } = this
    const beginMs = this.#clock.nowMs()
    this.#frontend.look(lba, blockCount, (errno, versions) => {
      if (this.#isEnded) return
      if (errno === NBD_ERRNO.ESHUTDOWN || this.#frontend.hasFailed()) return this.end()
      // One of them cannot be read: which, is found by looking at each.
      if (errno !== 0 && blockCount > 1) return this.#next(1)
      if (errno !== 0) this.#noteDamage(lba)
      // A primary that is not right may answer with others.
      const asked = versions.filter((one) => one.lba >= lba && one.lba < lba + blockCount)
      const former = errno === 0 ? asked.filter((one) => this.#frontend.isFormer(one)) : []
      this.#rewrite(former, () => {
        this.lba += blockCount
        const tookMs = this.#clock.nowMs() - beginMs
        const pauseMs = this.#frontend.isBusy() ? Math.min(PAUSES * tookMs, PAUSE_MS_MAX) : 0
        this.#clock.after(pauseMs, () => this.#next(CHUNK_BLOCKS))
      })
    })
  }

  /** What a shrink cut off is nobody's any more. */
  #noteSize(): void {
    this.endLba = Math.min(this.endLba, this.#frontend.sizeBytes() / BLOCK_BYTES)
  }

  #noteDamage(lba: number): void {
    this.#noteSize()
    if (lba < this.endLba) this.damaged++
  }

  #rewrite(former: readonly BlockVersion[], done: () => void): void {
    let next = 0
    let left = former.length
    if (left === 0) return done()
    const one = (): void => {
      const version = former[next++]
      if (version === undefined || this.#isEnded) return
      this.#frontend.rewrite(version.lba, (errno) => {
        if (errno === NBD_ERRNO.ESHUTDOWN || this.#frontend.hasFailed()) return this.end()
        if (errno === 0) this.rewritten++
        else this.#noteDamage(version.lba)
        if (--left === 0) done()
        else one()
      })
    }
    for (let i = 0; i < AT_ONCE; i++) one()
  }
}
