/**
 * An index whose values carry a crc32c over key and value, because the database below verifies nothing on a read: a
 * damaged or misplaced value is found before it becomes an entry of the map. Such an index is never repaired: the read
 * fails, `damaged` is called once, and the next start rebuilds it from the log.
 */
import type { Crc32c, IndexOperation, IndexPort, Outcome } from '../ports.ts'

const CRC_BYTES = 4

export class CheckedIndex implements IndexPort {
  private readonly below: IndexPort
  private readonly crc32c: Crc32c
  private readonly damaged: () => void
  private reported = false

  constructor(below: IndexPort, crc32c: Crc32c, damaged: () => void) {
    this.below = below
    this.crc32c = crc32c
    this.damaged = damaged
  }

  batch(operations: IndexOperation[], done: Outcome): void {
    // A checkpoint has thousands of values: one piece of memory for all of them spares the collector.
    let bytes = 0
    for (const operation of operations) if (operation.type === 'put') bytes += operation.value.length + CRC_BYTES
    const sealed = new Uint8Array(bytes)
    const view = new DataView(sealed.buffer)
    let at = 0
    const all = operations.map((operation): IndexOperation => {
      if (operation.type === 'del') return operation
      const { key, value } = operation
      const from = at
      sealed.set(value, from)
      at += value.length
      view.setUint32(at, this.crc32c(value, this.crc32c(key)) >>> 0, true)
      at += CRC_BYTES
      return { type: 'put', key, value: sealed.subarray(from, at) }
    })
    this.below.batch(all, done)
  }

  get(key: Uint8Array, done: (ok: boolean, value: Uint8Array | undefined) => void): void {
    this.below.get(key, (ok, sealed) => {
      if (!ok || sealed === undefined) return done(ok, undefined)
      const value = this.open(key, sealed)
      if (value === undefined) this.report()
      done(value !== undefined, value)
    })
  }

  range(
    options: { from: Uint8Array; below: Uint8Array; limit: number },
    done: (ok: boolean, entries: Array<[key: Uint8Array, value: Uint8Array]>) => void,
  ): void {
    this.below.range(options, (ok, entries) => {
      if (!ok) return done(false, [])
      for (const entry of entries) {
        const value = this.open(entry[0], entry[1])
        if (value === undefined) {
          this.report()
          return done(false, [])
        }
        entry[1] = value
      }
      done(true, entries)
    })
  }

  clear(done: Outcome): void {
    this.below.clear(done)
  }

  private open(key: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    const length = sealed.length - CRC_BYTES
    if (length < 0) return undefined
    const value = sealed.subarray(0, length)
    const crc = new DataView(sealed.buffer, sealed.byteOffset + length, CRC_BYTES).getUint32(0, true)
    return this.crc32c(value, this.crc32c(key)) >>> 0 === crc ? value : undefined
  }

  private report(): void {
    if (this.reported) return
    this.reported = true
    this.damaged()
  }
}
