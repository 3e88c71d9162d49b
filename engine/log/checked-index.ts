/**
 * An index whose values carry a crc32c over key and value, because the database below verifies nothing on a read: a
 * damaged or misplaced value is found before it becomes an entry of the map. Such an index is never repaired: the read
 * fails, `damaged` is called once, and the next start rebuilds it from the log.
 */
import type { Crc32c, IndexOperation, IndexPort, Outcome } from '../ports.ts'

const CRC_BYTES = 4
const FIRST_BYTES = 8192

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

  batch(operations: Iterable<IndexOperation>, done: Outcome): void {
    this.below.batch(this.sealed(operations), done)
  }

  private *sealed(operations: Iterable<IndexOperation>): Generator<IndexOperation> {
    let memory = new Uint8Array(FIRST_BYTES)
    let value = memory
    for (const operation of operations) {
      if (operation.type === 'del') {
        yield operation
        continue
      }
      const { length } = operation.value
      if (length + CRC_BYTES > memory.length) memory = new Uint8Array(2 * (length + CRC_BYTES))
      // Most are as long as the one before.
      if (value.length !== length + CRC_BYTES) value = memory.subarray(0, length + CRC_BYTES)
      value.set(operation.value)
      const crc = this.crc32c(operation.value, this.crc32c(operation.key))
      for (let i = 0; i < CRC_BYTES; i++) value[length + i] = crc >>> (8 * i)
      yield { type: 'put', key: operation.key, value }
    }
  }

  getMany(
    keys: readonly Uint8Array[],
    done: (ok: boolean, values: ReadonlyArray<Uint8Array | undefined>) => void,
  ): void {
    this.below.getMany(keys, (ok, sealed) => {
      if (!ok) return done(false, [])
      const values = new Array<Uint8Array | undefined>(keys.length).fill(undefined)
      for (let i = 0; i < keys.length; i++) {
        if (sealed[i] === undefined) continue
        values[i] = this.open(keys[i]!, sealed[i]!)
        if (values[i] === undefined) {
          this.report()
          return done(false, [])
        }
      }
      done(true, values)
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
    const value = new Uint8Array(sealed.buffer, sealed.byteOffset, length)
    const crc = this.crc32c(value, this.crc32c(key))
    for (let i = 0; i < CRC_BYTES; i++) if (((crc >>> (8 * i)) & 0xff) !== sealed[length + i]) return undefined
    return value
  }

  private report(): void {
    if (this.reported) return
    this.reported = true
    this.damaged()
  }
}
