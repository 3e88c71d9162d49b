/**
 * D7: records of a volume on their way to its disks, committed in order of seq when they are there (V1): into the map,
 * then answered. A failed disk's records end with an error and leave a gap in the history, which recovery would take
 * for a torn tail: an epoch behind it says that what is below is settled, and nothing behind the gap is answered before
 * that is durable (the fence).
 */
import { NBD_ERRNO } from '../errors.ts'
import type { Append } from '../log/log-batch.ts'
import type { Done } from './block-device.ts'
import type { Target } from './block-reader.ts'

/** A request that was split: it is answered when all its records are. */
export interface Request {
  left: number
  errno: number
  done: Done
}

/** A record on its way; they commit in order of seq. */
export interface InFlight {
  seq: number
  target: Target
  append: Append | undefined
  ended: boolean
  ok: boolean
  request: Request | undefined
  /** Control records: what the commit does instead of changing the map. */
  commit: (() => void) | undefined
}

export interface CommitQueueOptions {
  nextSeq: number
  /** A record is lost: an epoch is to be recorded behind the gap, after `fenceNext`. */
  onGap(): void
  onCommitted(): void
}

const COMMITTED_MAX = 1024

export function partEnded(request: Request, errno: number): void {
  if (errno !== 0) request.errno = errno
  if (--request.left === 0) request.done(request.errno)
}

export class CommitQueue {
  commitSeq: number
  nextSeq: number
  private readonly o: CommitQueueOptions
  /** In order of seq; the first `head` are committed. */
  private readonly queue: InFlight[] = []
  private head = 0
  private waiters: Array<{ seq: number; run: () => void }> = []
  private committing = false
  /** Answers wait for the commit of this seq (0: none does), because a disk failed below it. */
  private fenceSeq = 0
  private readonly fenced: Request[] = []

  constructor(options: CommitQueueOptions) {
    this.o = options
    this.nextSeq = options.nextSeq
    this.commitSeq = options.nextSeq - 1
  }

  /** The seq that was given out last. */
  get lastSeq(): number {
    return this.nextSeq - 1
  }

  get isEmpty(): boolean {
    return this.head === this.queue.length
  }

  get isFenced(): boolean {
    return this.fenceSeq > 0
  }

  /** The record that is ordered next is the fence. */
  fenceNext(): void {
    this.fenceSeq = this.nextSeq
  }

  push(inFlight: InFlight): void {
    this.queue.push(inFlight)
  }

  ended(one: InFlight, ok: boolean, append: Append): void {
    one.ended = true
    one.ok = ok
    one.append = append
    this.commitReady()
  }

  whenCommitted(seq: number, run: () => void): void {
    if (this.commitSeq >= seq) run()
    else this.waiters.push({ seq, run })
  }

  /** Commit everything at the head of the queue that has ended; a failed disk's records end with an error. */
  private commitReady(): void {
    if (this.committing) return
    this.committing = true
    const { queue } = this
    while (this.head < queue.length && queue[this.head]!.ended) {
      const one = queue[this.head++]!
      if (one.ok) {
        if (one.commit !== undefined) {
          one.commit()
          one.target.stream.applied(one.append!.batch!)
        } else one.target.stream.applyAppend(one.target.map, one.append!)
        one.target.map.appliedSeq = one.seq
        one.target.map.changed = true
      }
      // A control record has one entry for each disk.
      if (queue[this.head]?.seq !== one.seq) this.commitSeq = one.seq
      if (!one.ok && one.commit === undefined) this.o.onGap()
      if (one.request === undefined) continue
      if (one.ok && one.seq < this.fenceSeq) this.fenced.push(one.request)
      else partEnded(one.request, one.ok ? 0 : NBD_ERRNO.EIO)
    }
    if (this.fenceSeq > 0 && this.commitSeq >= this.fenceSeq) {
      this.fenceSeq = 0
      for (const request of this.fenced.splice(0)) partEnded(request, 0)
    }
    if (this.head === queue.length) {
      this.commitSeq = this.lastSeq
      queue.length = 0
      this.head = 0
    } else if (this.head > COMMITTED_MAX) {
      queue.splice(0, this.head)
      this.head = 0
    }
    this.committing = false
    if (this.waiters.length > 0) {
      const ready = this.waiters.filter((waiter) => waiter.seq <= this.commitSeq)
      this.waiters = this.waiters.filter((waiter) => waiter.seq > this.commitSeq)
      for (const waiter of ready) waiter.run()
    }
    this.o.onCommitted()
  }
}
