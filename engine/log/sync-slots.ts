/**
 * The syncs of a log, at most `syncsMax` at a time, and who waits for them. Syncs count in the order they were issued:
 * a later one that ends first proves nothing alone, because an error is reported to one of them only.
 */
import type { DiskPort } from '../ports.ts'

export interface SyncSlotsOptions {
  disk: DiskPort
  syncsMax: number
  durableBatch: number
  onEnded(): void
  onFailed(): void
}

interface Waiter {
  batch: number
  frames: number
  done: (ok: boolean) => void
}

export class SyncSlots {
  /** Every batch up to this one is durable. */
  durableBatch: number
  /** Bytes written and covered by no sync that ended. */
  dirtyBytes = 0
  /** Headers and seals: issued, not yet written, and how many of the issued are durable. */
  frames = 0
  framesUnderWay = 0
  private framesDurable = 0
  private readonly o: SyncSlotsOptions
  private readonly running: Array<{ target: number; frames: number; bytes: number; ended: boolean }> = []
  private waiters: Waiter[] = []
  private closed = false

  constructor(options: SyncSlotsOptions) {
    this.o = options
    this.durableBatch = options.durableBatch
  }

  get isFull(): boolean {
    return this.running.length >= this.o.syncsMax
  }

  get isIdle(): boolean {
    return this.running.length === 0
  }

  /** Durable, or covered by a sync that runs. */
  get coveredBatch(): number {
    return this.running.at(-1)?.target ?? this.durableBatch
  }

  private get coveredFrames(): number {
    return this.running.at(-1)?.frames ?? this.framesDurable
  }

  /** Whether everything up to this batch and all frames are durable. */
  isClean(batch: number): boolean {
    return this.durableBatch >= batch && this.framesDurable >= this.frames
  }

  /** Whether a sync now would cover anything that no running one covers. */
  coversMore(writtenBatch: number): boolean {
    return writtenBatch > this.coveredBatch || (this.framesUnderWay === 0 && this.frames > this.coveredFrames)
  }

  /** `done` when this batch, and the frames that are issued now, are durable. */
  wait(batch: number, done: (ok: boolean) => void): void {
    this.waiters.push({ batch, frames: this.frames, done })
  }

  /** Whether somebody waits for what a sync now would cover. */
  isWaitedFor(writtenBatch: number): boolean {
    const { coveredBatch, coveredFrames } = this
    for (const { batch, frames } of this.waiters)
      if (batch <= writtenBatch && (batch > coveredBatch || frames > coveredFrames)) return true
    return false
  }

  start(writtenBatch: number): void {
    const frames = this.framesUnderWay === 0 ? this.frames : this.coveredFrames
    const sync = { target: writtenBatch, frames, bytes: this.dirtyBytes, ended: false }
    this.running.push(sync)
    this.o.disk.sync((ok) => {
      if (!ok) return this.o.onFailed()
      if (this.closed) return
      sync.ended = true
      while (this.running[0]?.ended === true) {
        const ended = this.running.shift()!
        this.durableBatch = ended.target
        this.framesDurable = ended.frames
        this.dirtyBytes = Math.max(0, this.dirtyBytes - ended.bytes)
        for (const later of this.running) later.bytes = Math.max(0, later.bytes - ended.bytes)
      }
      this.o.onEnded()
    })
  }

  answerWaiters(): void {
    if (this.waiters.length === 0) return
    const isReady = (waiter: Waiter): boolean =>
      waiter.batch <= this.durableBatch && waiter.frames <= this.framesDurable
    const ready = this.waiters.filter(isReady)
    if (ready.length === 0) return
    this.waiters = this.waiters.filter((waiter) => !isReady(waiter))
    for (const waiter of ready) waiter.done(true)
  }

  /** The log failed: nothing becomes durable any more (I14). Who waited is to be told so. */
  close(): Array<(ok: boolean) => void> {
    this.closed = true
    return this.waiters.splice(0).map(({ done }) => done)
  }
}
