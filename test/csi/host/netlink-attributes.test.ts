/** Risk: a command means something else to the kernel than to us. Bytes as linux/netlink.h has them. */
import fc from 'fast-check'
import t from 'tap'
import { connectAttributes, deadLink, reconfigureAttributes } from '../../../csi/host/nbd-netlink.ts'
import {
  decodeAttributes, decodeMessages, encodeMessage, errnoOf, listAttributes, nested, text, textOf, u16Of, u32, u32Of,
  u64,
} from '../../../csi/host/netlink-attributes.ts'

const hex = (parts: readonly Buffer[]): string => Buffer.concat(parts).toString('hex')

t.test('each kind of attribute, byte by byte', (t) => {
  t.equal(hex([u32(1, 7)]), '08000100' + '07000000')
  t.equal(hex([u64(2, 2 ** 32 + 1)]), '0c000200' + '0100000001000000')
  t.equal(hex([text(10, 'ab')]), '07000a00' + '616200' + '00', 'its zero byte counts, the padding does not')
  t.equal(hex([nested(7, [u32(1, 5)])]), '0c000780' + '08000100' + '05000000')
  t.throws(() => text(10, 'a\0b'), /zero byte/)
  t.end()
})

t.test('CONNECT and RECONFIGURE', (t) => {
  const connect = connectAttributes({
    sockets: [3, 4], sizeBytes: 2 ** 40, blockSizeBytes: 4096, flags: 0x10d, requestSeconds: 5,
    deadConnectionSeconds: 605, backend: 'b',
  })
  const found = decodeAttributes(Buffer.concat(connect))!
  t.same([...found.keys()], [2, 3, 4, 8, 5, 10, 7], 'no index: the kernel chooses one that nobody uses')
  t.equal(found.get(2)!.readBigUInt64LE(0), 2n ** 40n)
  t.equal(found.get(8)!.readBigUInt64LE(0), 605n)
  t.equal(textOf(found.get(10)!), 'b')
  const items = listAttributes(found.get(7)!)!
  const fds = items.map(([type, item]) => [type, decodeAttributes(item)!.get(1)!.readUInt32LE(0)])
  t.same(fds, [[1, 3], [1, 4]])
  const again = decodeAttributes(Buffer.concat(reconfigureAttributes({ index: 2, backend: 'b', sockets: [] })))!
  t.same([...again.keys()], [1, 10], 'a RECONFIGURE always names the backend: the kernel refuses another one')
  const retimed = { index: 2, backend: 'b', sockets: [], deadConnectionSeconds: 3605 }
  t.equal(decodeAttributes(Buffer.concat(reconfigureAttributes(retimed)))!.get(8)!.readBigUInt64LE(0), 3605n)
  t.end()
})

t.test('what a dead connection is told with', (t) => {
  t.equal(deadLink({ command: 4, attributes: decodeAttributes(u32(1, 12))! }), 12)
  t.equal(deadLink({ command: 4, attributes: new Map([[1, Buffer.alloc(3)]]) }), undefined, 'too short for an index')
  t.equal(u32Of(Buffer.alloc(3)), undefined)
  t.equal(u16Of(Buffer.alloc(1)), undefined)
  t.equal(errnoOf({ type: 2, sequence: 1, payload: Buffer.alloc(3) }), undefined)
  t.equal(errnoOf({ type: 2, sequence: 1, payload: Buffer.from('f0ffffff', 'hex') }), 16)
  t.equal(deadLink({ command: 1, attributes: decodeAttributes(u32(1, 12))! }), undefined)
  t.end()
})

t.test('messages and attributes come out as they went in', (t) => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.nat(1000), fc.string({ maxLength: 40 })), { maxLength: 8 }), (pairs) => {
    const clean = pairs.map(([type, value]) => [type, value.replaceAll('\0', '')] as const)
    const bytes = Buffer.concat(clean.map(([type, value]) => text(type, value)))
    const payload = Buffer.concat([Buffer.from([1, 1, 0, 0]), bytes])
    const message = encodeMessage({ type: 30, sequence: 9, payload }, 5)
    const [one, two, ...rest] = decodeMessages(Buffer.concat([message, message]))
    t.equal(rest.length, 0)
    t.same(one, two)
    const found = listAttributes(one!.payload.subarray(4))!
    return JSON.stringify(found.map(([type, value]) => [type, textOf(value)])) === JSON.stringify(clean)
  }))
  t.end()
})

t.test('lengths that do not add up are seen', (t) => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (noise) => {
    const bytes = Buffer.from(noise)
    decodeMessages(bytes)
    const found = listAttributes(bytes)
    return found === undefined || found.every(([, value]) => value.length <= bytes.length)
  }))
  t.equal(listAttributes(Buffer.from('0300010000', 'hex')), undefined, 'shorter than its own header')
  t.equal(listAttributes(Buffer.from('0900010000000000', 'hex')), undefined, 'longer than what is there')
  t.end()
})
