/** Risk: before TLS something of an export is learnt, or an option is taken; a byte of before counts behind it. */
import t from 'tap'
import { TlsGate } from '../../../dataplane/nbd/tls-gate.ts'
import type { GateStep } from '../../../dataplane/nbd/tls-gate.ts'
import {
  IHAVEOPT, NBD_OPT_ABORT, NBD_OPT_EXPORT_NAME, NBD_OPT_EXTENDED_HEADERS, NBD_OPT_GO, NBD_OPT_INFO, NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT, NBD_OPT_STARTTLS, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK,
  NBD_REP_ERR_INVALID, NBD_REP_ERR_TLS_REQD,
} from '../../../dataplane/nbd/protocol.ts'

const flags = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function option(type: number, data: Uint8Array = new Uint8Array(0), length = data.length): Buffer {
  const head = Buffer.alloc(16)
  head.writeUInt32BE(IHAVEOPT[0], 0)
  head.writeUInt32BE(IHAVEOPT[1], 4)
  head.writeUInt32BE(type >>> 0, 8)
  head.writeUInt32BE(length >>> 0, 12)
  return Buffer.concat([head, data])
}

const repliesOf = ({ send }: GateStep): number[] => send.map((bytes) => bytes.readUInt32BE(12))

t.test('STARTTLS, and nothing else, byte by byte', async (t) => {
  const gate = new TlsGate()
  const bytes = Buffer.concat([flags(3), option(NBD_OPT_STARTTLS)])
  let step: GateStep = { send: [], event: undefined }
  for (const byte of bytes) {
    t.equal(step.event, undefined)
    step = gate.feed(Buffer.of(byte))
  }
  t.same(step.event, { type: 'start-tls', noZeroes: true })
  t.same(repliesOf(step), [NBD_REP_ACK])
})

t.test('every other option is told that TLS is required', async (t) => {
  const gate = new TlsGate()
  gate.feed(flags(1))
  const options = [
    NBD_OPT_LIST, NBD_OPT_INFO, NBD_OPT_GO, NBD_OPT_STRUCTURED_REPLY, NBD_OPT_LIST_META_CONTEXT,
    NBD_OPT_SET_META_CONTEXT, NBD_OPT_EXTENDED_HEADERS, 4, 77, 0xffffffff,
  ]
  for (const type of options) {
    const step = gate.feed(option(type, Buffer.from('secret-volume')))
    t.same(repliesOf(step), [NBD_REP_ERR_TLS_REQD], `option ${type}`)
    t.notMatch(Buffer.concat(step.send).toString(), /secret-volume/, 'and nothing of it comes back')
  }
  t.same(repliesOf(gate.feed(option(NBD_OPT_STARTTLS, Buffer.of(1)))), [NBD_REP_ERR_INVALID])
  t.same(gate.feed(option(NBD_OPT_STARTTLS)).event, { type: 'start-tls', noZeroes: false })
})

t.test('what is sent behind STARTTLS before the answer ends the connection, and begins no TLS', async (t) => {
  for (const injected of [option(NBD_OPT_GO, Buffer.alloc(6)), Buffer.of(0), Buffer.from('\x16\x03\x01')]) {
    const gate = new TlsGate()
    const step = gate.feed(Buffer.concat([flags(3), option(NBD_OPT_STARTTLS), injected]))
    t.match(step.event, { type: 'closed', reason: /between STARTTLS and TLS/ })
    t.same(step.send, [], 'it is not answered')
  }
})

t.test('what ends it', async (t) => {
  const ends: Array<[Buffer, RegExp]> = [
    [flags(0xff), /unknown client flags/],
    [Buffer.concat([flags(1), Buffer.alloc(16, 'x')]), /not an option/],
    [Buffer.concat([flags(1), option(NBD_OPT_EXPORT_NAME, Buffer.from('v'))]), /EXPORT_NAME without TLS/],
    [Buffer.concat([flags(1), option(NBD_OPT_ABORT)]), /aborted/],
    [Buffer.concat([flags(1), option(NBD_OPT_LIST, new Uint8Array(0), 0xffffffff)]), /too long/],
    [Buffer.concat([flags(1), ...Array.from({ length: 65 }, () => option(NBD_OPT_LIST))]), /too many options/],
  ]
  for (const [bytes, reason] of ends) t.match(new TlsGate().feed(bytes).event, { type: 'closed', reason })
})
