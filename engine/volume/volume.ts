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
import type { ClockPort, Crc32c, LogPort } from '../ports.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS, SLICE_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import { hexToUuid } from '../log/bytes.ts'
import { ENTRY_KIND, ENTRY_WORDS, kindOf } from '../log/entry.ts'
import { blockIdentity, recordSeed, volumeTag } from '../log/identity.ts'
import type { Append } from '../log/log-batch.ts'
import { blankRecord, OPERATION, RECORD_KIND, type RecordHeader } from '../log/record.ts'
import type { StoreStream } from '../log/store-stream.ts'
import type { BlockDevice, Done, Extent } from './block-device.ts'
import { BlockReader, type Target } from './block-reader.ts'
import { encodeDescriptor, generationOfSlice, type VolumeDescriptor } from './descriptor.ts'
import { RangeLocks } from './range-locks.ts'
import type { VolumeStatus } from './volume-spec.ts'

export interface VolumeOptions {
  descriptor: VolumeDescriptor
  targets: Target[]
  crc32c: Crc32c
  clock: ClockPort
  log: LogPort
  nextSeq: number
  /** Something was appended, or waits for space in a stream. */
  onWork(shortOf: StoreStream | undefined): void
}

/** A request that was split: it is answered when all its records are. */
interface Request {
  left: number
  errno: number
  done: Done
}

/** A record on its way; they commit in order of seq. */
interface InFlight {
  seq: number
  target: Target
  append: Append | undefined
  ended: boolean
  ok: boolean
  request: Request | undefined
  /** Control records: what the commit does instead of changing the map. */
  commit: (() => void) | undefined
}

interface Held {
  isData: boolean
  shortOf(): StoreStream | undefined
  run: () => void
  done: Done
  sinceMs: number
}

const FULL_UNITS = Array.from({ length: PAGE_BLOCKS }, () => UNITS_PER_BLOCK)

export class Volume implements BlockDevice {
  descriptor: VolumeDescriptor
  readonly description: string
  readonly readOnly = false
  readonly targets: Target[]
  commitSeq: number
  checksumErrors = 0
  private nextSeq: number
  private readonly o: VolumeOptions
  private readonly id: Uint8Array
  private readonly tag: number
  private readonly reader: BlockReader
  private readonly locks = new RangeLocks()
  /** In order of seq; the first `head` are committed. */
  private queue: InFlight[] = []
  private head = 0
  private held: Held[] = []
  private holdTimer: { cancel(): void } | undefined
  private commitWaiters: Array<{ seq: number; run: () => void }> = []
  private committing = false
  private closed = false
  private lastDamage = ''
  /** Answers wait for the commit of this seq (0: none does), because a disk failed below it. */
  private fenceSeq = 0
  private readonly fenced: Request[] = []
  /** Index into `targets` by slice. */
  private placement: Uint16Array = new Uint16Array(0)

  constructor(options: VolumeOptions) {
    this.o = options
    this.descriptor = options.descriptor
    this.targets = options.targets
    this.nextSeq = options.nextSeq
    this.commitSeq = options.nextSeq - 1
    this.id = hexToUuid(options.descriptor.spec.id)
    this.tag = volumeTag(options.crc32c, this.id)
    this.placement = placementOf(options.descriptor, options.targets)
    this.description = `Holdfast volume ${options.descriptor.spec.name}`
    this.reader = new BlockReader({
      crc32c: options.crc32c,
      tag: this.tag,
      target: (slice) => this.target(slice),
      onDamage: (lba, target, reason) => this.noteDamage(lba, target, reason),
    })
  }

  get sizeBytes(): number {
    return this.descriptor.spec.sizeBytes
  }

  get blockSizeBytes(): number {
    return this.descriptor.spec.blockSizeBytes
  }

  private get durable(): boolean {
    return this.descriptor.spec.durability === 'durable'
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

  cache(offsetBytes: number, lengthBytes: number, done: Done): void {
    // Advice only: a few pages of the map and what the medium's cache takes.
    const into = new Uint8Array(Math.min(lengthBytes, 1 << 20))
    this.read(offsetBytes, into, () => done(NBD_ERRNO.NONE))
  }

  blockStatus(
    offsetBytes: number,
    lengthBytes: number,
    extentsMax: number,
    done: (errno: number, extents: Extent[]) => void,
  ): void {
    const extents: Extent[] = []
    const end = offsetBytes + lengthBytes
    let at = offsetBytes
    const walk = (): void => {
      while (at < end) {
        const lba = Math.floor(at / BLOCK_BYTES)
        const target = this.target(Math.floor(lba / SLICE_BLOCKS))
        if (target.stream.failed) return done(NBD_ERRNO.EIO, [])
        if (target.map.isDeleted) return done(NBD_ERRNO.ESHUTDOWN, [])
        const pageNumber = Math.floor(lba / PAGE_BLOCKS)
        const page = target.stream.map.page(target.map, pageNumber)
        if (page === undefined) {
          target.stream.map.load(target.map, pageNumber, (loaded) =>
            loaded === undefined ? done(NBD_ERRNO.EIO, []) : walk(),
          )
          return
        }
        const pageEnd = Math.min(end, (pageNumber + 1) * PAGE_BLOCKS * BLOCK_BYTES)
        while (at < pageEnd) {
          const index = Math.floor(at / BLOCK_BYTES) - pageNumber * PAGE_BLOCKS
          const kind = kindOf(page.words, index * ENTRY_WORDS)
          // A clone's hole may show its origin's data.
          const isHole = kind === ENTRY_KIND.trim || (kind === ENTRY_KIND.none && !target.map.isClone)
          const isZero = isHole || kind === ENTRY_KIND.zero
          const next = Math.min(pageEnd, (Math.floor(at / BLOCK_BYTES) + 1) * BLOCK_BYTES)
          const last = extents.at(-1)
          if (last !== undefined && last.hole === isHole && last.zero === isZero) last.lengthBytes += next - at
          else {
            if (extents.length === extentsMax) return done(NBD_ERRNO.NONE, extents)
            extents.push({ lengthBytes: next - at, hole: isHole, zero: isZero })
          }
          at = next
        }
      }
      done(NBD_ERRNO.NONE, extents)
    }
    walk()
  }

  // --- writes ------------------------------------------------------------------------------------------------------

  write(offsetBytes: number, data: Uint8Array, fua: boolean, done: Done): void {
    const finish = fua && !this.durable ? this.thenFlush(done) : done
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
    if (this.durable) return done(NBD_ERRNO.NONE)
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
    const finish = fua && !this.durable ? this.thenFlush(done) : done
    const end = offsetBytes + lengthBytes
    const firstWhole = Math.ceil(offsetBytes / BLOCK_BYTES)
    const endWhole = Math.floor(end / BLOCK_BYTES)
    const request: Request = { left: 1, errno: 0, done: finish }
    const part = (): Done => {
      request.left++
      return (errno) => this.partEnded(request, errno)
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
            this.submit(this.recordOf(kind, lba, stop - lba), [], 0, inner, undefined)
            lba = stop
          }
          this.partEnded(inner, 0)
        })
      }
    }
    this.partEnded(request, 0)
  }

  /** Run now, or when there is room and no read-modify-write overlaps. */
  private admit(offsetBytes: number, lengthBytes: number, isData: boolean, done: Done, run: () => void): void {
    if (this.closed) return done(NBD_ERRNO.ESHUTDOWN)
    const first = Math.floor(offsetBytes / BLOCK_BYTES)
    const end = Math.ceil((offsetBytes + lengthBytes) / BLOCK_BYTES)
    const go = (): void => {
      const shortOf = (): StoreStream | undefined => this.shortOf(first, end, isData)
      // What gives space back does not wait behind what waits for it.
      if ((this.held.length === 0 || !isData) && shortOf() === undefined) return run()
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
      const { stream } = this.target(slice)
      const blocks = isData ? Math.min(end, (slice + 1) * SLICE_BLOCKS) - Math.max(first, slice * SLICE_BLOCKS) : 1
      // A failed disk does not hold; the append answers with the error.
      if (!stream.failed && !roomFor(stream, blocks, isData)) return stream
    }
    return undefined
  }

  private hold(held: Held): void {
    if (this.closed) return held.done(NBD_ERRNO.ESHUTDOWN)
    if (this.descriptor.spec.onFull === 'error') return held.done(NBD_ERRNO.ENOSPC)
    this.held.push(held)
    this.o.onWork(this.held[0]!.shortOf())
    const { ioTimeoutMs } = this.descriptor.spec
    if (ioTimeoutMs === 0 || this.holdTimer !== undefined) return
    this.holdTimer = this.o.clock.after(ioTimeoutMs, () => this.expireHeld())
  }

  /** What was held for the time-out fails; what comes later is held anew. */
  private expireHeld(): void {
    this.holdTimer = undefined
    const { ioTimeoutMs } = this.descriptor.spec
    const now = this.o.clock.nowMs()
    const expired = this.held.filter((held) => now - held.sinceMs >= ioTimeoutMs)
    this.held = this.held.filter((held) => now - held.sinceMs < ioTimeoutMs)
    if (this.held.length > 0)
      this.holdTimer = this.o.clock.after(Math.max(1, this.held[0]!.sinceMs + ioTimeoutMs - now), () =>
        this.expireHeld(),
      )
    for (const held of expired) held.done(NBD_ERRNO.ENOSPC)
  }

  /** Space may have come back. */
  retryHeld(): void {
    for (;;) {
      const next = this.held.findIndex((one, i) => (i === 0 || !one.isData) && one.shortOf() === undefined)
      if (next < 0) break
      this.held.splice(next, 1)[0]!.run()
    }
    if (this.held.length > 0) return this.o.onWork(this.held[0]!.shortOf())
    this.holdTimer?.cancel()
    this.holdTimer = undefined
  }

  get heldRequests(): number {
    return this.held.length
  }

  /** Whole blocks: one record a page, or less where a segment is small. */
  private writeBlocks(lba: number, data: Uint8Array, done: Done): void {
    const end = lba + data.length / BLOCK_BYTES
    const request: Request = { left: 1, errno: 0, done }
    for (let at = lba; at < end;) {
      const most = this.target(Math.floor(at / SLICE_BLOCKS)).stream.log.recordBlocksMax
      const stop = Math.min(end, (Math.floor(at / PAGE_BLOCKS) + 1) * PAGE_BLOCKS, at + most)
      const part =
        at === lba && stop === end ? data : data.subarray((at - lba) * BLOCK_BYTES, (stop - lba) * BLOCK_BYTES)
      const record = this.recordOf(RECORD_KIND.write, at, stop - at)
      this.submit(record, [part], (stop - at) * UNITS_PER_BLOCK, request, part)
      at = stop
    }
    this.partEnded(request, 0)
  }

  /** Narrower than blocks: read, merge, write whole blocks. */
  private mergeBlocks(offsetBytes: number, data: Uint8Array, done: Done): void {
    const first = Math.floor(offsetBytes / BLOCK_BYTES)
    const end = Math.ceil((offsetBytes + data.length) / BLOCK_BYTES)
    const lock = this.locks.lock(first, end)
    // Writes that have their place in the log already come first: read when they are committed.
    this.whenCommitted(this.nextSeq - 1, () => {
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

  private whenCommitted(seq: number, run: () => void): void {
    if (this.commitSeq >= seq) run()
    else this.commitWaiters.push({ seq, run })
  }

  private thenFlush(done: Done): Done {
    return (errno) => (errno === 0 ? this.flush(done) : done(errno))
  }

  private recordOf(kind: number, lba: number, blockCount: number): RecordHeader {
    return blankRecord({ kind, volumeId: this.id, lba, blockCount, epoch: this.descriptor.epoch, seq: 0 })
  }

  /** Give the record its seq and append it (D4, D5). */
  private submit(
    record: RecordHeader,
    payload: readonly Uint8Array[],
    payloadUnits: number,
    request: Request,
    data: Uint8Array | undefined,
  ): void {
    const slice = Math.floor(record.lba / SLICE_BLOCKS)
    const target = this.target(slice)
    request.left++
    // A failed disk takes no seq: it would leave a gap that recovery cannot tell from a torn tail.
    if (target.stream.failed) return this.partEnded(request, NBD_ERRNO.EIO)
    record.seq = this.nextSeq++
    record.sliceGeneration = generationOfSlice(this.descriptor, slice)
    record.previousSeq = target.map.previousSeq
    target.map.previousSeq = record.seq
    if (data !== undefined) {
      const { crc32c } = this.o
      const seed = recordSeed(this.tag, record.epoch, record.seq)
      const count = record.blockCount
      const crcs = new Array<number>(count)
      for (let i = 0; i < count; i++) {
        const blob = count === 1 ? data : data.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)
        crcs[i] = (crc32c(blob) ^ blockIdentity(seed, record.lba + i)) >>> 0
      }
      record.crcs = crcs
      record.storedUnits = FULL_UNITS
    }
    this.enqueue(record, payload, payloadUnits, target, request, undefined)
    this.o.onWork(undefined)
  }

  private enqueue(
    record: RecordHeader,
    payload: readonly Uint8Array[],
    payloadUnits: number,
    target: Target,
    request: Request | undefined,
    commit: (() => void) | undefined,
  ): InFlight {
    const inFlight: InFlight = {
      seq: record.seq,
      target,
      append: undefined,
      ended: false,
      ok: false,
      request,
      commit,
    }
    this.queue.push(inFlight)
    target.stream.append({
      record,
      payload,
      payloadUnits,
      durable: commit !== undefined || this.durable,
      segment: 0,
      units: 0,
      batch: undefined,
      done: (ok, append) => {
        inFlight.ended = true
        inFlight.ok = ok
        inFlight.append = append
        this.commitReady()
      },
    })
    return inFlight
  }

  /** D7: commit everything at the head of the queue that has ended; a failed disk's records end with an error. */
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
      if (!one.ok && one.commit === undefined) this.fence()
      if (one.request === undefined) continue
      if (one.ok && one.seq < this.fenceSeq) this.fenced.push(one.request)
      else this.partEnded(one.request, one.ok ? 0 : NBD_ERRNO.EIO)
    }
    if (this.fenceSeq > 0 && this.commitSeq >= this.fenceSeq) {
      this.fenceSeq = 0
      for (const request of this.fenced.splice(0)) this.partEnded(request, 0)
    }
    if (this.head === queue.length) {
      this.commitSeq = this.nextSeq - 1
      queue.length = 0
      this.head = 0
    } else if (this.head > 1024) (queue.splice(0, this.head), (this.head = 0))
    this.committing = false
    if (this.commitWaiters.length > 0) {
      const ready = this.commitWaiters.filter((waiter) => waiter.seq <= this.commitSeq)
      this.commitWaiters = this.commitWaiters.filter((waiter) => waiter.seq > this.commitSeq)
      for (const waiter of ready) waiter.run()
    }
    this.o.onWork(undefined)
  }

  /**
   * A disk failed and its records leave a gap in the history, which recovery would take for a torn tail: a new epoch
   * says that what is below it is settled, and nothing behind the gap is acknowledged before that is durable.
   */
  private fence(): void {
    if (this.fenceSeq > 0 || this.targets.every(({ stream }) => stream.failed)) return
    this.fenceSeq = this.nextSeq
    this.control(OPERATION.epoch, newEpoch, () => {})
  }

  private partEnded(request: Request, errno: number): void {
    if (errno !== 0) request.errno = errno
    if (--request.left === 0) request.done(request.errno)
  }

  // --- control -----------------------------------------------------------------------------------------------------

  /**
   * Append a new descriptor to every disk of the copy, under one seq. `done(false)` when a disk failed.
   * @param change  makes the new descriptor of the present one and the record's seq, in the turn it gets its place
   */
  control(
    operation: number,
    change: (now: VolumeDescriptor, seq: number) => VolumeDescriptor,
    done: (ok: boolean) => void,
  ): void {
    const seq = this.nextSeq++
    const descriptor = { ...change(this.descriptor, seq), revision: this.descriptor.revision + 1, seq }
    // Requests that come later already belong to it (a new size, a new epoch).
    this.descriptor = descriptor
    this.placement = placementOf(descriptor, this.targets)
    const body = encodeDescriptor(descriptor)
    const blocks = Math.ceil(body.length / BLOCK_BYTES)
    const padded = new Uint8Array(blocks * BLOCK_BYTES)
    padded.set(body)
    let left = this.targets.length
    let ok = true
    for (const target of this.targets) {
      const record = this.recordOf(RECORD_KIND.control, descriptor.revision, 0)
      Object.assign(record, {
        operation,
        seq,
        previousSeq: target.map.previousSeq,
        bodyBytes: body.length,
        bodyCrc: this.o.crc32c(body) >>> 0,
      })
      target.map.previousSeq = seq
      const request: Request = {
        left: 1,
        errno: 0,
        done: (errno) => {
          if (errno !== 0) ok = false
          if (--left === 0) done(ok)
        },
      }
      const one = this.enqueue(record, [padded], blocks * UNITS_PER_BLOCK, target, request, () => {
        target.map.setDescriptor(descriptor)
        target.map.controlSegment = one.append!.segment
        target.map.controlBornBatch = record.bornBatch
      })
    }
    this.o.onWork(undefined)
  }

  /** A disk that was missing is there. */
  takeTarget(target: Target): void {
    const { diskUuid } = target.stream.context
    const at = this.targets.findIndex(({ stream }) => stream.context.diskUuid === diskUuid)
    if (at >= 0) this.targets[at] = target
    this.nextSeq = Math.max(this.nextSeq, target.map.appliedSeq + 1)
    if (this.head === this.queue.length) this.commitSeq = this.nextSeq - 1
    if (target.map.descriptor.revision > this.descriptor.revision) this.descriptor = target.map.descriptor
    for (const { map, stream } of this.targets)
      if (!stream.failed && map.descriptor.revision < this.descriptor.revision) map.setDescriptor(this.descriptor)
    this.placement = placementOf(this.descriptor, this.targets)
  }

  /** Run when no block is under read-modify-write; requests that come later and would begin one wait behind it. */
  betweenMerges(run: () => void): void {
    if (this.locks.isEmpty) run()
    else this.locks.wait(0, Infinity, run)
  }

  /** Refuse what comes, end what is held. */
  close(): void {
    this.closed = true
    this.holdTimer?.cancel()
    for (const held of this.held.splice(0)) held.done(NBD_ERRNO.ESHUTDOWN)
  }

  /** Run when everything accepted so far is committed, also what reads before it gets its place in the log. */
  drained(run: () => void): void {
    this.locks.whenIdle(() => this.whenCommitted(this.nextSeq - 1, run))
  }

  status(): VolumeStatus {
    const failed = this.targets.filter((target) => target.stream.failed)
    let usedUnits = 0
    for (const { map } of this.targets) usedUnits += map.usedUnits
    const base = {
      spec: this.descriptor.spec,
      epoch: this.descriptor.epoch,
      seq: this.nextSeq - 1,
      commitSeq: this.commitSeq,
      usedBytes: usedUnits * 64,
      heldRequests: this.held.length,
    }
    if (failed.length > 0) {
      const reason = failed
        .map(({ stream }) => `disk ${stream.context.diskUuid} failed: ${stream.failedReason}`)
        .join('; ')
      return { ...base, health: 'faulted', healthReason: `${reason}; its slices answer EIO` }
    }
    if (this.held.length > 0)
      return {
        ...base,
        health: 'suspended',
        healthReason:
          `pool-full: ${this.held.length} write(s) wait for space in pool ${this.descriptor.spec.pool}` +
          (this.targets.some(({ stream }) => stream.isMaintained) ? '; the cleaner is at work' : ''),
      }
    return { ...base, health: 'healthy', healthReason: this.lastDamage }
  }

  /** Where a block lies. */
  targetOfBlock(lba: number): Target {
    return this.target(Math.floor(lba / SLICE_BLOCKS))
  }

  private target(slice: number): Target {
    return this.targets.length === 1 ? this.targets[0]! : this.targets[this.placement[slice]!]!
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

const EPOCHS_KEPT = 64

/** The descriptor under a new epoch that begins with this seq. */
export const newEpoch = (now: VolumeDescriptor, seq: number): VolumeDescriptor => ({
  ...now,
  epoch: now.epoch + 1,
  epochs: [...now.epochs, [now.epoch + 1, seq] as [number, number]].slice(-EPOCHS_KEPT),
})

export function placementOf(descriptor: VolumeDescriptor, targets: readonly Target[]): Uint16Array {
  const placement = new Uint16Array(Math.ceil(descriptor.spec.sizeBytes / SLICE_BYTES))
  for (const [disk, stream, runs] of descriptor.slices) {
    const target = targets.findIndex(({ stream: s }) => s.context.diskUuid === disk && s.context.streamId === stream)
    for (const [first, count] of runs) placement.fill(target, first, first + count)
  }
  return placement
}

/** Room for so many blocks of data behind what is queued; without data down to the last segments. */
export function roomFor(stream: StoreStream, blocks: number, isData: boolean): boolean {
  const { log } = stream
  const spare = stream.freeSegments - (isData ? stream.context.holdSegments : 1)
  if (spare <= 0) return isData ? false : log.openBlocksLeft > 4 || spare > 0
  const queued = log.queuedBlocks + Math.ceil(log.queuedBlocks / 8) + 8
  return spare * (log.segmentBlocks - 4) + log.openBlocksLeft >= queued + blocks + Math.ceil(blocks / 8)
}
