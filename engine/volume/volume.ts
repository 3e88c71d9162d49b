/**
 * One volume on this node: the data path between a frontend and the streams (D2 to D8 with one copy).
 *
 *   write -> admitted (space? locks?) -> split into records, each with its seq -> appended to the stream of its slice
 *         -> durable (or written) -> committed in order of seq -> in the map -> answered
 *
 * Invariants
 * - V1 seqs are given out without gaps and committed in order: what is acknowledged has everything before it durable,
 *   also when the slices lie on several disks (L1: after a crash the state is a prefix).
 * - V2 a read sees committed records only.
 * - V3 a block under read-modify-write is not written by anyone else between its read and its place in the log.
 */
import { NBD_ERRNO } from '../errors.ts'
import { RECORD_KIND } from '../log/record.ts'
import type { StoreStream } from '../log/store-stream.ts'
import type { ClockPort, LogPort } from '../ports.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS, UNITS_PER_BLOCK } from '../units.ts'
import type { BlockDevice, Done, Extent } from './block-device.ts'
import { BlockReader, type Target } from './block-reader.ts'
import { blockStatus } from './block-status.ts'
import { partEnded, type CommitQueue, type Request } from './commit-queue.ts'
import type { VolumeDescriptor } from './descriptor.ts'
import { HeldRequests, roomFor } from './held-requests.ts'
import { RangeLocks } from './range-locks.ts'
import { usageOf } from './usage.ts'
import { VolumeHistory, type VolumeHistoryOptions } from './volume-history.ts'
import type { VolumeStatus } from './volume-spec.ts'

export interface VolumeOptions extends VolumeHistoryOptions {
  clock: ClockPort
  log: LogPort
}

export class Volume implements BlockDevice {
  readonly description: string
  readonly readOnly = false
  checksumErrors = 0
  private readonly history: VolumeHistory
  private readonly commits: CommitQueue
  private readonly o: VolumeOptions
  private readonly reader: BlockReader
  private readonly locks = new RangeLocks()
  private readonly held: HeldRequests
  private closed = false
  private lastDamage = ''

  constructor(options: VolumeOptions) {
    this.o = options
    this.history = new VolumeHistory(options)
    this.commits = this.history.commits
    this.held = new HeldRequests({
      clock: options.clock,
      ioTimeoutMs: () => this.descriptor.spec.ioTimeoutMs,
      onShort: (stream) => options.onWork(stream),
    })
    this.description = `Holdfast volume ${options.descriptor.spec.name}`
    this.reader = new BlockReader({
      crc32c: options.crc32c,
      tag: this.history.tag,
      target: (slice) => this.history.target(slice),
      onDamage: (lba, target, reason) => this.noteDamage(lba, target, reason),
    })
  }

  get sizeBytes(): number {
    return this.descriptor.spec.sizeBytes
  }

  get blockSizeBytes(): number {
    return this.descriptor.spec.blockSizeBytes
  }

  get commitSeq(): number {
    return this.commits.commitSeq
  }

  get descriptor(): VolumeDescriptor {
    return this.history.descriptor
  }

  get targets(): readonly Target[] {
    return this.history.targets
  }

  // --- reads -------------------------------------------------------------------------------------------------------

  read(offsetBytes: number, into: Uint8Array, done: Done): void {
    const inFirst = offsetBytes % BLOCK_BYTES
    if (this.closed) return done(NBD_ERRNO.ESHUTDOWN)
    const lba = (offsetBytes - inFirst) / BLOCK_BYTES
    if (inFirst === 0 && into.length % BLOCK_BYTES === 0)
      return this.reader.read(lba, into.length / BLOCK_BYTES, into, done)
    const count = Math.ceil((inFirst + into.length) / BLOCK_BYTES)
    const whole = new Uint8Array(count * BLOCK_BYTES)
    this.reader.read(lba, count, whole, (errno) => {
      if (errno === 0) into.set(whole.subarray(inFirst, inFirst + into.length))
      done(errno)
    })
  }

  blockStatus(
    offsetBytes: number,
    lengthBytes: number,
    extentsMax: number,
    done: (errno: number, extents: Extent[]) => void,
  ): void {
    blockStatus((slice) => this.history.target(slice), { offsetBytes, lengthBytes, extentsMax }, done)
  }

  // --- writes ------------------------------------------------------------------------------------------------------

  write(offsetBytes: number, data: Uint8Array, fua: boolean, done: Done): void {
    const finish = fua && !this.history.isDurable ? this.thenFlush(done) : done
    this.store(offsetBytes, data, true, finish)
  }

  /** @param isData  whether it counts as data when the pool is full: the narrow edges of a trim do not */
  private store(offsetBytes: number, data: Uint8Array, isData: boolean, done: Done): void {
    this.admit(offsetBytes, data.length, isData, done, () => {
      if (offsetBytes % BLOCK_BYTES === 0 && data.length % BLOCK_BYTES === 0)
        this.writeBlocks(offsetBytes / BLOCK_BYTES, data, done)
      else this.mergeBlocks(offsetBytes, data, done)
    })
  }

  flush(done: Done): void {
    if (this.closed) return done(NBD_ERRNO.ESHUTDOWN)
    // In durable mode everything answered is on stable storage already.
    if (this.history.isDurable) return done(NBD_ERRNO.NONE)
    let left = this.targets.length
    let errno: number = NBD_ERRNO.NONE
    for (const { stream } of this.targets)
      stream.log.sync((ok) => {
        if (!ok) errno = NBD_ERRNO.EIO
        if (--left === 0) done(errno)
      })
  }

  trim(offsetBytes: number, lengthBytes: number, fua: boolean, done: Done): void {
    this.zeroRange(offsetBytes, lengthBytes, RECORD_KIND.trim, fua, done)
  }

  writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    options: { noHole: boolean; fua: boolean },
    done: Done,
  ): void {
    this.zeroRange(offsetBytes, lengthBytes, options.noHole ? RECORD_KIND.zero : RECORD_KIND.trim, options.fua, done)
  }

  private zeroRange(offsetBytes: number, lengthBytes: number, kind: number, fua: boolean, done: Done): void {
    const finish = fua && !this.history.isDurable ? this.thenFlush(done) : done
    const end = offsetBytes + lengthBytes
    const firstWhole = Math.ceil(offsetBytes / BLOCK_BYTES)
    const endWhole = Math.floor(end / BLOCK_BYTES)
    const request: Request = { left: 1, errno: 0, done: finish }
    const part = (): Done => {
      request.left++
      return (errno) => partEnded(request, errno)
    }
    // Narrow edges are zeroed as data; what lies between is one record a slice.
    if (firstWhole > endWhole) this.store(offsetBytes, new Uint8Array(lengthBytes), false, part())
    else {
      if (offsetBytes < firstWhole * BLOCK_BYTES)
        this.store(offsetBytes, new Uint8Array(firstWhole * BLOCK_BYTES - offsetBytes), false, part())
      if (endWhole * BLOCK_BYTES < end)
        this.store(endWhole * BLOCK_BYTES, new Uint8Array(end - endWhole * BLOCK_BYTES), false, part())
      if (firstWhole < endWhole) {
        const ended = part()
        this.admit(firstWhole * BLOCK_BYTES, (endWhole - firstWhole) * BLOCK_BYTES, false, ended, () => {
          const inner: Request = { left: 1, errno: 0, done: ended }
          for (let lba = firstWhole; lba < endWhole;) {
            const stop = Math.min(endWhole, (Math.floor(lba / SLICE_BLOCKS) + 1) * SLICE_BLOCKS)
            this.history.submit(this.history.recordOf(kind, lba, stop - lba), [], 0, inner, undefined)
            lba = stop
          }
          partEnded(inner, 0)
        })
      }
    }
    partEnded(request, 0)
  }

  /** Run now, or when there is room and no read-modify-write overlaps. */
  private admit(offsetBytes: number, lengthBytes: number, isData: boolean, done: Done, run: () => void): void {
    if (this.closed) return done(NBD_ERRNO.ESHUTDOWN)
    const first = Math.floor(offsetBytes / BLOCK_BYTES)
    const end = Math.ceil((offsetBytes + lengthBytes) / BLOCK_BYTES)
    const go = (): void => {
      const shortOf = (): StoreStream | undefined => this.shortOf(first, end, isData)
      // What gives space back does not wait behind what waits for it.
      if ((this.held.count === 0 || !isData) && shortOf() === undefined) return run()
      this.hold({ isData, shortOf, run: unlocked, done, sinceMs: this.o.clock.nowMs() })
    }
    // While it was held, a read-modify-write may have begun.
    const unlocked = (): void => {
      if (this.locks.isEmpty || !this.locks.blocks(first, end)) run()
      else this.locks.wait(first, end, go)
    }
    if (this.locks.isEmpty || !this.locks.blocks(first, end)) go()
    else this.locks.wait(first, end, go)
  }

  /** The stream that has no room for a request, undefined when all have. */
  private shortOf(first: number, end: number, isData: boolean): StoreStream | undefined {
    for (let slice = Math.floor(first / SLICE_BLOCKS); slice <= Math.floor((end - 1) / SLICE_BLOCKS); slice++) {
      const { stream } = this.history.target(slice)
      const blocks = isData ? Math.min(end, (slice + 1) * SLICE_BLOCKS) - Math.max(first, slice * SLICE_BLOCKS) : 1
      // A failed disk does not hold; the append answers with the error.
      if (!stream.failed && !roomFor(stream, blocks, isData)) return stream
    }
    return undefined
  }

  private hold(held: Parameters<HeldRequests['hold']>[0]): void {
    if (this.closed) return held.done(NBD_ERRNO.ESHUTDOWN)
    if (this.descriptor.spec.onFull === 'error') return held.done(NBD_ERRNO.ENOSPC)
    this.held.hold(held)
  }

  /** Space may have come back. */
  retryHeld(): void {
    this.held.retry()
  }

  get heldRequests(): number {
    return this.held.count
  }

  /** Whole blocks: one record a page, or less where a segment is small. */
  private writeBlocks(lba: number, data: Uint8Array, done: Done): void {
    const end = lba + data.length / BLOCK_BYTES
    const request: Request = { left: 1, errno: 0, done }
    for (let at = lba; at < end;) {
      const most = this.history.target(Math.floor(at / SLICE_BLOCKS)).stream.log.recordBlocksMax
      const stop = Math.min(end, (Math.floor(at / PAGE_BLOCKS) + 1) * PAGE_BLOCKS, at + most)
      const part =
        at === lba && stop === end ? data : data.subarray((at - lba) * BLOCK_BYTES, (stop - lba) * BLOCK_BYTES)
      const record = this.history.recordOf(RECORD_KIND.write, at, stop - at)
      this.history.submit(record, [part], (stop - at) * UNITS_PER_BLOCK, request, part)
      at = stop
    }
    partEnded(request, 0)
  }

  /** Narrower than blocks: read, merge, write whole blocks. */
  private mergeBlocks(offsetBytes: number, data: Uint8Array, done: Done): void {
    const first = Math.floor(offsetBytes / BLOCK_BYTES)
    const end = Math.ceil((offsetBytes + data.length) / BLOCK_BYTES)
    const lock = this.locks.lock(first, end)
    // Writes that have their place in the log already come first: read when they are committed.
    this.commits.whenCommitted(this.commits.lastSeq, () => {
      const whole = new Uint8Array((end - first) * BLOCK_BYTES)
      const inFirst = offsetBytes - first * BLOCK_BYTES
      const write = (errno: number): void => {
        if (errno !== 0) {
          this.locks.unlock(lock)
          return done(errno)
        }
        whole.set(data, inFirst)
        this.writeBlocks(first, whole, done)
        this.locks.unlock(lock)
      }
      const tail = (inFirst + data.length) % BLOCK_BYTES
      const readTail = (errno: number): void => {
        if (errno !== 0 || tail === 0 || (end - first === 1 && inFirst > 0)) return write(errno)
        this.reader.read(end - 1, 1, whole.subarray((end - first - 1) * BLOCK_BYTES), write)
      }
      if (inFirst > 0) this.reader.read(first, 1, whole.subarray(0, BLOCK_BYTES), readTail)
      else readTail(0)
    })
  }

  private thenFlush(done: Done): Done {
    return (errno) => (errno === 0 ? this.flush(done) : done(errno))
  }

  /** Record a change of the descriptor: `volume-history.ts`. */
  control(...args: Parameters<VolumeHistory['control']>): void {
    this.history.control(...args)
  }

  /** A disk that was missing is there. */
  takeTarget(target: Target): void {
    this.history.takeTarget(target)
  }

  /** Run when no block is under read-modify-write; requests that come later and would begin one wait behind it. */
  betweenMerges(run: () => void): void {
    if (this.locks.isEmpty) run()
    else this.locks.wait(0, Infinity, run)
  }

  /** Refuse what comes, end what is held. */
  close(): void {
    this.closed = true
    this.held.close()
  }

  /** Run when everything accepted so far is committed, also what reads before it gets its place in the log. */
  drained(run: () => void): void {
    this.locks.whenIdle(() => this.commits.whenCommitted(this.commits.lastSeq, run))
  }

  status(): VolumeStatus {
    const failed = this.targets.filter((target) => target.stream.failed)
    const { storedBytes, logicalBytes } = usageOf(this.targets)
    const base = {
      spec: this.descriptor.spec,
      epoch: this.descriptor.epoch,
      seq: this.commits.lastSeq,
      commitSeq: this.commitSeq,
      usedBytes: storedBytes,
      logicalBytes,
      heldRequests: this.held.count,
    }
    if (failed.length > 0) {
      const reason = failed
        .map(({ stream }) => `disk ${stream.context.diskUuid} failed: ${stream.failedReason}`)
        .join('; ')
      return { ...base, health: 'faulted', healthReason: `${reason}; its slices answer EIO` }
    }
    if (this.held.count > 0)
      return {
        ...base,
        health: 'suspended',
        healthReason:
          `pool-full: ${this.held.count} write(s) wait for space in pool ${this.descriptor.spec.pool}` +
          (this.targets.some(({ stream }) => stream.isMaintained) ? '; the cleaner is at work' : ''),
      }
    return { ...base, health: 'healthy', healthReason: this.lastDamage }
  }

  /** Where a block lies. */
  targetOfBlock(lba: number): Target {
    return this.history.target(Math.floor(lba / SLICE_BLOCKS))
  }

  private noteDamage(lba: number, target: Target, reason: string): void {
    this.checksumErrors++
    this.lastDamage = `block ${lba} cannot be read: ${reason}`
    this.o.log.event('error', 'a block cannot be read', {
      volume: this.descriptor.spec.name,
      lba,
      disk: target.stream.context.diskUuid,
      reason,
    })
  }
}
