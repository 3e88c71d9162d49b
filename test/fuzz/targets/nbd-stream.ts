/**
 * All that a client says on one connection, as it comes from the socket: the handshake and, where it enters an export,
 * the requests behind it. Promises: nothing throws; no option is kept beyond its limit; whatever is entered exists.
 *
 * The first byte says how the bytes are cut, whether TLS went before, and whether unknown names are looked for.
 */
import { assert } from '../../../engine/assert.ts'
import { Handshake, STEP_REPLY_BYTES_MAX } from '../../../dataplane/nbd/handshake.ts'
import type { HandshakeStep } from '../../../dataplane/nbd/handshake.ts'
import { encodeInfoRequest, encodeMetaContextRequest, encodeOption } from '../../../dataplane/nbd/option-data.ts'
import * as P from '../../../dataplane/nbd/protocol.ts'
import { emptyHeader, encodeRequest, RequestParser } from '../../../dataplane/nbd/request-parser.ts'
import { validate } from '../../../dataplane/nbd/validate.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import type { Target } from '../target.ts'

const info = { name: 'disk', sizeBytes: 2 ** 30, blockSizeBytes: 4096, readOnly: false, description: 'd', worker: 0 }
const directory = { list: () => [info], find: (name: string) => name === 'disk' || name === '' ? info : undefined }
const REPLY_BYTES_MAX = 64 * 1024
const pool = new SlabPool()

const NO_ZEROES = Buffer.from([0, 0, 0, 3])
const disk = Buffer.from('disk')

function session(options: readonly Buffer[], extended: boolean, ...requests: readonly number[]): Buffer {
  const parts = requests.flatMap((type, i) => {
    const lengthBytes = type === P.NBD_CMD_WRITE ? 512 : type === P.NBD_CMD_FLUSH ? 0 : 4096
    const flags = extended && type === P.NBD_CMD_WRITE ? P.NBD_CMD_FLAG_PAYLOAD_LEN : 0
    const header = { ...emptyHeader(), type, flags, cookieLow: i, offsetLow: 4096 * i, lengthBytes }
    return [encodeRequest(header, extended), Buffer.alloc(type === P.NBD_CMD_WRITE ? lengthBytes : 0, i)]
  })
  return Buffer.concat([Buffer.of(0), NO_ZEROES, ...options, ...parts])
}

const go = encodeOption(P.NBD_OPT_GO, encodeInfoRequest(disk, [P.NBD_INFO_BLOCK_SIZE, P.NBD_INFO_NAME]))
const context = encodeOption(P.NBD_OPT_SET_META_CONTEXT, encodeMetaContextRequest(disk, ['base:allocation']))
const ALL = [
  P.NBD_CMD_READ, P.NBD_CMD_WRITE, P.NBD_CMD_FLUSH, P.NBD_CMD_TRIM, P.NBD_CMD_WRITE_ZEROES, P.NBD_CMD_BLOCK_STATUS,
  P.NBD_CMD_CACHE, P.NBD_CMD_DISC,
]

export const target: Target = {
  parsers: [
    'dataplane/nbd/handshake.ts', 'dataplane/nbd/option-data.ts', 'dataplane/nbd/request-parser.ts',
    'dataplane/nbd/validate.ts',
  ],
  seeds: () => [
    session([encodeOption(P.NBD_OPT_EXPORT_NAME, disk)], false, ...ALL),
    session([encodeOption(P.NBD_OPT_STRUCTURED_REPLY), context, go], false, ...ALL),
    session([encodeOption(P.NBD_OPT_EXTENDED_HEADERS), context, go], true, ...ALL),
    session([encodeOption(P.NBD_OPT_LIST), encodeOption(P.NBD_OPT_STARTTLS), encodeOption(P.NBD_OPT_ABORT)], false),
    session([
      encodeOption(P.NBD_OPT_LIST_META_CONTEXT, encodeMetaContextRequest(disk, ['base:', 'x:y'])),
      encodeOption(P.NBD_OPT_INFO, encodeInfoRequest(Buffer.from('other'), [P.NBD_INFO_DESCRIPTION])),
    ], false),
  ],
  words: ['IHAVEOPT', 'disk', 'base:allocation', 'base:', '\x25\x60\x95\x13', '\x21\xe4\x1c\x71'],
  execute,
}

function execute(input: Uint8Array): void {
  const how = input[0] ?? 0
  const isLooking = (how & 1) !== 0
  const chunkBytes = (how & 2) === 0 ? 4096 : 1 + (how >> 3)
  const handshake = new Handshake(directory, (how & 4) === 0 ? undefined : () => 'too-many', () => isLooking)
  let at = 1
  if ((how & 8) !== 0) handshake.behindTls((how & 16) !== 0)
  while (at < input.length) {
    const chunk = input.subarray(at, at + chunkBytes)
    at += chunk.length
    let step: HandshakeStep = handshake.feed(chunk)
    for (;;) {
      const sendBytes = step.send.reduce((sum, { length }) => sum + length, 0)
      assert(sendBytes <= STEP_REPLY_BYTES_MAX + REPLY_BYTES_MAX, 'no step makes many replies, and no reply is long')
      if (step.hasMore) step = handshake.goOn()
      else if (step.look === undefined) break
      else step = handshake.looked(at % 2 === 0 ? undefined : { refused: 'not now' })
    }
    if (step.event?.type === 'closed') return
    if (step.event?.type === 'transmission') {
      assert(step.event.export === info, 'what is entered exists')
      return transmit(step.event.negotiated, [step.event.leftover, input.subarray(at)])
    }
  }
}

function transmit(negotiated: P.Negotiated, pieces: readonly Uint8Array[]): void {
  const extended = negotiated.extendedHeaders
  const facts = {
    chunkedReplies: negotiated.structuredReplies || extended, extendedHeaders: extended,
    blockStatus: negotiated.metaContexts.length > 0,
  }
  const parser = new RequestParser({
    extended,
    pool,
    admit: (header, payloadBytes) => {
      if (payloadBytes > P.PAYLOAD_BYTES_MAX) return 'close'
      if (validate(header, info, facts) !== undefined) return 'skip'
      const { offsetBytes, lengthBytes } = header
      assert(header.type === P.NBD_CMD_FLUSH || header.type === P.NBD_CMD_DISC
        || offsetBytes + lengthBytes <= info.sizeBytes, 'what is taken lies in the volume')
      return 'take'
    },
  })
  for (const piece of pieces) {
    let rest = piece
    while (rest.length > 0) {
      const taken = parser.append(rest)
      rest = rest.subarray(taken)
      for (;;) {
        const progress = parser.next()
        if (progress === 'broken') return parser.close()
        if (progress !== 'request') break
        if (parser.payloadSlab !== undefined) pool.release(parser.payloadSlab)
      }
      if (taken === 0) break
    }
  }
  parser.close()
}
