/**
 * An NBD client that sends whatever a test wants and takes replies apart without trusting them. Speaks every reply
 * style, extended headers included, which no packaged client of Debian 12 does.
 */
import net from 'node:net'
import { encodeInfoRequest, encodeMetaContextRequest, encodeOption } from '../../../dataplane/nbd/option-data.ts'
import {
  BASE_ALLOCATION, EXTENDED_REPLY_BYTES, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_READ, NBD_CMD_WRITE,
  NBD_EXTENDED_REPLY_MAGIC, NBD_OPT_EXTENDED_HEADERS, NBD_OPT_GO, NBD_OPT_SET_META_CONTEXT, NBD_OPT_STRUCTURED_REPLY,
  NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, NBD_REPLY_TYPE_OFFSET_DATA, NBD_REPLY_TYPE_OFFSET_HOLE, NBD_REP_ACK,
  NBD_SIMPLE_REPLY_MAGIC, NBD_STRUCTURED_REPLY_MAGIC, OPTION_REPLY_BYTES, SIMPLE_REPLY_BYTES, STRUCTURED_REPLY_BYTES,
} from '../../../dataplane/nbd/protocol.ts'
import { emptyHeader, encodeRequest } from '../../../dataplane/nbd/request-parser.ts'
import type { ReplyStyle } from '../../../dataplane/nbd/reply-writer.ts'

export interface Chunk {
  type: number
  flags: number
  payload: Buffer
}

export interface Reply {
  cookie: number
  errno: number
  chunks: Chunk[]
  /** Of a read, put together. */
  data: Buffer
}

export interface Ask {
  type: number
  flags?: number
  cookie?: number
  offset?: number | bigint
  length?: number
  data?: Uint8Array
}

export class RawClient {
  readonly socket: net.Socket
  style: ReplyStyle = 'simple'
  /** The other side has closed the connection. */
  closed = false
  #parts: Buffer[] = []
  #available = 0
  #wake: () => void = () => {}
  #cookie = 1
  readonly #lengths = new Map<number, { type: number; offset: number; length: number }>()

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.on('data', (bytes: Buffer) => {
      this.#parts.push(bytes)
      this.#available += bytes.length
      this.#wake()
    })
    const end = () => {
      this.closed = true
      this.#wake()
    }
    socket.on('end', end).on('close', end).on('error', end)
  }

  static connect(path: string): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ path, allowHalfOpen: true })
      socket.once('error', reject)
      socket.once('connect', () => resolve(new RawClient(socket)))
    })
  }

  /** Connect and enter the transmission phase. */
  static async open(path: string, options: { style?: ReplyStyle; contexts?: boolean; name?: string } = {}) {
    const client = await RawClient.connect(path)
    const style = options.style ?? 'simple'
    const name = Buffer.from(options.name ?? 'disk')
    await client.greet()
    if (style === 'structured') await client.option(NBD_OPT_STRUCTURED_REPLY)
    if (style === 'extended') await client.option(NBD_OPT_EXTENDED_HEADERS)
    if (options.contexts === true) {
      await client.option(NBD_OPT_SET_META_CONTEXT, encodeMetaContextRequest(name, [BASE_ALLOCATION]))
    }
    const replies = await client.option(NBD_OPT_GO, encodeInfoRequest(name, []))
    if (replies.at(-1)?.type !== NBD_REP_ACK) {
      client.close()
      throw new Error(`GO was refused: ${replies.at(-1)?.type}`)
    }
    client.style = style
    return client
  }

  async greet(flags = 3): Promise<Buffer> {
    const greeting = await this.take(18)
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(flags >>> 0)
    this.socket.write(bytes)
    return greeting
  }

  /** Send an option and collect its replies up to the last one. */
  async option(option: number, data?: Uint8Array): Promise<{ type: number; data: Buffer }[]> {
    this.socket.write(encodeOption(option, data))
    return this.optionReplies()
  }

  async optionReplies(): Promise<{ type: number; data: Buffer }[]> {
    const replies = []
    for (;;) {
      const header = await this.take(OPTION_REPLY_BYTES)
      const type = header.readUInt32BE(12)
      replies.push({ type, data: await this.take(header.readUInt32BE(16)) })
      if (type === NBD_REP_ACK || type >= 0x80000000) return replies
    }
  }

  /** @returns the cookie */
  send(ask: Ask): number {
    const cookie = ask.cookie ?? this.#cookie++
    this.socket.write(this.encode({ ...ask, cookie }))
    return cookie
  }

  encode(ask: Ask): Buffer {
    const extended = this.style === 'extended'
    const offset = BigInt(ask.offset ?? 0)
    const length = ask.length ?? ask.data?.length ?? 0
    const cookie = ask.cookie ?? 0
    this.#lengths.set(cookie, { type: ask.type, offset: Number(offset), length })
    const payloadFlag = extended && ask.type === NBD_CMD_WRITE ? NBD_CMD_FLAG_PAYLOAD_LEN : 0
    const header = encodeRequest({
      ...emptyHeader(),
      type: ask.type,
      flags: (ask.flags ?? 0) | payloadFlag,
      cookieHigh: 0xc00c1e,
      cookieLow: cookie,
      offsetHigh: Number(offset >> 32n),
      offsetLow: Number(offset & 0xffffffffn),
      lengthBytes: length,
    }, extended)
    return ask.data === undefined ? header : Buffer.concat([header, ask.data])
  }

  async ask(ask: Ask): Promise<Reply> {
    this.send(ask)
    return this.reply()
  }

  /** The next reply, all its chunks (which this server never interleaves). */
  async reply(): Promise<Reply> {
    const reply: Reply = { cookie: 0, errno: 0, chunks: [], data: Buffer.alloc(0) }
    for (;;) {
      const magic = (await this.peek(4)).readUInt32BE(0)
      if (magic === NBD_SIMPLE_REPLY_MAGIC) return this.#simpleReply(reply)
      const extended = magic === NBD_EXTENDED_REPLY_MAGIC
      if (!extended && magic !== NBD_STRUCTURED_REPLY_MAGIC) throw new Error(`reply magic ${magic.toString(16)}`)
      const header = await this.take(extended ? EXTENDED_REPLY_BYTES : STRUCTURED_REPLY_BYTES)
      const payload = await this.take(extended ? Number(header.readBigUInt64BE(24)) : header.readUInt32BE(16))
      const chunk = { flags: header.readUInt16BE(4), type: header.readUInt16BE(6), payload }
      reply.cookie = header.readUInt32BE(12)
      reply.chunks.push(chunk)
      this.#apply(reply, chunk)
      if ((chunk.flags & NBD_REPLY_FLAG_DONE) !== 0) return reply
    }
  }

  async take(count: number): Promise<Buffer> {
    const bytes = await this.peek(count)
    this.#parts = [this.#joined().subarray(count)]
    this.#available -= count
    return bytes
  }

  async peek(count: number): Promise<Buffer> {
    while (this.#available < count) {
      if (this.closed) throw new Error('the server closed the connection')
      await new Promise<void>((resolve) => { this.#wake = resolve })
    }
    return this.#joined().subarray(0, count)
  }

  /** Resolves when the server has closed, with what it sent before and nobody took. */
  async ended(): Promise<Buffer> {
    while (!this.closed) await new Promise<void>((resolve) => { this.#wake = resolve })
    return this.#joined()
  }

  close(): void {
    this.socket.destroy()
  }

  #joined(): Buffer {
    if (this.#parts.length !== 1) this.#parts = [Buffer.concat(this.#parts)]
    return this.#parts[0]!
  }

  async #simpleReply(reply: Reply): Promise<Reply> {
    const header = await this.take(SIMPLE_REPLY_BYTES)
    reply.errno = header.readUInt32BE(4)
    reply.cookie = header.readUInt32BE(12)
    const asked = this.#lengths.get(reply.cookie)
    if (reply.errno === 0 && asked?.type === NBD_CMD_READ) reply.data = await this.take(asked.length)
    return reply
  }

  #apply(reply: Reply, { type, payload }: Chunk): void {
    const asked = this.#lengths.get(reply.cookie)!
    if (reply.data.length === 0 && asked.type === NBD_CMD_READ) reply.data = Buffer.alloc(asked.length, 0xee)
    if (type === NBD_REPLY_TYPE_ERROR) reply.errno = payload.readUInt32BE(0)
    if (type === NBD_REPLY_TYPE_OFFSET_DATA) {
      payload.copy(reply.data, Number(payload.readBigUInt64BE(0)) - asked.offset, 8)
    }
    if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
      const at = Number(payload.readBigUInt64BE(0)) - asked.offset
      reply.data.fill(0, at, at + payload.readUInt32BE(8))
    }
  }
}
