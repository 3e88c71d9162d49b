/** Risk: a control part makes msgpackr run, allocate or build what only a hostile sender wants. */
import fc from 'fast-check'
import { Packr } from 'msgpackr'
import t from 'tap'
import { DEPTH_MAX, decodeValue, encodeValue } from '../../../dataplane/peer/control-value.ts'

const refused = (bytes: Uint8Array | string): string => {
  const decoded = decodeValue(typeof bytes === 'string' ? Buffer.from(bytes.replaceAll(' ', ''), 'hex') : bytes)
  return 'refused' in decoded ? decoded.refused : `taken: ${JSON.stringify(decoded.value)}`
}

t.test('plain values survive, what is undefined is absent', async (t) => {
  fc.assert(fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
    const decoded = decodeValue(encodeValue(value))
    t.ok('value' in decoded && JSON.stringify(decoded.value) === JSON.stringify(value))
  }), { numRuns: 200, seed: 5 })
  const large = [2 ** 31, 2 ** 32, 2 ** 48 - 1, Number.MAX_SAFE_INTEGER, -(2 ** 40)]
  for (const number of [0, -1, 127, 128, 2 ** 16, 0.5, ...large])
    t.same(decodeValue(encodeValue([number])), { value: [number] })
  t.same(decodeValue(encodeValue({ a: undefined, b: { c: undefined, d: null } })), { value: { b: { d: null } } })
})

t.test('what is no plain value is our own bug', async (t) => {
  for (const value of [undefined, () => 1, new Map(), new Date(), 10n, Symbol('x'), Number.NaN, [new Uint8Array(1)]])
    t.throws(() => encodeValue({ value }.value))
})

t.test('bytes that msgpack knows and we do not', async (t) => {
  // Record definitions compile functions; extensions make objects of classes.
  const records = new Packr({ useRecords: true, moreTypes: true, structuredClone: true })
  const objects = [new Date(0), new Set([1]), /x/, new Error('x'), new Map([[1, 2]]), 10n, undefined]
  for (const value of [{ a: 1 }, ...objects.map((one) => [one])])
    t.match(refused(records.pack(value)), /not used here|not text/)
  t.match(refused('c4 01 00'), /not used here/, 'binary')
  t.match(refused('ca 00000000'), /not used here/, 'float32')
  t.match(refused('cf 0000000000000001'), /not used here/, 'uint64')
  t.match(refused('d4 72 40'), /not used here/, 'a record definition')
  t.match(refused('c1'), /not used here/)
  for (const endless of ['7ff0000000000000', 'fff0000000000000', '7ff8000000000000'])
    t.match(refused(`91 cb ${endless}`), /not finite/)
  t.match(refused('cb 7f'), /cut off/)
  t.match(refused('81 01 01'), /not text/)
  t.match(refused('81 a9 5f5f70726f746f5f5f 80'), /prototype/)
})

t.test('lengths that are not there, and depths', async (t) => {
  t.match(refused('dd ffffffff'), /cut off/, 'an array of four billion')
  t.match(refused('df ffffffff'), /cut off/)
  t.match(refused('db ffffffff 61'), /cut off/)
  t.match(refused('92 01'), /cut off/)
  t.match(refused('cd 01'), /cut off/)
  t.match(refused(''), /cut off/)
  t.match(refused('01 01'), /behind/)
  t.match(refused(Buffer.alloc(100_000, 0x91)), /too deep/)
  const many = Buffer.concat([Buffer.from('dd00200000', 'hex'), Buffer.alloc(1 << 21)])
  t.match(refused(many), /too many values/, 'they are all there, and cost 16 times what they are')
  let deep: unknown = 1
  for (let i = 0; i < DEPTH_MAX; i++) deep = [deep]
  t.same(decodeValue(encodeValue(deep)), { value: deep })
})

t.test('any bytes are a value or a refusal', async (t) => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
    decodeValue(bytes)
  }), { numRuns: 20_000, seed: 9 })
  t.pass('20000 runs')
})
