/**
 * `DiskPort` over a preallocated file or a block device, through the page cache: reads that hit memory never leave the
 * event loop's thread, and durability is fdatasync, of which one serves a whole batch.
 *
 *   write    on this thread (`pwritev`, 3 us + copying) while little is dirty, since the kernel makes a writer wait
 *            when much is; else in the thread pool, as is a single write too long to copy here
 *   sync     fdatasync in the thread pool
 *   tryRead  preadv2(RWF_NOWAIT), 0.6 us; `read` in the thread pool, and `readMedium`, three at a time
 *
 * At most `operationsMax` calls of a disk are in the pool, so that one hung disk does not stop the others; when reads
 * and writes both wait, the class with fewer in the pool goes next.
 *
 * A write-back error is reported ONCE per open file description (Linux vfs.rst, "Handling errors during writeback").
 * Two concurrent fdatasync of one description could therefore answer EIO to the one and success to the other, whose
 * data was lost. So each concurrent sync, here and in every worker, has a description of its own.
 *
 * One strike (I14): after a failed write or sync every call answers false, for good. The pages are marked clean by
 * then, so a second fdatasync would succeed without the data. A failed read fails alone. They stay readable, too, for
 * the next process as well, whose descriptors hear nothing of an error that was told already: `dropCache` before
 * anything is read takes them out of its way.
 */
import fs from 'node:fs'
import { getSystemErrorMessage } from 'node:util'
import { assert } from '../../engine/assert.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { DiskPort, Outcome } from '../../engine/ports.ts'
import { BLOCK_BYTES, MIB, UNIT_BYTES } from '../../engine/units.ts'
import type { Result } from '../../engine/volume/store-api.ts'
import { clock } from '../clock.ts'
import { EINTR, EIO, closeFd, errnoName } from '../../cluster/libc.ts'
import { dropPages, pwritev, readCached } from '../libc.ts'
import { LatencyHistogram } from '../meters/latency-histogram.ts'
import { reopen, type DiskFile } from './disk-file.ts'
import { MEDIUM_READ_BYTES_MAX, MEDIUM_READS_MAX, MediumReader } from './medium-reader.ts'

export interface FileDiskOptions {
  /** Calls of this disk in the thread pool at a time. */
  operationsMax?: number
  /** Bytes written since the last ended sync from which on writes leave this thread. */
  dirtyBytesMax?: number
  /** Longest write that is copied on this thread (1 MiB takes about 0.25 ms). */
  inlineBytesMax?: number
  /** Called once, when the disk fails. */
  onFailed?: (reason: string) => void
}

interface Operation {
  read: boolean
  /** Start the call; `ended` when it is over, before its `done`. */
  start(ended: () => void): void
}

export class FileDisk implements DiskPort {
  readonly path: string
  readonly sizeBytes: number
  /** Of fdatasync, from the call to its end; failed ones too. */
  readonly syncs = new LatencyHistogram()
  private readonly operationsMax: number
  private readonly dirtyBytesMax: number
  private readonly inlineBytesMax: number
  private readonly onFailed: (reason: string) => void
  private readonly fd: number
  /** Descriptors that no sync uses at present. */
  private readonly syncFds: number[]
  private readonly medium: MediumReader
  /** Reads of the medium behind those that run. */
  private readonly waitingMedium: Array<() => void> = []
  private mediumRunning = 0
  private readonly waitingReads: Operation[] = []
  private readonly waitingWrites: Operation[] = []
  private readsRunning = 0
  private writesRunning = 0
  /** Bytes handed to `write` ever; how many of them were written; how many of those an ended sync covers. */
  private acceptedBytes = 0
  private writtenBytes = 0
  private cleanBytes = 0
  private reason: string | undefined
  private closing: (() => void) | undefined

  /** `file` keeps the lock and stays the caller's. Fails when there are too many open files. */
  static open(file: DiskFile, options: FileDiskOptions = {}): Result<FileDisk> {
    const fds: number[] = []
    try {
      for (let i = 0; i <= (options.operationsMax ?? 4); i++) fds.push(reopen(file))
      return { ok: true, value: new FileDisk(file, fds, options) }
    } catch (error) {
      for (const fd of fds) closeFd(fd)
      const reason = error instanceof Error ? error.message : String(error)
      return { ok: false, error: new HoldfastError('disk-open', { disk: file.path, reason }) }
    }
  }

  private constructor(file: DiskFile, fds: number[], options: FileDiskOptions) {
    this.path = file.path
    this.sizeBytes = file.sizeBytes
    this.operationsMax = options.operationsMax ?? 4
    this.dirtyBytesMax = options.dirtyBytesMax ?? 64 * MIB
    this.inlineBytesMax = options.inlineBytesMax ?? MIB
    this.onFailed = options.onFailed ?? (() => {})
    this.fd = fds.pop()!
    this.syncFds = fds
    this.medium = new MediumReader(file)
  }

  /** Why the disk failed, undefined while it has not. */
  get failure(): string | undefined {
    return this.reason
  }

  write(offsetBytes: number, buffers: readonly Uint8Array[], done: Outcome): boolean {
    let lengthBytes = 0
    for (const buffer of buffers) {
      assert(buffer.byteLength % UNIT_BYTES === 0, 'a buffer is a whole number of units')
      lengthBytes += buffer.byteLength
    }
    this.checkRange(offsetBytes, lengthBytes)
    if (this.reason !== undefined) {
      setImmediate(done, false)
      return false
    }
    this.acceptedBytes += lengthBytes
    const dirtyBytes = this.acceptedBytes - this.cleanBytes
    if (dirtyBytes <= this.dirtyBytesMax && lengthBytes <= this.inlineBytesMax) {
      if (this.writeInline(offsetBytes, buffers, lengthBytes)) return true
      setImmediate(done, false)
      return false
    }
    this.submit({ read: false, start: (ended) => this.writeInPool(offsetBytes, buffers, lengthBytes, ended, done) })
    return false
  }

  sync(done: Outcome): void {
    this.checkOpen()
    this.submit({
      read: false,
      start: (ended) => {
        if (this.reason !== undefined) {
          setImmediate(() => {
            ended()
            done(false)
          })
          return
        }
        const fd = this.syncFds.pop()!
        const coveredBytes = this.writtenBytes
        const beganMs = clock.nowMs()
        fs.fdatasync(fd, (error) => {
          this.syncs.observe(clock.nowMs() - beganMs)
          this.syncFds.push(fd)
          if (error !== null) this.fail('fdatasync', error.errno ?? -EIO)
          else if (coveredBytes > this.cleanBytes) this.cleanBytes = coveredBytes
          ended()
          done(this.reason === undefined)
        })
      },
    })
  }

  dropCache(done: Outcome): void {
    this.checkOpen()
    this.submit({
      read: true,
      start: (ended) =>
        dropPages(this.fd, (result) => {
          if (result < 0) this.fail('posix_fadvise', result)
          ended()
          done(this.reason === undefined)
        }),
    })
  }

  tryRead(offsetBytes: number, into: Uint8Array): boolean {
    this.checkRange(offsetBytes, into.byteLength, UNIT_BYTES)
    return this.reason === undefined && readCached(this.fd, offsetBytes, into) === into.byteLength
  }

  read(offsetBytes: number, into: Uint8Array, done: Outcome): void {
    this.checkRange(offsetBytes, into.byteLength, UNIT_BYTES)
    this.submit({ read: true, start: (ended) => this.readInPool(offsetBytes, into, 0, ended, done) })
  }

  readMedium(offsetBytes: number, lengthBytes: number, done: (bytes: Uint8Array | undefined) => void): void {
    this.checkRange(offsetBytes, lengthBytes)
    assert(lengthBytes <= MEDIUM_READ_BYTES_MAX, 'a read of the medium fits its memory')
    const start = (ended: () => void): void => {
      const end = (bytes: Uint8Array | undefined): void => {
        // The next read would write over the bytes.
        done(this.reason === undefined ? bytes : undefined)
        this.mediumRunning--
        this.waitingMedium.shift()?.()
        ended()
      }
      if (this.reason !== undefined) setImmediate(end, undefined)
      else this.medium.read(offsetBytes, lengthBytes, end)
    }
    const submit = (): void => {
      this.mediumRunning++
      this.submit({ read: true, start })
    }
    if (this.mediumRunning >= MEDIUM_READS_MAX) this.waitingMedium.push(submit)
    else submit()
  }

  /** Close the descriptors once every call has ended. Nothing may be called afterwards. The lock is the caller's. */
  close(done: () => void): void {
    this.checkOpen()
    this.closing = () => {
      for (const fd of [this.fd, ...this.syncFds]) closeFd(fd)
      this.medium.close()
      done()
    }
    if (this.idle) setImmediate(this.closing)
  }

  private get idle(): boolean {
    const waiting = this.waitingReads.length + this.waitingWrites.length + this.waitingMedium.length
    return this.readsRunning + this.writesRunning + waiting + this.mediumRunning === 0
  }

  private checkOpen(): void {
    assert(this.closing === undefined, 'the disk was not closed')
  }

  private checkRange(offsetBytes: number, lengthBytes: number, wholeBytes = BLOCK_BYTES): void {
    this.checkOpen()
    assert(Number.isSafeInteger(offsetBytes / wholeBytes), 'an offset is a whole number of blocks, or units')
    assert(lengthBytes > 0 && lengthBytes % wholeBytes === 0, 'a length is a whole number of blocks, or units')
    assert(offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes, 'the range lies on the disk')
  }

  private fail(what: string, errno: number): void {
    if (this.reason !== undefined) return
    this.reason = `${what}: ${errnoName(-errno)}, ${getSystemErrorMessage(errno)}`
    this.onFailed(this.reason)
  }

  private submit(operation: Operation): void {
    const waiting = operation.read ? this.waitingReads : this.waitingWrites
    waiting.push(operation)
    this.startWaiting()
  }

  private startWaiting(): void {
    while (this.readsRunning + this.writesRunning < this.operationsMax) {
      const readsFirst = this.waitingWrites.length === 0 || this.readsRunning < this.writesRunning
      const operation = (readsFirst ? this.waitingReads.shift() : undefined) ?? this.waitingWrites.shift()
      if (operation === undefined) return
      if (operation.read) this.readsRunning++
      else this.writesRunning++
      operation.start(() => {
        if (operation.read) this.readsRunning--
        else this.writesRunning--
        this.startWaiting()
        if (this.closing !== undefined && this.idle) setImmediate(this.closing)
      })
    }
  }

  private writeInline(offsetBytes: number, buffers: readonly Uint8Array[], lengthBytes: number): boolean {
    let writtenBytes = 0
    let first = 0
    let skipBytes = 0
    for (;;) {
      const result = pwritev(this.fd, offsetBytes + writtenBytes, buffers, first, skipBytes)
      if (result === -EINTR) continue
      if (result <= 0) {
        this.fail('write', result === 0 ? -EIO : result)
        return false
      }
      writtenBytes += result
      this.writtenBytes += result
      if (writtenBytes === lengthBytes) return true
      // A short write: go on behind it.
      skipBytes += result
      while (skipBytes >= buffers[first]!.byteLength) skipBytes -= buffers[first++]!.byteLength
    }
  }

  private writeInPool(
    offsetBytes: number,
    buffers: readonly Uint8Array[],
    lengthBytes: number,
    ended: () => void,
    done: Outcome,
  ): void {
    const end = () => {
      ended()
      done(this.reason === undefined)
    }
    if (this.reason !== undefined) {
      setImmediate(end)
      return
    }
    fs.writev(this.fd, buffers, offsetBytes, (error, result) => {
      if (error === null) this.writtenBytes += result
      if (error === null && result > 0 && result < lengthBytes && this.reason === undefined) {
        this.writeInPool(offsetBytes + result, behind(buffers, result), lengthBytes - result, ended, done)
        return
      }
      if (error !== null || result === 0) this.fail('write', error?.errno ?? -EIO)
      end()
    })
  }

  private readInPool(offsetBytes: number, into: Uint8Array, fromBytes: number, ended: () => void, done: Outcome): void {
    if (this.reason !== undefined) {
      setImmediate(() => {
        ended()
        done(false)
      })
      return
    }
    fs.read(this.fd, into, fromBytes, into.byteLength - fromBytes, offsetBytes + fromBytes, (error, result) => {
      if (error === null && result > 0 && fromBytes + result < into.byteLength) {
        this.readInPool(offsetBytes, into, fromBytes + result, ended, done)
        return
      }
      ended()
      done(error === null && result > 0 && this.reason === undefined)
    })
  }
}

/** The buffers without their first `bytes` bytes. */
function behind(buffers: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const rest: Uint8Array[] = []
  for (const buffer of buffers) {
    if (bytes < buffer.byteLength) rest.push(bytes > 0 ? buffer.subarray(bytes) : buffer)
    bytes = Math.max(0, bytes - buffer.byteLength)
  }
  return rest
}
