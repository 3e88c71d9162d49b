/** Fields of the formats: u48, ids and text keep their value, their place and their neighbours. */
import fc from 'fast-check'
import t from 'tap'
import {
  getText, getU48, hexToUuid, putText, putU48, putU48Padded, uuidToHex, viewOf,
} from '../../../engine/log/bytes.ts'
import { U48_MAX } from '../../../engine/units.ts'

t.test('a u48 comes back, at the extremes and everywhere between, and touches six bytes', (t) => {
  const check = (value: number) => {
    const bytes = new Uint8Array(10).fill(0xaa)
    putU48(viewOf(bytes), 2, value)
    return getU48(viewOf(bytes), 2) === value && [0, 1, 8, 9].every((i) => bytes[i] === 0xaa)
  }
  for (const value of [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 7, U48_MAX]) t.ok(check(value), String(value))
  fc.assert(fc.property(fc.maxSafeNat().map((value) => value % (U48_MAX + 1)), check))
  for (const value of [-1, U48_MAX + 1, Number.NaN]) t.throws(() => putU48(new DataView(new ArrayBuffer(6)), 0, value))
  t.end()
})

t.test('a u48 is a u32 low part and a u16 high part; padding is written as zero', (t) => {
  const bytes = new Uint8Array(8).fill(0xff)
  putU48Padded(viewOf(bytes), 0, 0x0605_0403_0201)
  t.equal(Buffer.from(bytes).toString('hex'), '0102030405060000')
  t.end()
})

t.test('a view of a part of a buffer starts where the part does', (t) => {
  const whole = Uint8Array.of(1, 2, 3, 4)
  t.equal(viewOf(whole.subarray(2)).getUint8(0), 3)
  t.equal(viewOf(whole.subarray(2)).byteLength, 2)
  t.end()
})

t.test('ids: 32 lower-case hex digits and back', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      const hex = uuidToHex(bytes)
      return /^[0-9a-f]{32}$/.test(hex) && Buffer.compare(hexToUuid(hex), bytes) === 0
    }),
  )
  for (const bad of ['', 'F'.repeat(32), '0'.repeat(31), '0'.repeat(33)]) t.throws(() => hexToUuid(bad))
  t.end()
})

t.test('text fields: UTF-8 up to the whole field, never over it', (t) => {
  const bytes = new Uint8Array(20).fill(0xee)
  for (const text of ['', 'node-1', 'größe', '12345678', '\uFEFFbom']) {
    putText(bytes, 4, 8, text)
    t.equal(getText(bytes, 4, 8), text)
    t.ok(bytes[3] === 0xee && bytes[12] === 0xee, 'neighbours untouched')
  }
  t.throws(() => putText(bytes, 4, 8, '123456789'))
  t.throws(() => putText(bytes, 4, 8, 'a\0b'))
  t.end()
})
