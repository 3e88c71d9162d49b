/**
 * A volume in memory for tests of its clients: sparse, with the whole contract of `BlockDevice` (ranges asserted,
 * one `done` per call), faults by range, and endings when the test says so.
 *
 * - `pace: 'sync'` ends every call before it returns, 'turn' in a later turn, 'held' when the test calls `step()`.
 * - A fault answers its errno for every call of its kind that touches its range.
 * - `log` records what reached the volume, in order, when `record` is set.
 * - Durability is counted, not simulated: `durable` says whether every ended write was followed by a flush or had FUA.
 */
import { assert } from '../engine/assert.ts'
import type { BlockDevice, Done, Extent } from '../engine/volume/block-device.ts'

const PAGE_BYTES = 64 * 1024

export type CallKind = 'read' | 'write' | 'flush' | 'trim' | 'zero' | 'status'

export interface Fault {
  kind: CallKind
  offsetBytes: number
  lengthBytes: number
  errno: number
}

export interface LoggedCall {
  kind: CallKind
  offsetBytes: number
  lengthBytes: number
  fua: boolean
}

export class MemoryDevice implements BlockDevice {
  sizeBytes: number
  readonly blockSizeBytes: number
  readonly readOnly: boolean
  readonly description = 'volume in memory'
  pace: 'sync' | 'turn' | 'held'
  record = false
  readonly log: LoggedCall[] = []
  readonly faults: Fault[] = []
  /** Calls handed over and not ended. */
  pending = 0
  readonly #pages = new Map<number, Uint8Array>()
  readonly #held: (() => void)[] = []
  #unstableWrites = 0

  constructor(options: {
    sizeBytes: number
    blockSizeBytes?: number
    readOnly?: boolean
    pace?: 'sync' | 'turn' | 'held'
  }) {
    this.sizeBytes = options.sizeBytes
    this.blockSizeBytes = options.blockSizeBytes ?? 4096
    this.readOnly = options.readOnly ?? false
    this.pace = options.pace ?? 'sync'
  }

  get durable(): boolean {
    return this.#unstableWrites === 0
  }

  get heldCalls(): number {
    return this.#held.length
  }

  /** End held calls: the oldest, or the one at `index`. */
  step(index = 0): void {
    const [end] = this.#held.splice(index, 1)
    assert(end !== undefined, 'a call is held')
    end()
  }

  stepAll(): void {
    while (this.#held.length > 0) this.step()
  }

  read(offsetBytes: number, into: Uint8Array, done: Done): void {
    this.#start('read', offsetBytes, into.length, false, done, () => {
      this.#each(offsetBytes, into.length, (page, from, to, at) => {
        if (page === undefined) into.fill(0, at, at + to - from)
        else into.set(page.subarray(from, to), at)
      })
    })
  }

  write(offsetBytes: number, data: Uint8Array, fua: boolean, done: Done): void {
    assert(!this.readOnly, 'a read-only volume is not written')
    this.#start('write', offsetBytes, data.length, fua, done, () => {
      this.#each(offsetBytes, data.length, (page, from, to, at, index) => {
        const target = page ?? this.#addPage(index)
        target.set(to - from === data.length ? data : data.subarray(at, at + to - from), from)
      })
      if (!fua) this.#unstableWrites++
    })
  }

  flush(done: Done): void {
    this.#start('flush', 0, 0, false, done, () => {
      this.#unstableWrites = 0
    })
  }

  trim(offsetBytes: number, lengthBytes: number, fua: boolean, done: Done): void {
    assert(!this.readOnly, 'a read-only volume is not trimmed')
    this.#start('trim', offsetBytes, lengthBytes, fua, done, () => this.#zero(offsetBytes, lengthBytes, false))
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, options: { noHole: boolean; fua: boolean }, done: Done): void {
    assert(!this.readOnly, 'a read-only volume is not zeroed')
    const run = () => this.#zero(offsetBytes, lengthBytes, options.noHole)
    this.#start('zero', offsetBytes, lengthBytes, options.fua, done, run)
  }

  blockStatus(
    offsetBytes: number,
    lengthBytes: number,
    extentsMax: number,
    done: (errno: number, extents: Extent[]) => void,
  ): void {
    const extents: Extent[] = []
    const end = (errno: number) => done(errno, errno === 0 ? extents : [])
    this.#start('status', offsetBytes, lengthBytes, false, end, () => {
      this.#collectExtents(offsetBytes, lengthBytes, extentsMax, extents)
    })
  }

  #start(
    kind: CallKind, offsetBytes: number, lengthBytes: number, fua: boolean, done: Done, run: () => void,
  ): void {
    assert(kind === 'flush' || lengthBytes > 0, 'a call touches at least one byte')
    assert(offsetBytes <= this.sizeBytes && lengthBytes <= this.sizeBytes - offsetBytes, 'a call stays in the volume')
    if (this.record) this.log.push({ kind, offsetBytes, lengthBytes, fua })
    const end = () => {
      this.pending--
      const fault = this.faults.length === 0 ? undefined : this.#fault(kind, offsetBytes, lengthBytes)
      if (fault === undefined) run()
      done(fault?.errno ?? 0)
    }
    this.pending++
    if (this.pace === 'sync') end()
    else if (this.pace === 'turn') setImmediate(end)
    else this.#held.push(end)
  }

  #fault(kind: CallKind, offsetBytes: number, lengthBytes: number): Fault | undefined {
    return this.faults.find((fault) => fault.kind === kind && (kind === 'flush'
      || (offsetBytes < fault.offsetBytes + fault.lengthBytes && fault.offsetBytes < offsetBytes + lengthBytes)))
  }

  #addPage(index: number): Uint8Array {
    const page = new Uint8Array(PAGE_BYTES)
    this.#pages.set(index, page)
    return page
  }

  #each(
    offsetBytes: number,
    lengthBytes: number,
    visit: (page: Uint8Array | undefined, from: number, to: number, at: number, index: number) => void,
  ): void {
    let at = 0
    while (at < lengthBytes) {
      const index = Math.floor((offsetBytes + at) / PAGE_BYTES)
      const from = (offsetBytes + at) % PAGE_BYTES
      const to = Math.min(PAGE_BYTES, from + lengthBytes - at)
      visit(this.#pages.get(index), from, to, at, index)
      at += to - from
    }
  }

  #zero(offsetBytes: number, lengthBytes: number, noHole: boolean): void {
    if (!noHole && lengthBytes > this.#pages.size * PAGE_BYTES) {
      for (const [index, page] of this.#pages) {
        const from = Math.max(0, offsetBytes - index * PAGE_BYTES)
        const to = Math.min(PAGE_BYTES, offsetBytes + lengthBytes - index * PAGE_BYTES)
        if (from === 0 && to === PAGE_BYTES) this.#pages.delete(index)
        else if (from < to) page.fill(0, from, to)
      }
      return
    }
    this.#each(offsetBytes, lengthBytes, (page, from, to, _at, index) => {
      if (noHole) (page ?? this.#addPage(index)).fill(0, from, to)
      else if (to - from === PAGE_BYTES) this.#pages.delete(index)
      else page?.fill(0, from, to)
    })
  }

  #collectExtents(offsetBytes: number, lengthBytes: number, extentsMax: number, extents: Extent[]): void {
    const endBytes = offsetBytes + lengthBytes
    const first = Math.floor(offsetBytes / PAGE_BYTES)
    const last = Math.floor((endBytes - 1) / PAGE_BYTES)
    const pages = last - first < this.#pages.size
      ? Array.from({ length: last - first + 1 }, (_, i) => first + i).filter((index) => this.#pages.has(index))
      : [...this.#pages.keys()].filter((index) => index >= first && index <= last).sort((a, b) => a - b)
    let at = offsetBytes
    const add = (toBytes: number, hole: boolean) => {
      if (toBytes <= at) return
      const last = extents.at(-1)
      if (last?.hole === hole) last.lengthBytes += toBytes - at
      else extents.push({ lengthBytes: toBytes - at, hole, zero: hole })
      at = toBytes
    }
    for (const index of pages) {
      add(Math.min(index * PAGE_BYTES, endBytes), true)
      add(Math.min((index + 1) * PAGE_BYTES, endBytes), false)
    }
    add(endBytes, true)
    extents.length = Math.min(extents.length, extentsMax)
  }
}
