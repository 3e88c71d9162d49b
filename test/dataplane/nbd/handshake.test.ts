/** Risk: negotiation ends in a state that client and server see differently, or a client ends it for others. */
import fc from 'fast-check'
import t from 'tap'
import {
  Handshake, LISTS_MAX, OPTION_DATA_BYTES_MAX, OPTION_SKIP_BYTES_MAX, STEP_REPLY_BYTES_MAX,
} from '../../../dataplane/nbd/handshake.ts'
import type { Entry, ExportInfo, HandshakeEvent } from '../../../dataplane/nbd/handshake.ts'
import {
  encodeInfoRequest, encodeMetaContextRequest, encodeOption,
} from '../../../dataplane/nbd/option-data.ts'
import * as P from '../../../dataplane/nbd/protocol.ts'

const disk: ExportInfo = {
  name: 'disk', sizeBytes: 2 ** 46, blockSizeBytes: 512, readOnly: false, description: 'a disk', worker: 3,
}
const frozen: ExportInfo = { ...disk, name: 'frozen', readOnly: true }
const directory = {
  list: () => [disk, frozen],
  find: (name: string) => [disk, frozen].find((info) => info.name === name),
}
const FLAGS = Buffer.from([0, 0, 0, 3])
const name = Buffer.from('disk')
const GO = encodeOption(P.NBD_OPT_GO, encodeInfoRequest(name, []))
const STRUCTURED = encodeOption(P.NBD_OPT_STRUCTURED_REPLY)
const EXTENDED = encodeOption(P.NBD_OPT_EXTENDED_HEADERS)
const CONTEXT = encodeOption(P.NBD_OPT_SET_META_CONTEXT, encodeMetaContextRequest(name, ['base:allocation']))
const EXPORT_NAME = encodeOption(P.NBD_OPT_EXPORT_NAME, name)

function run(bytes: Uint8Array[], entry: Entry = 'enter'): { sent: Buffer; event: HandshakeEvent | undefined } {
  const handshake = new Handshake(directory, () => entry)
  const sent: Buffer[] = []
  for (const part of bytes) {
    const step = handshake.feed(part)
    sent.push(...step.send)
    if (step.event !== undefined) return { sent: Buffer.concat(sent), event: step.event }
  }
  return { sent: Buffer.concat(sent), event: undefined }
}

interface OptionReply {
  option: number
  type: number
  data: Buffer
}

function replies(sent: Buffer): OptionReply[] {
  const list = []
  for (let at = 0; at < sent.length;) {
    const data = sent.subarray(at + 20, at + 20 + sent.readUInt32BE(at + 16))
    list.push({ option: sent.readUInt32BE(at + 8), type: sent.readUInt32BE(at + 12), data })
    at += 20 + data.length
  }
  return list
}

const lastType = (...bytes: Uint8Array[]) => replies(run([FLAGS, ...bytes]).sent).at(-1)?.type

t.test('greeting', async (t) => {
  t.equal(new Handshake(directory).greeting().toString('latin1', 0, 16), 'NBDMAGICIHAVEOPT')
  t.equal(new Handshake(directory).greeting().readUInt16BE(16), 3)
})

t.test('GO enters, with what was negotiated and every byte behind it', async (t) => {
  const { event, sent } = run([FLAGS, STRUCTURED, CONTEXT, Buffer.concat([GO, Buffer.from('next')])])
  t.match(event, {
    type: 'transmission',
    export: disk,
    negotiated: { structuredReplies: true, extendedHeaders: false, metaContexts: [1], noZeroes: true },
  })
  t.equal(event?.type === 'transmission' && event.leftover.toString(), 'next')
  const info = replies(sent).find((reply) => reply.type === P.NBD_REP_INFO)!
  t.equal(info.data.readUInt16BE(0), P.NBD_INFO_EXPORT)
  t.equal(info.data.readBigUInt64BE(2), 2n ** 46n)
  const flags = info.data.readUInt16BE(10)
  t.equal(flags & P.NBD_FLAG_SEND_DF, P.NBD_FLAG_SEND_DF)
  t.equal(flags & P.NBD_FLAG_CAN_MULTI_CONN, P.NBD_FLAG_CAN_MULTI_CONN)
  t.equal(flags & P.NBD_FLAG_READ_ONLY, 0)
})

t.test('INFO tells what was asked for and goes on', async (t) => {
  const wanted = [P.NBD_INFO_NAME, P.NBD_INFO_DESCRIPTION, P.NBD_INFO_BLOCK_SIZE, 77]
  const { sent, event } = run([FLAGS, encodeOption(P.NBD_OPT_INFO, encodeInfoRequest(Buffer.from('frozen'), wanted))])
  t.equal(event, undefined)
  const infos = replies(sent).filter((reply) => reply.type === P.NBD_REP_INFO)
  t.same(infos.map((reply) => reply.data.readUInt16BE(0)), [0, 1, 2, 3])
  t.equal(infos[0]!.data.readUInt16BE(10) & (P.NBD_FLAG_READ_ONLY | P.NBD_FLAG_SEND_DF), P.NBD_FLAG_READ_ONLY)
  t.equal(infos[1]!.data.toString('utf8', 2), 'frozen')
  t.same([2, 6, 10].map((at) => infos[3]!.data.readUInt32BE(at)), [1, 512, 32 * 1024 * 1024])
})

t.test('EXPORT_NAME answers with and without its zeroes', async (t) => {
  t.equal(run([FLAGS, EXPORT_NAME]).sent.length, 10)
  const old = run([Buffer.from([0, 0, 0, 1]), EXPORT_NAME])
  t.equal(old.sent.length, 134)
  t.match(old.event, { negotiated: { noZeroes: false, structuredReplies: false } })
})

t.test('table of what follows what', async (t) => {
  const { NBD_REP_ACK: ACK, NBD_REP_ERR_INVALID: INVALID, NBD_REP_ERR_UNKNOWN: UNKNOWN } = P
  const { NBD_REP_ERR_UNSUP: UNSUP, NBD_REP_ERR_EXT_HEADER_REQD: REQD, NBD_REP_ERR_TOO_BIG: TOO_BIG } = P
  const go = (text: string) => encodeOption(P.NBD_OPT_GO, encodeInfoRequest(Buffer.from(text), []))
  const table: [string, number, ...Uint8Array[]][] = [
    ['structured', ACK, STRUCTURED],
    ['structured twice', ACK, STRUCTURED, STRUCTURED],
    ['structured with data', INVALID, encodeOption(P.NBD_OPT_STRUCTURED_REPLY, FLAGS)],
    ['structured after extended', REQD, EXTENDED, STRUCTURED],
    ['extended', ACK, EXTENDED],
    ['extended after structured', ACK, STRUCTURED, EXTENDED],
    ['extended with data', INVALID, encodeOption(P.NBD_OPT_EXTENDED_HEADERS, FLAGS)],
    ['context before structured', INVALID, CONTEXT],
    ['context after structured', ACK, STRUCTURED, CONTEXT],
    ['context after extended', ACK, EXTENDED, CONTEXT],
    ['context of an unknown export', UNKNOWN, STRUCTURED,
      encodeOption(P.NBD_OPT_SET_META_CONTEXT, encodeMetaContextRequest(Buffer.from('no'), []))],
    ['context cut short', INVALID, STRUCTURED,
      encodeOption(P.NBD_OPT_SET_META_CONTEXT, encodeMetaContextRequest(name, ['base:allocation']).subarray(0, 20))],
    ['list', ACK, encodeOption(P.NBD_OPT_LIST)],
    ['list with data', INVALID, encodeOption(P.NBD_OPT_LIST, FLAGS)],
    ['unknown export', UNKNOWN, go('nothing')],
    ['the default export where there is none', UNKNOWN, go('')],
    ['name above 256 bytes', TOO_BIG, go('x'.repeat(257))],
    ['INFO with a name longer than its data', INVALID,
      encodeOption(P.NBD_OPT_INFO, Buffer.from([0, 0, 1, 0, 65, 0, 0]))],
    ['INFO with a wrong count', INVALID, encodeOption(P.NBD_OPT_INFO, Buffer.from([0, 0, 0, 0, 0, 9]))],
    ['INFO without data', INVALID, encodeOption(P.NBD_OPT_INFO)],
    ['STARTTLS', UNSUP, encodeOption(P.NBD_OPT_STARTTLS)],
    ['the withdrawn PEEK_EXPORT', UNSUP, encodeOption(4)],
    ['an option of the future', UNSUP, encodeOption(0x12345678, Buffer.alloc(5000))],
    ['data above the limit', TOO_BIG, encodeOption(P.NBD_OPT_GO, Buffer.alloc(OPTION_DATA_BYTES_MAX + 1))],
    ['something valid behind data above the limit', ACK,
      encodeOption(99, Buffer.alloc(OPTION_SKIP_BYTES_MAX)), STRUCTURED],
    ['abort', ACK, encodeOption(P.NBD_OPT_ABORT, Buffer.from('bye'))],
  ]
  for (const [title, type, ...bytes] of table) t.equal(lastType(...bytes), type, title)
})

t.test('what ends the session', async (t) => {
  const endings: [string, ...Uint8Array[]][] = [
    ['unknown client flags', Buffer.from([0, 0, 0, 4])],
    ['not an option', FLAGS, Buffer.alloc(16, 1)],
    ['option data too long', FLAGS, encodeOption(99).fill(0xff, 12)],
    ['no such export', FLAGS, encodeOption(P.NBD_OPT_EXPORT_NAME, Buffer.from('nothing'))],
    ['EXPORT_NAME after extended headers', FLAGS, EXTENDED, EXPORT_NAME],
    ['aborted by the client', FLAGS, encodeOption(P.NBD_OPT_ABORT)],
  ]
  for (const [reason, ...bytes] of endings) t.same(run(bytes).event, { type: 'closed', reason })
  const many = Array.from({ length: 4097 }, () => STRUCTURED)
  t.match(run([FLAGS, ...many]).event, { type: 'closed', reason: 'too many options' })
})

t.test('contexts are bound to their export, replaced, and forgotten by a failure', async (t) => {
  const other = encodeOption(P.NBD_OPT_GO, encodeInfoRequest(Buffer.from('frozen'), []))
  const set = (queries: string[]) =>
    encodeOption(P.NBD_OPT_SET_META_CONTEXT, encodeMetaContextRequest(name, queries))
  const contexts = (...bytes: Uint8Array[]) => {
    const { event } = run([FLAGS, ...bytes])
    return event?.type === 'transmission' ? event.negotiated.metaContexts : undefined
  }
  t.same(contexts(STRUCTURED, CONTEXT, GO), [1])
  t.same(contexts(STRUCTURED, CONTEXT, other), [])
  t.same(contexts(STRUCTURED, CONTEXT, set([]), GO), [])
  t.same(contexts(STRUCTURED, CONTEXT, set(['base:']), GO), [], 'a wildcard selects nothing')
  t.same(contexts(STRUCTURED, set(['x-mine:a', 'base:allocation', 'nonsense']), GO), [1])
  t.same(contexts(STRUCTURED, CONTEXT, set(['base:allocation']).fill(0xff, 16, 20), GO), [], 'a failed set clears')
})

t.test('LIST_META_CONTEXT knows the wildcard and its id is reserved', async (t) => {
  for (const queries of [[], ['base:'], ['base:allocation']]) {
    const option = encodeOption(P.NBD_OPT_LIST_META_CONTEXT, encodeMetaContextRequest(name, queries))
    const [context] = replies(run([FLAGS, STRUCTURED, option]).sent).slice(1)
    t.equal(context!.type, P.NBD_REP_META_CONTEXT)
    t.same([context!.data.readUInt32BE(0), context!.data.toString('utf8', 4)], [0, 'base:allocation'])
  }
})

t.test('limits of the surroundings are told in words where the option allows', async (t) => {
  t.equal(replies(run([FLAGS, GO], 'too-many').sent).at(-1)?.type, P.NBD_REP_ERR_POLICY)
  t.equal(replies(run([FLAGS, GO], 'stopping').sent).at(-1)?.type, P.NBD_REP_ERR_SHUTDOWN)
  t.match(run([FLAGS, EXPORT_NAME], 'too-many').event, { type: 'closed' })
})

t.test('a stream cut in two at every byte negotiates the same', async (t) => {
  const list = encodeOption(P.NBD_OPT_LIST)
  const stream = Buffer.concat([FLAGS, list, STRUCTURED, CONTEXT, encodeOption(99, Buffer.alloc(9000)), GO, name])
  const whole = run([stream])
  for (let cut = 0; cut <= stream.length; cut++) {
    const handshake = new Handshake(directory)
    const first = handshake.feed(stream.subarray(0, cut))
    const second = first.event === undefined ? handshake.feed(stream.subarray(cut)) : { send: [], event: first.event }
    const sent = Buffer.concat([...first.send, ...second.send])
    const event = second.event
    const behind = first.event === undefined ? Buffer.alloc(0) : stream.subarray(cut)
    if (!sent.equals(whole.sent) || event?.type !== 'transmission'
      || !Buffer.concat([event.leftover, behind]).equals(name)) t.fail(`cut at ${cut}`)
  }
  t.pass()
})

t.test('however much is asked for in one piece, a step makes few replies, and the rest in turn', async (t) => {
  const many = Array.from({ length: 1000 }, (_, at): ExportInfo => ({ ...disk, name: `v${at}` }))
  const handshake = new Handshake({ list: () => many, find: (asked) => (asked === 'disk' ? disk : undefined) })
  const lists = Array.from({ length: 4000 }, () => encodeOption(P.NBD_OPT_LIST))
  const sent: Buffer[] = []
  let step = handshake.feed(Buffer.concat([FLAGS, ...lists]))
  const take = (): void => {
    sent.push(...step.send)
    const stepBytes = step.send.reduce((sum, { length }) => sum + length, 0)
    if (stepBytes > STEP_REPLY_BYTES_MAX + 300) t.fail(`${stepBytes} bytes of a step`)
  }
  take()
  t.ok(step.hasMore && handshake.isWaiting)
  t.ok(handshake.keep(GO), 'what comes meanwhile waits')
  while (step.hasMore) {
    step = handshake.goOn()
    take()
  }
  t.match(step.event, { type: 'transmission', export: disk })
  const types = replies(Buffer.concat(sent)).map(({ type }) => type)
  const count = (wanted: number) => types.filter((type) => type === wanted).length
  t.equal(count(P.NBD_REP_SERVER), LISTS_MAX * many.length)
  t.equal(count(P.NBD_REP_ERR_POLICY), lists.length - LISTS_MAX)
  t.same(types.slice(many.length, many.length + 2), [P.NBD_REP_ACK, P.NBD_REP_SERVER])
})

t.test('garbage never throws, and every option gets a final reply or the end', async (t) => {
  const data = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.array(fc.string({ maxLength: 12 }), { maxLength: 4 }).map((texts) => encodeMetaContextRequest(name, texts)),
    fc.array(fc.nat(9), { maxLength: 5 }).map((wanted) => encodeInfoRequest(name, wanted)),
  )
  const options = fc.array(fc.tuple(fc.nat(13), data), { maxLength: 12 })
  const sizes = fc.integer({ min: 1, max: 50 })
  fc.assert(fc.property(options, fc.uint8Array({ maxLength: 60 }), sizes, (list, tail, size) => {
    const stream = Buffer.concat([FLAGS, ...list.map(([option, bytes]) => encodeOption(option, bytes)), tail])
    const chunks = []
    for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size))
    const { event, sent } = run(chunks)
    if (event !== undefined) return true
    return replies(sent).filter(({ type }) => type === P.NBD_REP_ACK || type >= 0x80000000).length >= list.length
  }), { numRuns: 400, seed: 3 })
  t.pass()
})
